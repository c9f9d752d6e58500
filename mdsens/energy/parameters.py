r"""How the parameters of a pair law are stored, and what each of their entries is called.

A field such as :math:`\sigma_{ij}` is stored by its *independent* entries only, so that a derivative in one of them is
unambiguous: one number for all (``Uniform``), one per species or per particle combined by a mixing rule
(``PerSpecies``, ``PerParticle``), or one per unordered pair of species (``PerPair``). ``at`` expands them to a list of
pairs.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import cast

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree

from mdsens.energy.entries import Entries, Law, is_entries, numbers_of
from mdsens.energy.mixing import (
    Mixing,
    arithmetic_mean,
    checked_rule,
    has_kink,
    mixture_stencil,
    refuse_asymmetric,
)
from mdsens.types import Box, Scalar, Species

Index = Int[Array | np.ndarray, " m"]


class PairParameter(Entries):
    """A parameter of pairs: what a pair's value is follows from its two species or particles."""

    @abstractmethod
    def at(self, species: Species, i: Index, j: Index) -> Float[Array, " *m"]:
        """Return the parameter of every pair (i, j), shape (m,) or () when all pairs share it."""

    @abstractmethod
    def stencil(self, species: Species, i: Index, j: Index) -> tuple[Int[Array, "q m"], Float[Array, "q m"]]:
        """Return the independent entries that make a pair's value and the derivatives in them, both of shape (q, m)."""


class Uniform(PairParameter):
    """One value for every pair."""

    values: Float[Array, ""]

    def __init__(self, values: object) -> None:
        self.values = numbers_of(values, "Uniform")

    @property
    def n_axes(self) -> int:
        """None: one number."""
        return 0

    def at(self, species: Species, i: Index, j: Index) -> Float[Array, ""]:
        """Return the value itself, shape ()."""
        return self.values

    def stencil(self, species: Species, i: Index, j: Index) -> tuple[Int[Array, "1 m"], Float[Array, "1 m"]]:
        """Return the only entry, and one."""
        return jnp.zeros((1, len(i)), int), jnp.ones((1, len(i)))

    def labels(self, species_names: tuple[str, ...]) -> tuple[str, ...]:
        """Return one empty label."""
        return ("",)

    def shape_for(self, n_species: int, n_particles: int) -> tuple[int, ...]:
        """Return (): one entry for all."""
        return ()


class PerSpecies(PairParameter):
    """One value per species; a pair has the mixture of its two species' values.

    Attributes:
        values: One entry per species, shape (s,).
        mixing: Symmetric function of two values; the arithmetic mean by default.
    """

    values: Float[Array, " s"]
    mixing: Mixing = eqx.field(static=True)

    def __init__(self, values: object, mixing: Mixing = arithmetic_mean) -> None:
        self.values = numbers_of(values, "PerSpecies")
        self.mixing = checked_rule(mixing)

    def __check_init__(self) -> None:
        refuse_asymmetric(self.mixing, self.values)

    def at(self, species: Species, i: Index, j: Index) -> Float[Array, " m"]:
        """Return the mixed value of every pair, shape (m,)."""
        return self.mixing(self.values[species[i]], self.values[species[j]])

    def stencil(self, species: Species, i: Index, j: Index) -> tuple[Int[Array, "2 m"], Float[Array, "2 m"]]:
        """Return the two species of every pair and the derivatives of the mixture."""
        return mixture_stencil(self.mixing, self.values, species[i], species[j])

    def labels(self, species_names: tuple[str, ...]) -> tuple[str, ...]:
        """Return ``[A]``, ``[B]``, ..."""
        return tuple(f"[{name}]" for name in species_names)

    def shape_for(self, n_species: int, n_particles: int) -> tuple[int, ...]:
        """Return (s,): one entry per species."""
        return (n_species,)


