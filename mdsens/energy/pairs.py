r"""Pair laws: :math:`U = \sum_{(i,j,S)} u(r_{ijS}; p_{ij})` over the pairs of a list, images included."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from typing import TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp
from jaxtyping import Array, Float

from mdsens.energy.declared import declared_fields
from mdsens.energy.entries import is_entries
from mdsens.energy.group_parameters import GroupParameter
from mdsens.energy.knots import PerKnot
from mdsens.energy.parameters import PerParticle, at_pairs, occurring
from mdsens.energy.potential import Locality, Potential
from mdsens.given import is_concrete, shown
from mdsens.neighbors import PairList, numbered_pairs, pair_components, pair_distances, pair_shifts
from mdsens.types import Components, Configuration, Position, Scalar

Law = TypeVar("Law", bound="PairPotential")


class PairPotential(Potential):
    """A law u(r) between two particles, zero from ``cutoff`` times the pair's length on.

    A law with parameters expanded to the pairs of a list (``mdsens.energy.parameters.at_pairs``) is what
    ``pair_energy`` and ``pair_length`` are asked of: their fields then hold the values of the pairs.

    Attributes:
        contact: True for purely repulsive laws of finite range, for which rattlers are found by counting contacts.
    """

    contact: eqx.AbstractClassVar[bool]

    @property
    @abstractmethod
    def cutoff(self) -> float:
        """Range of the law in units of the pair's length parameter."""

    @property
    @abstractmethod
    def smoothness(self) -> int:
        """Number of continuous derivatives of u at the cutoff: the Hessian needs two; one means a kink there."""

    @property
    def kinks(self) -> tuple[float, ...]:
        """Distances, in units of the pair's length, at which u'' jumps or a contact begins; crossed, x*(p) has one."""
        return (self.cutoff,) if self.contact or self.smoothness < 2 else ()

    @abstractmethod
    def pair_energy(self, distance: Array) -> Array:
        """Return u(r) of a law expanded to the pairs; must be finite for every r > 0."""

    @property
    @abstractmethod
    def pair_length(self) -> Array:
        """Length that the cutoff multiplies (sigma), of a law expanded to the pairs."""

    def faults(self) -> Iterator[tuple[Array, str]]:
        """Yield, of a law expanded to pairs, which of them have parameters that do not go together, and why."""
        return iter(())

    @property
    def inner(self) -> Array | float:
        """Distance below which a law expanded to pairs is continued and is no longer the law of its name."""
        return 0.0

    @property
    def scales(self) -> bool:
        """Whether all lengths and energies are parameters, those in rules of mixing among them."""
        rules = [getattr(node.value, "mixing", None) for node in self.nodes()]
        return super().scales and all(getattr(rule, "scales", True) for rule in rules)

    def energy(self, configuration: Configuration, pairs: PairList) -> Scalar:
        r"""Return U = sum over listed pairs of u(r_ij), units of energy."""
        expanded = at_pairs(self, configuration.species, pairs.i, pairs.j)
        return _masked_energy(expanded, pair_distances(configuration, pairs), pairs)

    def energy_and_forces(self, configuration: Configuration, pairs: PairList) -> tuple[Scalar, Position]:
        r"""Return U and :math:`F_i = -\sum_j u'(r_{ij})\, r_{ij}/|r_{ij}|`: equal to -dU/dx, twice as fast."""
        expanded = at_pairs(self, configuration.species, pairs.i, pairs.j)
        return _from_components(expanded, pair_components(configuration, pairs), pairs, configuration.n_particles)

    def along(self, configuration: Configuration, pairs: PairList) -> Callable[[Position], tuple[Scalar, Position]]:
        """Return energy and forces as a function of the position alone, for use inside a loop.

        Everything that stays the same while the list does is done once: the parameters of every pair and B S.
        """
        expanded = at_pairs(self, configuration.species, pairs.i, pairs.j)
        # padding is moved to where it has a distance, so that no mask is needed for it
        shifts = tuple(
            jnp.where(pairs.mask, s, -1.0 if axis == 0 else 0.0)
            for axis, s in enumerate(pair_shifts(configuration.box, pairs))
        )

        def evaluate(position: Position) -> tuple[Scalar, Position]:
            components = tuple(x[pairs.i] - x[pairs.j] - s for x, s in zip(position.T, shifts, strict=True))
            return _from_components(expanded, components, pairs, configuration.n_particles)

        return evaluate

    def check_entries(self, configuration: Configuration) -> None:
        """Refuse parameters that do not fit pairs of these particles.

        Raises:
            ValueError: When one belongs to bonds, is a bare array, has a wrong number of entries, or those of a pair of
                species that there is do not go together.
        """
        for name, declared in declared_fields(self):
            value = getattr(self, name)
            misplaced = isinstance(value, PerKnot) and not declared.per_knot
            if misplaced or isinstance(value, GroupParameter | jax.Array | np.ndarray):
                raise ValueError(
                    f"the parameter {self.name}.{name} is {shown(value)}; a law of pairs takes one number, PerSpecies, "
                    "PerPair or PerParticle."
                )
        super().check_entries(configuration)
        if type(self).faults is not PairPotential.faults and is_concrete(self, configuration.species):
            self._refuse_faults(configuration)

    def _refuse_faults(self, configuration: Configuration) -> None:
        species, names = configuration.species, configuration.species_names
        i, j, held = occurring(species, len(names))
        for wrong, why in at_pairs(self, species, i, j).faults():
            chosen = np.flatnonzero(np.broadcast_to(np.asarray(wrong), held.shape) & np.asarray(held))
            if len(chosen):
                pair = ",".join(names[int(species[index[chosen[0]]])] for index in (i, j))
                raise ValueError(f"{self.name} for the pair {pair}: {why}")

    @property
    def lists_pairs(self) -> bool:
        """Whether the energy is a function of listed pairs: it is."""
        return True

    def list_range(self, configuration: Configuration) -> float:
        """Return the largest range of any pair of particles that there are."""
        return float(largest_reach(self, configuration))

    def pair_ranges(self, configuration: Configuration, pairs: PairList) -> Float[Array, " m"]:
        """Return the interaction range of every pair, units of length."""
        return self.reach(configuration, pairs)

    def coupling(self, configuration: Configuration) -> sp.csr_array | None:
        """Return the pairs within range."""
        return Locality(self.list_range(configuration)).coupling(configuration)

    def reach(self, configuration: Configuration, pairs: PairList) -> Float[Array, " m"]:
        """Return the interaction range of every listed pair, shape (m,), units of length."""
        expanded = at_pairs(self, configuration.species, pairs.i, pairs.j)
        return jnp.broadcast_to(self.cutoff * expanded.pair_length, pairs.i.shape)


