r"""Random packings of two kinds of particles in a square or cubic periodic box.

Positions are drawn uniformly; the first species fills the first block of particles. The box follows from the packing
fraction, :math:`L^d = \sum_i v_d(\sigma_i)/\phi`. The defaults are the classic bidisperse packing of 128 discs with a
diameter ratio of 0.6.
"""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from pydantic import Field

from mdsens.errors import UserError
from mdsens.types import Configuration, PeriodicBox
from systems.frozen import System
from systems.start import Length, Start, box_edge, random_positions


class Options(System):
    """The ``[system]`` section for ``kind = "bidisperse"``."""

    kind: Literal["bidisperse"] = "bidisperse"
    n_particles: int = Field(128, ge=2, le=10_000_000, description="number of particles")
    dimension: Literal[2, 3] = Field(2, description="2: discs, 3: spheres")
    diameters: tuple[Length, Length] = Field((0.6, 1.0), description="diameters of species A and B")
    fraction: float = Field(0.5, gt=0, lt=1, description="number of particles of species A over that of all")
    packing_fraction: float = Field(0.98, gt=0, le=5, description="volume of all particles over that of the box")
    seed: int = Field(0, ge=0, lt=2**63, description="seed of the random positions")


def build(options: Options) -> Start:
    """Draw the packing.

    Args:
        options: The validated ``[system]`` section.

    Returns:
        Positions, shape (n, d), species A first, and the two diameters.

    Raises:
        UserError: When one species would be left without particles.
    """
    n = options.n_particles
    n_first = round(options.fraction * n)
    if not 0 < n_first < n:
        raise UserError(
            f"system.fraction = {options.fraction:g} of {n} particles rounds to {n_first} of species A; both species"
            " need at least one: change fraction or n_particles."
        )
    diameters = np.array(options.diameters)
    edge = box_edge(diameters, np.array([n_first, n - n_first]), options.dimension, options.packing_fraction)
    position = random_positions(jax.random.key(options.seed), n, options.dimension, edge)
    species = jnp.asarray(np.repeat([0, 1], [n_first, n - n_first]))
    box = PeriodicBox.cubic(edge, options.dimension)
    return Start(Configuration(position, species, box, ("A", "B")), jnp.asarray(diameters))
