r"""How the parameters of a pair law are stored, and what each of their entries is called.

A field such as :math:`\sigma_{ij}` is stored by its *independent* entries only, so that a derivative in one of them is
unambiguous: one number for all (``Uniform``), one per species or per particle combined by a mixing rule
(``PerSpecies``, ``PerParticle``), or one per unordered pair of species (``PerPair``). ``at`` expands them to a list of
pairs.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree

from mdsens.given import float64_array, is_concrete, shown
from mdsens.types import LARGEST, Box, Scalar, Species

Index = Int[Array | np.ndarray, " m"]
Mixing = Callable[[Array, Array], Array]
Law = TypeVar("Law")


def arithmetic_mean(a: Array, b: Array) -> Array:
    """Return (a + b)/2: additive diameters."""
    return 0.5 * (a + b)


def geometric_mean(a: Array, b: Array) -> Array:
    """Return sqrt(a b): Berthelot's rule for energies; a, b > 0."""
    return jnp.sqrt(a * b)


_ORDERS = {
    "Uniform": "one number",
    "PerSpecies": "a list in the order of the configuration's species_names (A, B, ...)",
    "PerPair": "a list in the order of the configuration's species_names (AA, AB, ..., BB, ...)",
    "PerParticle": "a list in the order of the particles",
    "PerBond": "a list in the order of the groups",
    "PerKind": "a list in the order of the kinds",
}


def _numbers(values: object, kind: str) -> Float[Array, " *k"]:
    """Return the entries of a kind of parameter as a float64 array.

    Raises:
        ValueError: When they are no numbers of 64 bits; for a dictionary, whose entries have an order of their own.
    """
    if isinstance(values, Mapping) or is_entries(values):
        raise ValueError(f"{kind} is given {shown(values)}; it takes {_ORDERS[kind]}.")
    return float64_array(values, f"the parameter {kind}")


def _rule(mixing: Mixing) -> Mixing:
    if not callable(mixing):
        raise ValueError(
            f"the mixing rule is {shown(mixing)}; it must be a function of two values: "
            "mdsens.energy.parameters.arithmetic_mean, geometric_mean or one of yours."
        )
    return mixing


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
        self.values = _numbers(values, "Uniform")

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
        self.values = _numbers(values, "PerSpecies")
        self.mixing = _rule(mixing)

    def __check_init__(self) -> None:
        _refuse_asymmetric(self.mixing, self.values)

    def at(self, species: Species, i: Index, j: Index) -> Float[Array, " m"]:
        """Return the mixed value of every pair, shape (m,)."""
        return self.mixing(self.values[species[i]], self.values[species[j]])

    def stencil(self, species: Species, i: Index, j: Index) -> tuple[Int[Array, "2 m"], Float[Array, "2 m"]]:
        """Return the two species of every pair and the derivatives of the mixture."""
        return _mixture_stencil(self.mixing, self.values, species[i], species[j])

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
        self.values = _numbers(values, "PerPair")

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
        self.values = _numbers(values, "PerParticle")
        self.mixing = _rule(mixing)

    def __check_init__(self) -> None:
        _refuse_asymmetric(self.mixing, self.values)

    def at(self, species: Species, i: Index, j: Index) -> Float[Array, " m"]:
        """Return the mixed value of every pair, shape (m,)."""
        return self.mixing(self.values[i], self.values[j])

    def reordered(self, order: Int[Array | np.ndarray, " n"]) -> PerParticle:
        """Return the parameter for particles taken in another order."""
        return PerParticle(np.asarray(self.values)[order], self.mixing)

    def stencil(self, species: Species, i: Index, j: Index) -> tuple[Int[Array, "2 m"], Float[Array, "2 m"]]:
        """Return the two particles of every pair and the derivatives of the mixture."""
        return _mixture_stencil(self.mixing, self.values, jnp.asarray(i), jnp.asarray(j))

    def labels(self, species_names: tuple[str, ...]) -> tuple[str, ...]:
        """Return ``[0]``, ``[1]``, ..."""
        return tuple(f"[{k}]" for k in range(self.values.shape[0]))

    def shape_for(self, n_species: int, n_particles: int) -> tuple[int, ...]:
        """Return (n,): one entry per particle."""
        return (n_particles,)


