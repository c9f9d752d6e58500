r"""Soft repulsive spheres: harmonic (alpha = 2) or Hertzian (alpha = 5/2) overlaps.

.. math:: u(r) = \frac{\epsilon}{\alpha}\left(1 - \frac{r}{\sigma}\right)^{\alpha}\ (r < \sigma),
          \qquad u(r) = 0\ (r \ge \sigma)

r: distance between centres, sigma: sum of radii (units of length), epsilon: energy scale, alpha: exponent (no unit).
Source: C. S. O'Hern, L. E. Silbert, A. J. Liu, S. R. Nagel, Phys. Rev. E 68, 011306 (2003),
doi:10.1103/PhysRevE.68.011306, eq. 1.
"""

from __future__ import annotations

from typing import Any, ClassVar

import jax.numpy as jnp
from jaxtyping import Array

from mdsens.energy import PairPotential, parameter, setting
from mdsens.energy.mixing import geometric_mean
from potentials.options import section_of


class SoftSphere(PairPotential):
    r"""The law :math:`u(r) = (\epsilon/\alpha)(1 - r/\sigma)^\alpha` inside sigma, zero outside.

    Attributes:
        sigma: Contact distance, units of length, > 0.
        epsilon: Energy scale, units of energy, > 0.
        alpha: Exponent, > 1. The number of continuous derivatives at contact is ceil(alpha) - 1: one for harmonic
            spheres (the second jumps), two for Hertzian ones.

    Raises:
        ValueError: When a field is out of its range.
    """

    contact: ClassVar[bool] = True

    sigma: Any = parameter("diameters", unit={"length": 1}, above=0, of_system=True)
    epsilon: Any = parameter("energy scale", unit={"energy": 1}, above=0, mixing=geometric_mean, default=1.0)
    alpha: float = setting("exponent: 2 harmonic, 2.5 Hertzian", default=2.0, above=1, at_most=10)

    @property
    def cutoff(self) -> float:
        """Range in units of sigma."""
        return 1.0

    @property
    def smoothness(self) -> int:
        """Number of continuous derivatives at contact."""
        return int(-(-self.alpha // 1)) - 1

    def pair_energy(self, distance: Array) -> Array:
        """Return u(r), units of energy; zero at and beyond contact."""
        touching = distance < self.sigma
        overlap = jnp.where(touching, 1.0 - distance / self.sigma, 1.0)
        return jnp.where(touching, self.epsilon / self.alpha * overlap**self.alpha, 0.0)

    @property
    def pair_length(self) -> Array:
        """Sigma, units of length."""
        return self.sigma


Law = SoftSphere
Options, build = section_of(SoftSphere)
