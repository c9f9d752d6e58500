r"""Standard long-range corrections of Lennard-Jones particles: the fluid beyond the cutoff is taken to be uniform.

.. math:: U_{tail} = \frac{8\pi}{3V}\sum_{ij} \epsilon_{ij}\sigma_{ij}^3
          \left[\frac13\Big(\frac{\sigma_{ij}}{r_c}\Big)^9 - \Big(\frac{\sigma_{ij}}{r_c}\Big)^3\right], \qquad
          P_{tail} = \frac{16\pi}{3V^2}\sum_{ij} \epsilon_{ij}\sigma_{ij}^3
          \left[\frac23\Big(\frac{\sigma_{ij}}{r_c}\Big)^9 - \Big(\frac{\sigma_{ij}}{r_c}\Big)^3\right]

summed over ordered pairs of particles, each with itself included: for N equal ones :math:`U_{tail}/N = \frac{8}{3}\pi
\rho\epsilon\sigma^3[\ldots]`.

The cutoff is held under differentiation. So it is in the energy of listed pairs, whose derivative leaves out that the
jump moves with the cutoff (automatic differentiation does not see a delta function). The two terms left out cancel as
far as the fluid is uniform there, :math:`g(r_c) = 1`, which is the assumption of the correction itself.

References:
    M. P. Allen, D. J. Tildesley, Computer Simulation of Liquids, 2nd ed. (2017), section 2.8,
    doi:10.1093/oso/9780198803195.001.0001; NIST Standard Reference Simulation Website, doi:10.18434/T4M88Q.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from mdsens.energy import Potential, State
from mdsens.energy.entries import is_entries
from mdsens.energy.parameters import PerParticle, at_pairs
from mdsens.errors import UserError
from mdsens.types import PeriodicBox, Scalar
from potentials.lennard_jones import LennardJones


def check_tail(potential: Potential, state: State) -> None:
    """Refuse a system for which the corrections are not meant.

    Raises:
        UserError: Unless it is a three-dimensional periodic system of Lennard-Jones particles with a plain cut.
    """
    if not isinstance(potential, LennardJones) or potential.truncation != "cut":
        raise UserError('tail corrections are for potential.kind = "lennard_jones" with truncation = "cut".')
    if not isinstance(state.configuration.box, PeriodicBox) or state.configuration.dimension != 3:
        raise UserError("tail corrections need a periodic box in three dimensions.")


def tail_energy(state: State) -> Scalar:
    """Return the energy beyond the cutoff, units of energy."""
    return 8.0 * jnp.pi / (3.0 * _volume(state)) * _sum_over_pairs(state, 1.0 / 3.0)


def tail_pressure(state: State) -> Scalar:
    """Return the pressure of the part beyond the cutoff, units of energy per volume."""
    return 16.0 * jnp.pi / (3.0 * _volume(state) ** 2) * _sum_over_pairs(state, 2.0 / 3.0)


def _volume(state: State) -> Scalar:
    box = state.configuration.box
    assert isinstance(box, PeriodicBox)  # check_tail
    return box.volume


def _sum_over_pairs(state: State, weight: float) -> Scalar:
    r"""Return :math:`\sum_{ij} \epsilon\sigma^3 [w (\sigma/r_c)^9 - (\sigma/r_c)^3]`, units of energy times volume."""
    i, j, times = _representatives(state)
    assert isinstance(state.potential, LennardJones)  # check_tail
    expanded = at_pairs(state.potential, state.configuration.species, i, j)
    ratio = expanded.sigma / jax.lax.stop_gradient(expanded.cutoff * expanded.sigma)
    law = expanded.epsilon * expanded.sigma**3 * (weight * ratio**9 - ratio**3)
    return jnp.sum(times * law)


def _representatives(state: State) -> tuple[Array, Array, Float[Array, " m"]]:
    """Return ordered pairs of particles that stand for all, and how many pairs each stands for."""
    configuration = state.configuration
    n, n_species = configuration.n_particles, len(configuration.species_names)
    nodes = jax.tree.leaves(state.potential, is_leaf=is_entries)
    if any(isinstance(node, PerParticle) for node in nodes):
        first, counts = jnp.arange(n), jnp.ones(n)
    else:
        present = configuration.species[:, None] == jnp.arange(n_species)
        first, counts = jnp.argmax(present, axis=0), jnp.sum(present, axis=0).astype(float)
    i, j = (index.ravel() for index in jnp.meshgrid(first, first, indexing="ij"))
    return i, j, jnp.outer(counts, counts).ravel()
