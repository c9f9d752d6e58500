"""What a packing is made of."""

from __future__ import annotations

import jax.numpy as jnp

from mdsens.energy import PairPotential, State
from mdsens.neighbors import numbered_pairs
from mdsens.types import PeriodicBox, Scalar


def packing_fraction(state: State) -> Scalar:
    r"""Return the volume of the particles over that of the box, overlaps counted twice.

    .. math:: \phi = \frac{1}{V}\sum_i v_d(\sigma_i),
              \quad v_2 = \frac{\pi}{4}\sigma^2, \quad v_3 = \frac{\pi}{6}\sigma^3

    with sigma_i the interaction range of a pair of particles like i.

    Raises:
        ValueError: For a system that is free along an axis or an energy without a pairwise range.
    """
    box, potential = state.configuration.box, state.potential
    if not (isinstance(box, PeriodicBox) and box.is_periodic and isinstance(potential, PairPotential)):
        raise ValueError(
            "a packing fraction needs a box that is periodic along every axis and a pair potential; leave it out of "
            "the observables."
        )
    own = jnp.arange(state.configuration.n_particles)
    diameter = potential.reach(state.configuration, numbered_pairs(own, own, box.dimension))
    unit_ball = jnp.pi / (4 if box.dimension == 2 else 6)
    return unit_ball * jnp.sum(diameter**box.dimension) / box.volume