def _refuse_asymmetric(mixing: Mixing, values: Float[Array, " k"]) -> None:
    """Refuse a rule that depends on the order of its two values.

    Raises:
        ValueError: When it does: a pair has no order.
    """
    if mixing in _SMOOTH or not is_concrete(values) or values.ndim != 1:
        return
    turned = values[::-1]
    there, back = np.asarray(mixing(values, turned)), np.asarray(mixing(turned, values))
    if not np.allclose(there, back, rtol=1e-12, atol=0, equal_nan=True):
        raise ValueError(
            f"the mixing rule {getattr(mixing, '__name__', mixing)!r} gives {there[0]} for ({values[0]}, {turned[0]}) "
            f"and {back[0]} in the other order; a rule of mixing must be symmetric."
        )


_SMOOTH = (arithmetic_mean, geometric_mean)
_TIE = 1e-6  # relative change by which both sides of a tie are compared


def has_tie(law: PyTree) -> bool:
    """Return whether a rule of mixing has a kink at two equal entries, as the larger of two values has."""
    for node in jax.tree.leaves(law, is_leaf=is_entries):
        if not isinstance(node, PerSpecies | PerParticle) or node.mixing in _SMOOTH:
            continue
        found, count = np.unique(np.asarray(node.values), return_counts=True)
        tied = jnp.asarray(found[count > 1])
        middle, up, down = (np.asarray(node.mixing(tied * (1 + h), tied)) for h in (0.0, _TIE, -_TIE))
        if np.any(np.abs(up + down - 2 * middle) > 0.1 * _TIE * np.abs(middle)):
            return True
    return False


def _mixture_stencil(
    mixing: Mixing, values: Float[Array, " k"], first: Int[Array, " m"], second: Int[Array, " m"]
) -> tuple[Int[Array, "2 m"], Float[Array, "2 m"]]:
    slopes = jax.grad(lambda a, b: jnp.sum(mixing(a, b)), argnums=(0, 1))(values[first], values[second])
    return jnp.stack([first, second]), jnp.stack(slopes)


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
    return _numbers(values, "PerBond")


def _per_kind(values: object) -> Float[Array, " t"]:
    return _numbers(values, "PerKind")


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


def is_entries(node: object) -> bool:
    """Return whether a pytree node is one parameter's entries (for ``jax.tree`` functions' ``is_leaf``)."""
    return isinstance(node, Entries)


def field_name(keys: tuple[Any, ...]) -> str:
    """Return the name of a parameter from its keys in the pytree, such as ``sigma``."""
    return ".".join(str(getattr(key, "name", getattr(key, "key", getattr(key, "idx", key)))) for key in keys)


def at_pairs(law: Law, species: Species, i: Index, j: Index) -> Law:
    """Return a law whose parameters are their values on the pairs (i, j); what is no ``PairParameter`` stays."""
    expanded = lambda node: node.at(species, i, j) if isinstance(node, PairParameter) else node  # noqa: E731
    return cast(Law, jax.tree.map(expanded, law, is_leaf=is_entries))


def at_groups(law: Law, kinds: Int[Array, " m"]) -> Law:
    """Return a law whose parameters are their values on the groups of a topology, shape (m,) or ()."""

    def expanded(node: Any) -> Any:
        return node.at(kinds) if isinstance(node, GroupParameter) else node.values if is_entries(node) else node

    return cast(Law, jax.tree.map(expanded, law, is_leaf=is_entries))


def reordered(law: Law, order: Int[Array | np.ndarray, " n"]) -> Law:
    """Return the law for particles taken in another order: particle k is the one that was ``order[k]``."""
    taken = lambda node: node.reordered(order) if is_entries(node) else node  # noqa: E731
    return cast(Law, jax.tree.map(taken, law, is_leaf=is_entries))


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
