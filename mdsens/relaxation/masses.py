r"""Masses found from the curvature that a particle feels, how far it may go in a step, and the rounding of forces.

A pair pushes with a slope u' and a curvature u''; what a particle feels is the sum over its pairs of the larger of
:math:`|u''|` and :math:`|u'|/r`. By Gershgorin's theorem no eigenvalue of the Hessian, every row divided by it, exceeds
two in size, whatever the law, its units and the sizes of the particles.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mdsens.energy import PairPotential, State, free_forces
from mdsens.energy.native_law import NativeLaw, listing_of, native_law
from mdsens.energy.parameters import at_pairs
from mdsens.energy.stiffness import DEEP, slope_and_curvature, typical_stiffness
from mdsens.neighbors import pair_distances
from mdsens.relaxation.scales import Scales
from mdsens.rounding import UNIT
from mdsens.types import PeriodicBox, Scalar

# Most that a particle moves in a step, units of sqrt(epsilon/k) with the law's stiffness k. Soft spheres never come
# near it.
LONGEST_STEP = 0.7
_OWN_STEP = 0.2  # the same in units of a particle's own length, where particles differ or nothing is declared
_LEAST = 0.1  # of the mean over its species: a particle without neighbours will have some
_SHARE = 1 / 6  # of the curvature felt is a mass: frequencies then stay below 3.5, and FIRE's time step below 0.57
_TRIALS = 4  # changes of the last digits that show the rounding of forces
NEAR = 1.1  # of their range: pairs within may touch in the next steps and count as if they did


def softness(state: State, scales: Scales) -> Scalar | float:
    """Return the inverse of the unit of mass, units of length^2, energies in units of the scales."""
    return scales.length**2 / state.potential.stiffness


def lightness(state: State, scales: Scales) -> Float[Array, "n 1"] | float:
    """Return the inverse of every particle's mass in that unit; one where all are alike and as stiff as declared.

    With masses that follow the curvature one time step suits soft and stiff particles.
    """
    if len(scales.felt):
        return _lightness_of(scales.felt, state, scales)
    if scales.from_pairs:
        return lightness_felt(jax.lax.stop_gradient(curvature_felt(state, near=scales.contact)), state, scales)
    return 1.0


@jax.jit
def lightness_felt(felt: Float[Array, " n"], state: State, scales: Scales) -> Float[Array, "n 1"]:
    """Return the inverse masses where pairs show what particles feel (``curvature_felt``), shape (n, 1)."""
    return _lightness_of(_least_felt(felt, state, scales), state, scales)


def host_lightness(state: State, scales: Scales) -> Callable[[np.ndarray], np.ndarray]:
    """Return ``lightness_felt`` as a function of what is felt, shape (n,), for the host to call often."""
    if not scales.contact:
        return lambda felt: np.array(lightness_felt(felt, state, scales))
    least = np.asarray(_least_felt(jnp.zeros(len(state.position)), state, scales))  # does not depend on the pairs
    mass = _SHARE * float(softness(state, scales)) / float(scales.energy)
    return lambda felt: 1.0 / (mass * np.maximum(felt, least))[:, None]


def _lightness_of(felt: Float[Array, " n"], state: State, scales: Scales) -> Float[Array, "n 1"]:
    known = felt > 0
    mass = _SHARE * jnp.where(known, felt, 1.0) * softness(state, scales) / scales.energy
    return jnp.where(known, 1.0 / mass, 1.0)[:, None]


def longest_step(state: State, scales: Scales) -> Float[Array, "n 1"] | Scalar | float:
    """Return the most that particles may move in a step, units of length."""
    if scales.alike:
        return LONGEST_STEP * scales.length / state.potential.stiffness**0.5
    if len(scales.felt):
        return _OWN_STEP * scales.length
    return jax.lax.stop_gradient(_OWN_STEP * _own_length(state))[:, None]


@jax.jit
def _least_felt(felt: Float[Array, " n"], state: State, scales: Scales) -> Float[Array, " n"]:
    """Return the curvature felt, and for particles that feel little what they will feel."""
    configuration = state.configuration
    if scales.contact:
        everyone = jnp.arange(configuration.n_particles)
        return jnp.maximum(felt, typical_stiffness(state, everyone, everyone))
    nothing = jnp.zeros(len(configuration.species_names))
    means = nothing.at[configuration.species].add(felt)
    means = means / jnp.maximum(nothing.at[configuration.species].add(felt > 0), 1)
    least = _LEAST * jnp.where(means > 0, means, jnp.max(means))[configuration.species]
    return jnp.maximum(felt, least)


def _own_length(state: State) -> Float[Array, " n"]:
    """Return the smallest length of any pair that a particle may be in."""
    law, species = state.potential, state.configuration.species
    assert isinstance(law, PairPotential)
    n, n_species = len(species), len(state.configuration.species_names)
    first = jnp.full(n_species, n).at[species].min(jnp.arange(n))
    i = jnp.arange(n)[:, None]
    j = jnp.concatenate([i, jnp.broadcast_to(jnp.where(first < n, first, i), (n, n_species))], axis=1)
    i = jnp.broadcast_to(i, j.shape)
    expanded = at_pairs(law, species, i.ravel(), j.ravel())
    return jnp.min(jnp.broadcast_to(expanded.pair_length, (j.size,)).reshape(j.shape), axis=1)


def curvature_felt(state: State, *, near: bool = False) -> Float[Array, " n"]:
    """Return the sum over every particle's pairs of the larger of |u''| and |u'|/r, units of energy per length^2.

    Args:
        state: The state with its pairs.
        near: Whether pairs that nearly touch count as if they did.
    """
    law, configuration, pairs = state.potential, state.configuration, state.pairs
    assert isinstance(law, PairPotential)
    expanded = at_pairs(law, configuration.species, pairs.i, pairs.j)
    distance = pair_distances(configuration, pairs)
    reach = law.cutoff * expanded.pair_length
    safe = jnp.where(pairs.mask, distance, reach)
    if near:
        safe = jnp.where(safe < NEAR * reach, jnp.minimum(safe, DEEP * reach), safe)
    first, second = slope_and_curvature(expanded, safe)
    felt = jnp.where(pairs.mask, jnp.maximum(jnp.abs(second), jnp.abs(first) / safe), 0.0)
    return jnp.zeros(configuration.n_particles).at[pairs.i].add(felt).at[pairs.j].add(felt)


def native_felt(
    law: NativeLaw, position: np.ndarray, paired: tuple[np.ndarray, ...], *, near: bool = False
) -> Float[np.ndarray, " n"]:
    """Return what ``curvature_felt`` returns, from machine code; the pairs as ``law.paired`` has them."""
    distance, _, slope, curvature = law.terms(position, paired, NEAR if near else 0.0, DEEP)
    felt = np.maximum(np.abs(curvature), np.abs(slope) / distance)
    n, first = len(position), np.repeat(np.arange(len(position)), np.diff(paired[0]))
    return np.bincount(np.append(first, paired[1]), np.append(felt, felt), n) + np.zeros(n)  # without pairs, too


def force_rounding(state: State) -> float:
    r"""Return the rounding error of the largest force, units of force.

    Coordinates are known to eps |x|, and the curvature k that a particle feels turns that into a force,
    :math:`2 \epsilon\,|x|_{max}\,k_{max}`. Energies that are no pair laws have a rounding of their own besides (of
    the terms that cancel in a layer of a network, say): there it is twice the largest change of a force when every
    coordinate is moved by a rounding unit.
    """
    if not isinstance(state.potential, PairPotential):
        return 2.0 * float(_largest_change(state))
    configuration, code = state.configuration, native_law(state)
    extent = np.abs(np.asarray(state.position)).max()
    if isinstance(configuration.box, PeriodicBox):
        extent = max(extent, np.abs(np.asarray(configuration.box.matrix)).max())
    if code is None:
        felt = np.asarray(_felt(state))
    else:
        felt = native_felt(code, np.array(state.position, order="C"), code.paired(listing_of(state)))
    return 2.0 * UNIT * float(extent * felt.max())


_felt = jax.jit(curvature_felt)


@jax.jit
def _largest_change(state: State) -> Scalar:
    """Return the largest change of a particle's force under changes of the last digits of all coordinates."""
    signs = jax.random.rademacher(jax.random.key(0), (_TRIALS, *state.position.shape), float)
    box, size = state.configuration.box, jnp.abs(state.position)
    if isinstance(box, PeriodicBox):
        size = jnp.maximum(size, jnp.max(jnp.abs(box.matrix)))  # of images, too
    moved = lambda sign: free_forces(state.at(state.position + UNIT * size * sign, state.parameters))  # noqa: E731
    return jnp.max(jnp.linalg.norm(jax.lax.map(moved, signs) - free_forces(state), axis=-1))
