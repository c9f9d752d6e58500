"""Values that are given by names of species, until it is known in which order a system has them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from mdsens.energy.entries import Entries
from mdsens.energy.mixing import Mixing, arithmetic_mean
from mdsens.energy.parameters import PerPair, PerSpecies
from mdsens.given import float64_array, shown


class BySpecies(Entries):
    """Values given by names of species, before it is known in which order a system has them.

    Attributes:
        values: One entry per name, shape (k,).
        names: Of a species, or of two: ``("A", "B")``.
        mixing: As for ``PerSpecies``.
    """

    values: Float[Array, " k"]
    names: tuple[tuple[str, ...], ...] = eqx.field(static=True)
    mixing: Mixing = eqx.field(static=True)

    def __init__(self, given: Mapping[Any, object], mixing: Mixing = arithmetic_mean) -> None:
        self.values = float64_array(list(given.values()), "the values by names of species")
        self.names = tuple(map(_species_of, given))
        self.mixing = mixing
        if len({len(name) for name in self.names}) > 1:
            raise ValueError(f"{shown(dict(given))} mixes species and pairs of them: name species, or all their pairs.")

    def labels(self, species_names: tuple[str, ...]) -> tuple[str, ...]:
        """Return ``[A]``, ``[B]``, ... or ``[A,A]``, ``[A,B]``, ... in the order in which they were given."""
        return tuple(f"[{','.join(name)}]" for name in self.names)

    def shape_for(self, n_species: int, n_particles: int) -> None:
        """Refuse to belong to a system.

        Raises:
            ValueError: Always.
        """
        names = ", ".join(map(",".join, self.names))
        raise ValueError(f"values are given by the names {names}: say for which species, law.for_species(names).")

    def ordered(self, species_names: tuple[str, ...]) -> PerSpecies | PerPair:
        """Return the values in the order of a system's species.

        Raises:
            ValueError: When a species or pair has no value, two, or does not exist.
        """
        pairs = len(self.names[0]) == 2
        n = range(len(species_names))
        wanted = (
            [(species_names[a], species_names[b]) for a in n for b in n if b >= a]
            if pairs
            else list(zip(species_names))
        )
        found = {tuple(sorted(name)): value for name, value in zip(self.names, self.values, strict=True)}
        missing = [name for name in wanted if tuple(sorted(name)) not in found]
        strange = [name for name in self.names if set(name) - set(species_names)]
        if missing or strange or len(found) < len(self.names):
            wrong = (
                f"names {','.join(strange[0])}"
                if strange
                else f"lacks {','.join(missing[0])}"
                if missing
                else "names a pair twice"
            )
            raise ValueError(
                f"a dictionary of values {wrong}; it must have one for each of {', '.join(map(','.join, wanted))}."
            )
        values = jnp.stack([found[tuple(sorted(name))] for name in wanted])
        return PerPair(values) if pairs else PerSpecies(values, self.mixing)


def _species_of(key: object) -> tuple[str, ...]:
    """Return the species that a key of a dictionary names: "A", "A,B" or ("A", "B")."""
    parts = tuple(part.strip() for part in key.split(",")) if isinstance(key, str) else key
    if not isinstance(parts, tuple) or len(parts) not in (1, 2) or not all(isinstance(part, str) for part in parts):
        raise ValueError(f'values are given for {shown(key)}; name a species, "A", or two of them, "A,B".')
    return parts