def harmless(expanded: PairPotential, distance: Array, pairs: PairList) -> Array:
    """Return the distances, padding moved to the cutoff, where a law can be evaluated and counts nothing."""
    return jnp.where(pairs.mask, distance, expanded.cutoff * expanded.pair_length)


def _from_components(
    expanded: PairPotential, components: Components, pairs: PairList, n: int
) -> tuple[Scalar, Position]:
    distance = jnp.sqrt(sum(c * c for c in components))
    value, slope = jax.value_and_grad(_masked_energy, argnums=1)(expanded, distance, pairs)
    push = -slope / distance
    nothing = jnp.zeros(n)
    force = [nothing.at[pairs.i].add(push * c).at[pairs.j].add(-push * c) for c in components]
    return value, jnp.stack(force, axis=1)


def _masked_energy(expanded: PairPotential, distance: Array, pairs: PairList) -> Scalar:
    # padding sits at a harmless distance before the law is evaluated, and counts zero after
    return jnp.sum(jnp.where(pairs.mask, expanded.pair_energy(harmless(expanded, distance, pairs)), 0.0))


_EVERY_PAIR = 4000  # particles with parameters of their own: up to here every pair of them is looked at


@jax.jit
def largest_reach(potential: PairPotential, configuration: Configuration) -> Scalar:
    """Return the largest range of any two particles that there are, units of length, whatever the rule of mixing.

    Particles of a species are alike and one stands for all, unless a parameter belongs to particles: then every pair is
    looked at; of more than 4000 particles, those of that many spread evenly over the sizes, the extremes included.
    """
    n, n_species, d = configuration.n_particles, len(configuration.species_names), configuration.dimension
    nodes = jax.tree.leaves(potential, is_leaf=is_entries)
    if any(isinstance(node, PerParticle) for node in nodes):
        own = potential.reach(configuration, numbered_pairs(jnp.arange(n), jnp.arange(n), d))
        chosen = jnp.argsort(own)[jnp.linspace(0, n - 1, min(n, _EVERY_PAIR)).astype(int)]

        def farthest(k: Array) -> Scalar:
            return jnp.max(potential.reach(configuration, numbered_pairs(jnp.full(len(chosen), k), chosen, d)))

        return jnp.max(jax.lax.map(farthest, chosen))
    members = configuration.species[:, None] == jnp.arange(n_species)
    first, present = jnp.argmax(members, axis=0), jnp.any(members, axis=0)
    i, j = jnp.repeat(first, n_species), jnp.tile(first, n_species)
    both = jnp.repeat(present, n_species) & jnp.tile(present, n_species)
    return jnp.max(jnp.where(both, potential.reach(configuration, numbered_pairs(i, j, d)), 0.0))
