r"""Random packings of particles that all differ in size, in a square or cubic periodic box.

Diameters are drawn independently with mean m and polydispersity s (standard deviation over mean):

- uniform: between m (1 - sqrt(3) s) and m (1 + sqrt(3) s), so s < 1/sqrt(3);
- lognormal: the exponential of a normal variable of variance log(1 + s^2).

The box follows from the packing fraction of the diameters drawn; positions are uniform.
"""

from __future__ import annotations

import math
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from pydantic import Field

from mdsens.errors import UserError
from mdsens.types import Configuration, PeriodicBox
from systems.frozen import System
from systems.start import Length, Start, box_edge, random_positions, single_species


class Options(System):
    """The ``[system]`` section for ``kind = "polydisperse"``."""

    kind: Literal["polydisperse"] = "polydisperse"
    n_particles: int = Field(128, ge=2, le=10_000_000, description="number of particles")
    dimension: Literal[2, 3] = Field(2, description="2: discs, 3: spheres")
    distribution: Literal["uniform", "lognormal"] = Field("uniform", description="distribution of the diameters")
    mean_diameter: Length = Field(1.0, description="mean of the distribution")
    polydispersity: float = Field(0.2, gt=0, le=2, description="standard deviation of the distribution over its mean")
    packing_fraction: float = Field(0.98, gt=0, le=5, description="volume of all particles over that of the box")
    seed: int = Field(0, ge=0, lt=2**63, description="seed of the random diameters and positions")


def build(options: Options) -> Start:
    """Draw diameters and positions.

    Args:
        options: The validated ``[system]`` section.

    Returns:
        Positions, shape (n, d), one species, and one diameter per particle, shape (n,).

    Raises:
        UserError: When a uniform distribution would contain diameters that are not positive.
    """
    position_key, diameter_key = jax.random.split(jax.random.key(options.seed))
    n, dimension = options.n_particles, options.dimension
    diameters = _drawn(diameter_key, options)
    edge = box_edge(np.asarray(diameters), np.ones(n), dimension, options.packing_fraction)
    position = random_positions(position_key, n, dimension, edge)
    return Start(Configuration(position, single_species(n), PeriodicBox.cubic(edge, dimension)), diameters)


def _drawn(key: Array, options: Options) -> Float[Array, " n"]:
    mean, spread, shape = options.mean_diameter, options.polydispersity, (options.n_particles,)
    if options.distribution == "lognormal":
        width = math.sqrt(math.log1p(spread**2))
        return mean * jnp.exp(width * jax.random.normal(key, shape) - 0.5 * width**2)
    half = math.sqrt(3) * spread
    if half >= 1:
        raise UserError(
            f"system.polydispersity = {spread:g} is too large for the uniform distribution: below 1/sqrt(3) = 0.577 all"
            ' diameters are positive; choose distribution = "lognormal" for more.'
        )
    return mean * jax.random.uniform(key, shape, minval=1 - half, maxval=1 + half)
