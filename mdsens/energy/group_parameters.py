"""How the parameters of bonds, angles and other groups of a topology are stored: one entry per group or per kind."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, cast

import equinox as eqx
import jax
from jaxtyping import Array, Float, Int

from mdsens.energy.entries import Entries, Law, is_entries, numbers_of


class GroupParameter(Entries):
    """A parameter of bonds, angles or other groups of a topology."""

    @abstractmethod
    def at(self, kinds: Int[Array, " m"]) -> Float[Array, " m"]:
        """Return the parameter of every group, given its kind, shape (m,)."""

    @abstractmethod
    def fits(self, n_groups: int, n_kinds: int) -> bool:
        """Return whether a topology of so many groups and kinds can have these entries."""

    def labels(self, species_names: tuple[str, ...]) -> tuple[str, ...]:
        """Return ``[0]``, ``[1]``, ..."""
        return tuple(f"[{k}]" for k in range(self.values.shape[0]))

    def shape_for(self, n_species: int, n_particles: int) -> None:
        """Return None: the topology says how many there are."""


def _per_bond(values: object) -> Float[Array, " m"]:
    return numbers_of(values, "PerBond")


def _per_kind(values: object) -> Float[Array, " t"]:
    return numbers_of(values, "PerKind")


class PerBond(GroupParameter):
    """One value per bond, angle or other group of a topology.

    Attributes:
        values: One entry per group, shape (m,).
    """

    values: Float[Array, " m"] = eqx.field(converter=_per_bond)

    def at(self, kinds: Int[Array, " m"]) -> Float[Array, " m"]:
        """Return the entries themselves."""
        return self.values

    def fits(self, n_groups: int, n_kinds: int) -> bool:
        """Return whether there is one entry per group."""
        return len(self.values) == n_groups


class PerKind(GroupParameter):
    """One value per kind of bond, angle or other group of a topology.

    Attributes:
        values: One entry per kind, shape (t,).
    """

    values: Float[Array, " t"] = eqx.field(converter=_per_kind)

    def at(self, kinds: Int[Array, " m"]) -> Float[Array, " m"]:
        """Return the entry of every group's kind."""
        return self.values[kinds]

    def fits(self, n_groups: int, n_kinds: int) -> bool:
        """Return whether every kind has an entry."""
        return len(self.values) >= n_kinds


def at_groups(law: Law, kinds: Int[Array, " m"]) -> Law:
    """Return a law whose parameters are their values on the groups of a topology, shape (m,) or ()."""

    def expanded(node: Any) -> Any:
        return node.at(kinds) if isinstance(node, GroupParameter) else node.values if is_entries(node) else node

    return cast(Law, jax.tree.map(expanded, law, is_leaf=is_entries))