class PerPair(PairParameter):
    """One independent value per unordered pair of species.

    Attributes:
        values: Upper triangle row by row (AA, AB, ..., BB, ...), shape (s (s + 1)/2,).
    """

    values: Float[Array, " t"]

    def __init__(self, values: object) -> None:
        self.values = numbers_of(values, "PerPair")

    @property
    def n_species(self) -> int:
        """Number of species s, from t = s (s + 1)/2."""
        return round((np.sqrt(8 * self.values.shape[0] + 1) - 1) / 2)

    def at(self, species: Species, i: Index, j: Index) -> Float[Array, " m"]:
        """Return the value of every pair's unordered species pair, shape (m,)."""
        return self.values[self._entry(species, i, j)]

    def stencil(self, species: Species, i: Index, j: Index) -> tuple[Int[Array, "1 m"], Float[Array, "1 m"]]:
        """Return the entry of every pair's unordered species pair, and one."""
        return self._entry(species, i, j)[None], jnp.ones((1, len(i)))

    def _entry(self, species: Species, i: Index, j: Index) -> Int[Array, " m"]:
        low = jnp.minimum(species[i], species[j])
        high = jnp.maximum(species[i], species[j])
        return low * self.n_species - low * (low - 1) // 2 + high - low

    def labels(self, species_names: tuple[str, ...]) -> tuple[str, ...]:
        """Return ``[A,A]``, ``[A,B]``, ``[B,B]``, ..."""
        names = species_names
        return tuple(f"[{names[a]},{names[b]}]" for a in range(len(names)) for b in range(a, len(names)))

    def shape_for(self, n_species: int, n_particles: int) -> tuple[int, ...]:
        """Return (s (s + 1)/2,): one entry per unordered pair of species."""
        return (n_species * (n_species + 1) // 2,)


class PerParticle(PairParameter):
    """One value per particle (polydispersity); a pair has the mixture of its two particles' values.

    Attributes:
        values: One entry per particle, shape (n,).
        mixing: Symmetric function of two values; the arithmetic mean by default.
    """

    values: Float[Array, " n"]
    mixing: Mixing = eqx.field(static=True)

    def __init__(self, values: object, mixing: Mixing = arithmetic_mean) -> None:
        self.values = numbers_of(values, "PerParticle")
        self.mixing = checked_rule(mixing)

    def __check_init__(self) -> None:
        refuse_asymmetric(self.mixing, self.values)

    def at(self, species: Species, i: Index, j: Index) -> Float[Array, " m"]:
        """Return the mixed value of every pair, shape (m,)."""
        return self.mixing(self.values[i], self.values[j])

    def reordered(self, order: Int[Array | np.ndarray, " n"]) -> PerParticle:
        """Return the parameter for particles taken in another order."""
        return PerParticle(np.asarray(self.values)[order], self.mixing)

    def stencil(self, species: Species, i: Index, j: Index) -> tuple[Int[Array, "2 m"], Float[Array, "2 m"]]:
        """Return the two particles of every pair and the derivatives of the mixture."""
        return mixture_stencil(self.mixing, self.values, jnp.asarray(i), jnp.asarray(j))

    def labels(self, species_names: tuple[str, ...]) -> tuple[str, ...]:
        """Return ``[0]``, ``[1]``, ..."""
        return tuple(f"[{k}]" for k in range(self.values.shape[0]))

    def shape_for(self, n_species: int, n_particles: int) -> tuple[int, ...]:
        """Return (n,): one entry per particle."""
        return (n_particles,)


def has_tie(law: PyTree) -> bool:
    """Return whether a rule of mixing has a kink at two equal entries, as the larger of two values has."""
    mixtures = (node for node in jax.tree.leaves(law, is_leaf=is_entries) if isinstance(node, PerSpecies | PerParticle))
    return any(has_kink(node.mixing, node.values) for node in mixtures)


class Parameters(eqx.Module):
    """Everything a relaxed structure depends on: the potential, the box, where particles are held, the pressure.

    Attributes:
        potential: The potential, a pytree of its own parameters.
        box: The box; its matrix is a parameter like any other.
        anchors: Where held particles are, in coordinates that follow the box, shape (n, d) (free components count
            nothing); None where all are free, or where positions say it.
        pressure: The pressure that the box is relaxed at, units of energy per volume; None at fixed box.
    """

    potential: PyTree
    box: Box
    anchors: Float[Array, "n d"] | None = None
    pressure: Scalar | None = None


def at_pairs(law: Law, species: Species, i: Index, j: Index) -> Law:
    """Return a law whose parameters are their values on the pairs (i, j); what is no ``PairParameter`` stays."""
    expanded = lambda node: node.at(species, i, j) if isinstance(node, PairParameter) else node  # noqa: E731
    return cast(Law, jax.tree.map(expanded, law, is_leaf=is_entries))


def occurring(species: Species, n_species: int) -> tuple[Int[Array, " t"], Int[Array, " t"], Array]:
    """Return two different particles for every pair of species, and whether there are two such particles."""
    n = len(species)
    first = jnp.full(n_species, n).at[species].min(jnp.arange(n))
    last = jnp.full(n_species, -1).at[species].max(jnp.arange(n))
    low, high = jnp.triu_indices(n_species)
    held = (last[low] >= 0) & (last[high] >= 0) & ((low != high) | (first[low] < last[low]) | (n == 1))
    return jnp.where(held, first[low], 0), jnp.where(held, last[high], 0), held


def flattened(directions: PyTree) -> Float[np.ndarray, "k p"]:
    """Return k directions (leading axis of every leaf of a pytree like ``Parameters``) as rows, leaf after leaf."""
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(directions)]
    return np.concatenate([leaf.reshape(len(leaf), -1) for leaf in leaves], axis=1)


def unflattened(parameters: Parameters, rows: Float[np.ndarray, "k p"]) -> Parameters:
    """Return k rows of numbers as directions shaped like the parameters, leading axis of every leaf."""
    leaves, structure = jax.tree.flatten(parameters)
    parts = np.split(rows, np.cumsum([leaf.size for leaf in leaves])[:-1], axis=1)
    shaped = [part.reshape(len(rows), *leaf.shape) for part, leaf in zip(parts, leaves, strict=True)]
    return jax.tree.unflatten(structure, shaped)
