r"""A soft wall across one axis, which repels particles that overlap with it.

.. math:: U = \sum_i \frac{\epsilon_i}{\alpha}\left(1 - \frac{h_i}{\sigma_i}\right)^\alpha \quad (h_i < \sigma_i),
          \qquad h_i = \pm(x_{i,a} - w)

h: height of the centre above the wall at w, sigma: height at which they touch (units of length; a radius), epsilon:
strength (units of energy), as that of soft spheres.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array

from mdsens.energy import OneBodyPotential, along, parameter, setting
from mdsens.types import Components
from potentials.options import section_of


class SoftWall(OneBodyPotential):
    r"""The law :math:`\frac{\epsilon}{\alpha}(1 - h/\sigma)^\alpha` of every particle that overlaps with the wall.

    Attributes:
        sigma: Height at which a particle touches, units of length, > 0: one number, ``PerSpecies`` or ``PerParticle``.
        epsilon: Strength, units of energy, >= 0: the same.
        place: Coordinate w of the wall, units of length.
        axis: Number of the axis that it stands across; the last one by default.
        above: Whether particles are where coordinates are larger; else the wall is their lid.
        alpha: Exponent, >= 2.
    """

    sigma: Any = parameter("height at which a particle touches", unit={"length": 1}, above=0, default=0.5)
    epsilon: Any = parameter("strength", unit={"energy": 1}, at_least=0, default=1.0)
    place: Any = parameter("coordinate of the wall", unit={"length": 1}, default=0.0)
    axis: int = setting("number of the axis, the last one by default", default=-1, at_least=-1, at_most=2)
    above: bool = setting("whether particles are where coordinates are larger", default=True)
    alpha: float = setting("exponent", default=2.0, at_least=2, at_most=100)

    @property
    def name(self) -> str:
        """Prefix of parameter paths."""
        return "soft_wall"

    def site_energy(self, position: Components) -> Array:
        """Return the energy of every particle, units of energy."""
        height = (along(position, self.axis) - self.place) * (1.0 if self.above else -1.0)
        touching = height < self.sigma
        overlap = jnp.where(touching, 1.0 - height / self.sigma, 1.0)
        return jnp.where(touching, self.epsilon / self.alpha * overlap**self.alpha, 0.0)


Law = SoftWall
Options, build = section_of(SoftWall, "soft_wall")
