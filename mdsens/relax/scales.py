r"""The scales of a relaxation, found where they can be: the curvature that a particle feels and the rounding of forces.

A pair pushes with a slope u' and a curvature u''; what a particle feels is the sum over its pairs of the larger of
:math:`|u''|` and :math:`|u'|/r`. By Gershgorin's theorem no eigenvalue of the Hessian, every row divided by it, exceeds
two in size, whatever the law, its units and the sizes of the particles.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mdsens.energy import PairPotential, Potential, State, harmless
from mdsens.generic import hessian_products
from mdsens.neighbors import pair_distances
from mdsens.parameters import at_pairs
from mdsens.types import PeriodicBox, Scalar, is_concrete

_LEAST = 0.1  # of the mean over its species: a particle without neighbours will have some
_SHARE = 1 / 6  # of the curvature felt is a mass: frequencies then stay below 3.5, and FIRE's time step below 0.57


def scales(potential: Potential) -> tuple[Scalar | float, Scalar | float]:
    """Return the length and energy units of a potential: the largest entry of each kind, 1 where none is declared."""
    namespace: Any = np if is_concrete(potential) else jnp  # on the host NumPy answers 50 times faster

    def largest(kind: str) -> Any:
        nodes = [node.value for node in potential.nodes() if node.unit == kind]
        leaves = [namespace.asarray(leaf).max() for node in nodes for leaf in jax.tree.leaves(node)]
        return functools.reduce(namespace.maximum, leaves) if leaves else 1.0

    return largest("length"), largest("energy")


def measures_masses(potential: Potential) -> bool:
    """Return whether masses follow the curvature: laws of contact are as stiff as declared wherever they touch."""
    return isinstance(potential, PairPotential) and not potential.contact


def softness(state: State) -> Float[Array, "n 1"]:
    """Return the inverse of a mass per particle, units of length^2, energies in units of the potential's.

    With masses that follow the curvature one time step suits soft and stiff particles.
    """
    n, law = state.configuration.n_particles, state.potential
    length, unit = jax.lax.stop_gradient(scales(law))
    declared = jnp.full((n, 1), length**2 / law.stiffness)
    if not measures_masses(law):
        return declared
    felt, species = jax.lax.stop_gradient(curvature_felt(state)), state.configuration.species
    nothing = jnp.zeros(len(state.configuration.species_names))
    means = nothing.at[species].add(felt) / jnp.maximum(nothing.at[species].add(felt > 0), 1)
    least = _LEAST * jnp.where(means > 0, means, jnp.max(means))[species]
    known = least > 0
    measured = unit / (_SHARE * jnp.where(known, jnp.maximum(felt, least), 1.0))
    return jnp.where(known[:, None], measured[:, None], declared)


def curvature_felt(state: State) -> Float[Array, " n"]:
    """Return the sum over every particle's pairs of the larger of |u''| and |u'|/r, units of energy per length^2."""
    law, configuration, pairs = state.potential, state.configuration, state.pairs
    assert isinstance(law, PairPotential)
    expanded = at_pairs(law, configuration.species, pairs.i, pairs.j)
    safe = harmless(expanded, pair_distances(configuration, pairs), pairs)
    slope = jax.grad(lambda r: jnp.sum(expanded.pair_energy(r)))
    first, second = jax.jvp(slope, (safe,), (jnp.ones_like(safe),))
    felt = jnp.where(pairs.mask, jnp.maximum(jnp.abs(second), jnp.abs(first) / safe), 0.0)
    return jnp.zeros(configuration.n_particles).at[pairs.i].add(felt).at[pairs.j].add(felt)


@jax.jit
def force_rounding(state: State) -> Scalar:
    r"""Return the rounding error of the largest force, :math:`2 \epsilon\,|x|_{max}\,k_{max}`, units of force.

    Coordinates are known to eps |x|, and the curvature k that a particle feels turns that into a force; for energies
    that are no pair laws it is what a product of the Hessian with a random vector shows.
    """
    configuration = state.configuration
    extent = jnp.max(jnp.abs(state.position))
    if isinstance(configuration.box, PeriodicBox):
        extent = jnp.maximum(extent, jnp.max(jnp.abs(configuration.box.matrix)))
    if isinstance(state.potential, PairPotential):
        stiffest = jnp.max(curvature_felt(state))
    else:
        signs = jax.random.rademacher(jax.random.key(0), (4, *state.position.shape), float)
        stiffest = jnp.max(jnp.linalg.norm(hessian_products(state, signs), axis=-1))
    return 2.0 * jnp.finfo(float).eps * extent * stiffest
