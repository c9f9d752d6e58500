r"""Weeks-Chandler-Andersen particles: Lennard-Jones cut at its minimum and shifted to zero there.

.. math:: u(r) = 4\epsilon\left[\left(\frac{\sigma}{r}\right)^{12} - \left(\frac{\sigma}{r}\right)^{6}\right]
          + \epsilon\ (r < 2^{1/6}\sigma), \qquad u(r) = 0\ (r \ge 2^{1/6}\sigma)

r: distance between centres, sigma (units of length), epsilon: energy scale. The second derivative jumps at contact.
Source: J. D. Weeks, D. Chandler, H. C. Andersen, J. Chem. Phys. 54, 5237 (1971), doi:10.1063/1.1674820.
"""

from __future__ import annotations

from typing import Any, ClassVar

import jax.numpy as jnp
from jaxtyping import Array

from mdsens.energy import PairPotential, parameter
from mdsens.energy.mixing import geometric_mean
from potentials.options import section_of


class WCA(PairPotential):
    r"""The repulsive part of Lennard-Jones, :math:`4\epsilon[(\sigma/r)^{12} - (\sigma/r)^6] + \epsilon`.

    Attributes:
        sigma: Length, units of length, > 0; contact is at :math:`2^{1/6}\sigma`.
        epsilon: Energy scale, units of energy, > 0.
    """

    contact: ClassVar[bool] = True

    sigma: Any = parameter("diameters", unit={"length": 1}, above=0, of_system=True)
    epsilon: Any = parameter("energy scale", unit={"energy": 1}, above=0, mixing=geometric_mean, default=1.0)

    @property
    def stiffness(self) -> float:
        r"""Curvature at contact, :math:`36\cdot 2^{2/3}` epsilon/sigma^2."""
        return 36.0 * 2.0 ** (2 / 3)

    @property
    def cutoff(self) -> float:
        """Range in units of sigma."""
        return float(2 ** (1 / 6))

    @property
    def smoothness(self) -> int:
        """Number of continuous derivatives at contact: one."""
        return 1

    def pair_energy(self, distance: Array) -> Array:
        """Return u(r), units of energy; zero at and beyond contact."""
        attraction = (self.sigma / distance) ** 6
        # a square: no cancellation at contact
        return jnp.where(distance < self.cutoff * self.sigma, 4.0 * self.epsilon * (attraction - 0.5) ** 2, 0.0)

    @property
    def pair_length(self) -> Array:
        """Sigma, units of length."""
        return self.sigma


Law = WCA
Options, build = section_of(WCA)
