"""What a parameter of a law is: independent entries, each with a label."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, TypeVar, cast

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, Float, Int

from mdsens.given import float64_array, is_concrete, shown
from mdsens.types import LARGEST

Law = TypeVar("Law")
_ORDERS = {
    "Uniform": "one number",
    "PerSpecies": "a list in the order of the configuration's species_names (A, B, ...)",
    "PerPair": "a list in the order of the configuration's species_names (AA, AB, ..., BB, ...)",
    "PerParticle": "a list in the order of the particles",
    "PerBond": "a list in the order of the groups",
    "PerKind": "a list in the order of the kinds",
    "PerKnot": "a list in the order of the knots",
}


def numbers_of(values: object, kind: str) -> Float[Array, " *k"]:
    """Return the entries of a kind of parameter as a float64 array.

    Raises:
        ValueError: When they are no numbers of 64 bits; for a dictionary, whose entries have an order of their own.
    """
    if isinstance(values, Mapping) or is_entries(values):
        raise ValueError(f"{kind} is given {shown(values)}; it takes {_ORDERS[kind]}.")
    return float64_array(values, f"the parameter {kind}")


class Entries(eqx.Module):
    """A parameter of a law, stored by its independent entries.

    Attributes:
        values: The independent entries, shape () or (k,), in the parameter's own unit.

    Raises:
        ValueError: When an entry is not finite or larger than 1e100, not a real number of 64 bits, or there is none.
    """

    values: eqx.AbstractVar[Float[Array, " *k"]]

    def __check_init__(self) -> None:
        kind = type(self).__name__
        if self.values.ndim != self.n_axes or not self.values.size:
            needed = f"a list of them: {kind}([...])" if self.n_axes else "one number"
            raise ValueError(f"{kind} has entries of shape {self.values.shape}; it takes {needed}.")
        if not is_concrete(self.values):
            return
        values = np.asarray(self.values)
        allowed = np.abs(values) <= LARGEST  # NaN is refused, too
        if not allowed.all():
            raise ValueError(
                f"a parameter entry is {values[~allowed][0]}; every one must be finite and not larger than {LARGEST:g}."
            )

    @property
    def n_axes(self) -> int:
        """Number of axes of the entries: one, or none for a single number."""
        return 1

    @abstractmethod
    def labels(self, species_names: tuple[str, ...]) -> tuple[str, ...]:
        """Return the label of every independent entry, such as ``[A,B]``; empty string for a single entry."""

    @abstractmethod
    def shape_for(self, n_species: int, n_particles: int) -> tuple[int, ...] | None:
        """Return the shape that the entries must have for a system of so many species and particles; None for any."""

    def reordered(self, order: Int[Array | np.ndarray, " n"]) -> Entries:
        """Return the parameter for particles taken in another order."""
        return self


def is_entries(node: object) -> bool:
    """Return whether a pytree node is one parameter's entries (for ``jax.tree`` functions' ``is_leaf``)."""
    return isinstance(node, Entries)


def field_name(keys: tuple[Any, ...]) -> str:
    """Return the name of a parameter from its keys in the pytree, such as ``sigma``."""
    return ".".join(str(getattr(key, "name", getattr(key, "key", getattr(key, "idx", key)))) for key in keys)


def reordered(law: Law, order: Int[Array | np.ndarray, " n"]) -> Law:
    """Return the law for particles taken in another order: particle k is the one that was ``order[k]``."""
    taken = lambda node: node.reordered(order) if is_entries(node) else node  # noqa: E731
    return cast(Law, jax.tree.map(taken, law, is_leaf=is_entries))
