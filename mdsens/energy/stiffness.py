"""Units of a law, how stiff its pairs are and how much they differ: what an overlap means as a force."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from mdsens.energy.entries import Entries
from mdsens.energy.pairs import PairPotential
from mdsens.energy.parameters import PairParameter, PerParticle, at_pairs, occurring
from mdsens.energy.potential import Potential
from mdsens.energy.state import State
from mdsens.neighbors import no_pairs
from mdsens.types import Configuration, Scalar, Species

ALIKE = 8.0  # most between the stiffest and the softest pair of a system whose particles need no masses of their own
DEEP = 0.9  # of its range: where a contact is as stiff as those of packings


def slope_and_curvature(expanded: PairPotential, distance: Array) -> tuple[Array, Array]:
    """Return u' and u'' of pairs at given distances, for a law expanded to them."""
    slope = jax.grad(lambda r: jnp.sum(expanded.pair_energy(r)))
    return jax.jvp(slope, (distance,), (jnp.ones_like(distance),))


def typical_stiffness(state: State, i: Int[Array, " m"], j: Int[Array, " m"]) -> Float[Array, " m"]:
    """Return the curvature of pairs well inside contact; of other laws the inverse square of their length."""
    law = state.potential
    assert isinstance(law, PairPotential)
    length = pair_lengths(state, i, j)
    if not law.contact:
        return length**-2
    expanded = at_pairs(law, state.configuration.species, i, j)
    return jnp.abs(slope_and_curvature(expanded, DEEP * law.cutoff * length)[1])


def pair_lengths(state: State, i: Int[Array, " m"], j: Int[Array, " m"]) -> Float[Array, " m"]:
    """Return the length that each pair's cutoff multiplies, shape (m,)."""
    law = state.potential
    assert isinstance(law, PairPotential)
    return jnp.broadcast_to(at_pairs(law, state.configuration.species, i, j).pair_length, i.shape)


def softest_and_spread(state: State) -> tuple[Scalar, Scalar]:
    """Return stiffness times length of the softest pair that there is, and how much stiffer the stiffest pair is."""
    configuration = state.configuration
    everyone = jnp.arange(configuration.n_particles)
    i, j, held = occurring(configuration.species, len(configuration.species_names))
    # particles of one species may have parameters of their own; a lone one's pair with itself means nothing else
    several = jnp.zeros(len(configuration.species_names)).at[configuration.species].add(1.0) > 1
    i, j = jnp.concatenate([everyone, i]), jnp.concatenate([everyone, j])
    held = jnp.concatenate([several[configuration.species], held])
    stiff, length = typical_stiffness(state, i, j), pair_lengths(state, i, j)
    spread = jnp.max(jnp.where(held, stiff, 0.0)) / jnp.min(jnp.where(held, stiff, jnp.inf))
    softest = jnp.min(jnp.where(held, stiff * length, jnp.inf))
    return softest, jnp.where(jnp.any(held), spread, 1.0)


def host_spread(state: State) -> Scalar:
    """Return how much stiffer the stiffest pair is than the softest; compiled once for all lists of pairs."""
    return declared_and_spread(state)[3]


def declared_and_spread(state: State) -> tuple[Scalar | float, Scalar | float, Scalar, Scalar]:
    """Return the units of length and energy, that of the weakest forces, and the spread of stiffness."""
    return _declared_and_spread(state.with_pairs(no_pairs(state.configuration.dimension)))


@jax.jit
def _declared_and_spread(state: State) -> tuple[Scalar | float, Scalar | float, Scalar, Scalar]:
    return *scales(state.potential, state.configuration), *softest_and_spread(state)


@jax.jit
def scales(potential: Potential, configuration: Configuration) -> tuple[Scalar | float, Scalar | float]:
    """Return the length and energy units of a law: the largest parameter of each kind that a pair of particles has.

    A species without particles counts nothing; where no parameter of a kind is declared the unit is 1.
    """
    pairs = occurring(configuration.species, len(configuration.species_names))

    def largest(kind: str) -> Any:
        nodes = [node.value for node in potential.nodes() if node.unit == kind]
        tops = [_largest(node, configuration.species, pairs) for node in nodes]
        return jnp.max(jnp.stack(tops)) if tops else 1.0

    return largest("length"), largest("energy")


def _largest(node: Any, species: Species, pairs: tuple[Array, Array, Array]) -> Scalar:
    if isinstance(node, PerParticle) or not isinstance(node, PairParameter):
        return jnp.max(jnp.asarray(node.values if isinstance(node, Entries) else node))
    i, j, held = pairs
    return jnp.max(jnp.where(held, node.at(species, i, j), -jnp.inf))
