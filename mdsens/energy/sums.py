"""Sums of potentials, each a term with a name of its own that its parameters' paths begin with."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import scipy.sparse as sp
from jaxtyping import Array, Float

from mdsens.energy.potential import Node, Potential, check_potential
from mdsens.given import shown
from mdsens.names import TERM_RULE, is_term_name
from mdsens.neighbors import PairList
from mdsens.types import Configuration, Position, Scalar


class Sum(Potential):
    """The sum of several potentials, such as a pair law and bonds.

    Attributes:
        parts: The terms.
        names: Their names, each once.

    Raises:
        ValueError: When there is no term, one is no potential or itself a sum, two have one name, or a name could not
            begin a path.
    """

    parts: tuple[Potential, ...]
    names: tuple[str, ...] = eqx.field(static=True)

    def __init__(self, terms: Mapping[str, Potential] | Sequence[Potential] | Sequence[tuple[str, Potential]]) -> None:
        if not isinstance(terms, Mapping | Sequence):
            raise ValueError(f'a sum is made of {shown(terms)}; it takes terms by name: Sum({{"first": ...}}).')
        pairs = list(terms.items()) if isinstance(terms, Mapping) else [_named(term) for term in terms]
        for name, term in pairs:
            if not isinstance(name, str):
                raise ValueError(f"a term is named {shown(name)}; a name is a text.")
            check_potential(term)
            if isinstance(term, Sum):
                raise ValueError(
                    f"the term {name!r} is itself a sum; name its terms here, {', '.join(term.names)}: "
                    "Sum([*first.terms(), *second.terms()])."
                )
        self.names = tuple(name for name, _ in pairs)
        self.parts = tuple(term for _, term in pairs)

    def __check_init__(self) -> None:
        if not self.parts:
            raise ValueError("a sum needs at least one term.")
        twice = sorted({name for name in self.names if self.names.count(name) > 1})
        if twice:
            raise ValueError(
                f"two terms of a sum are named {twice[0]!r}; every term needs a name of its own: "
                f'Sum({{"first": ..., "second": ...}}).'
            )
        wrong = next((name for name in self.names if not is_term_name(name)), None)
        if wrong is not None:
            raise ValueError(f"a term is named {shown(wrong)}; {TERM_RULE}.")

    @property
    def name(self) -> str:
        """The terms' names, joined."""
        return "+".join(self.names)

    @property
    def stiffness(self) -> float:
        """The largest of the terms' stiffnesses."""
        return max(part.stiffness for part in self.parts)

    @property
    def scales(self) -> bool:
        """Whether all lengths and energies of every term are parameters."""
        return all(part.scales for part in self.parts)

    def terms(self) -> tuple[tuple[str, Potential], ...]:
        """Return the terms by name."""
        return tuple(zip(self.names, self.parts, strict=True))

    def nodes(self) -> list[Node]:
        """Return the terms' parameters, one term after the other; their paths begin with the terms' names."""
        return [
            node._replace(path=name + node.path.removeprefix(part.name))
            for name, part in self.terms()
            for node in part.nodes()
        ]

    def energy(self, configuration: Configuration, pairs: PairList) -> Scalar:
        """Return the sum of the terms' energies."""
        return sum((part.energy(configuration, pairs) for part in self.parts), jnp.zeros(()))

    def energy_and_forces(self, configuration: Configuration, pairs: PairList) -> tuple[Scalar, Position]:
        """Return the sums of the terms' energies and forces."""
        values = [part.energy_and_forces(configuration, pairs) for part in self.parts]
        return sum((value for value, _ in values), jnp.zeros(())), sum(
            (force for _, force in values), jnp.zeros_like(configuration.position)
        )

    @property
    def lists_pairs(self) -> bool:
        """Whether a term is a function of listed pairs."""
        return any(part.lists_pairs for part in self.parts)

    def list_range(self, configuration: Configuration) -> float:
        """Return the largest range of a term that lists pairs; infinite where there is none."""
        ranges = [part.list_range(configuration) for part in self.parts if part.lists_pairs]
        return max(ranges, default=float("inf"))

    def pair_ranges(self, configuration: Configuration, pairs: PairList) -> Float[Array, " m"]:
        """Return the largest range that a term has for each of these pairs."""
        ranges = [part.pair_ranges(configuration, pairs) for part in self.parts if part.lists_pairs]
        return functools.reduce(jnp.maximum, ranges)

    def coupling(self, configuration: Configuration) -> sp.csr_array | None:
        """Return the union of the terms' couplings; None where one is not known."""
        found = [part.coupling(configuration) for part in self.parts]
        known = [pattern for pattern in found if pattern is not None]
        return sp.csr_array(functools.reduce(lambda a, b: a + b, known)) if len(known) == len(found) else None

    def follows_box(self, configuration: Configuration, pairs: PairList) -> bool:
        """Return whether every term does."""
        return all(part.follows_box(configuration, pairs) for part in self.parts)

    def check_cell(self, configuration: Configuration) -> None:
        """Refuse a cell that a term refuses."""
        for part in self.parts:
            part.check_cell(configuration)

    def check_entries(self, configuration: Configuration) -> None:
        """Refuse parameters that a term refuses."""
        for part in self.parts:
            part.check_entries(configuration)


def _named(term: Any) -> tuple[Any, Any]:
    if isinstance(term, tuple) and len(term) == 2:
        return term
    check_potential(term)
    return term.name, term


@jax.jit
def term_energies(potential: Potential, configuration: Configuration, pairs: PairList) -> dict[str, Scalar]:
    """Return the energy of every term by name, units of energy."""
    return {name: part.energy(configuration, pairs) for name, part in potential.terms()}


def summed(laws: Mapping[str, Potential]) -> Potential:
    """Return the sum of laws by name; the law itself where there is one, of its own name."""
    (name, law), *others = laws.items()
    return law if not others and name == law.name else Sum(laws)
