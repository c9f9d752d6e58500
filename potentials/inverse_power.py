r"""Inverse powers that end smoothly: the particles of swap Monte Carlo glasses.

.. math:: u(r) = \epsilon\left[x^{-n} + c_0 + c_2 x^2 + c_4 x^4\right]\ (x = r/\sigma < x_c), \qquad u = 0\ (x \ge x_c)

.. math:: c_0 = -\tfrac18 (n + 2)(n + 4)\, x_c^{-n}, \quad c_2 = \tfrac14 n (n + 4)\, x_c^{-n-2}, \quad
          c_4 = -\tfrac18 n (n + 2)\, x_c^{-n-4}

r: distance between centres, sigma: diameter (units of length), epsilon: energy scale, n: exponent. The polynomial makes
two derivatives continuous at the cutoff :math:`x_c`. Such glasses are polydisperse and non-additive:
:math:`\sigma_{ij} = \frac12(\sigma_i + \sigma_j)(1 - 0.2\,|\sigma_i - \sigma_j|)`, the rule of mixing
``mdsens.energy.mixing.NonAdditive(0.2)``, in TOML ``non_additivity = 0.2``.
Source: A. Ninarello, L. Berthier, D. Coslovich, Phys. Rev. X 7, 021039 (2017), doi:10.1103/PhysRevX.7.021039
(n = 12, x_c = 1.25).
"""

from __future__ import annotations

from typing import Any, ClassVar

import jax.numpy as jnp
from jaxtyping import Array

from mdsens.energy import PairPotential, parameter, setting
from mdsens.energy.mixing import geometric_mean
from potentials.options import section_of


class InversePower(PairPotential):
    """The inverse power with its polynomial.

    Attributes:
        sigma: Diameter, units of length, > 0.
        epsilon: Energy scale, units of energy, > 0.
        n: Exponent.
        cutoff: Where the law ends, units of sigma.
    """

    contact: ClassVar[bool] = True

    sigma: Any = parameter("diameters", unit={"length": 1}, above=0, of_system=True)
    epsilon: Any = parameter("energy scale", unit={"energy": 1}, above=0, mixing=geometric_mean, default=1.0)
    n: int = setting("exponent", default=12, at_least=1, at_most=100)
    cutoff: float = setting("where the law ends, units of sigma", default=1.25, above=0, at_most=100)

    @property
    def stiffness(self) -> float:
        """Curvature of the inverse power at sigma, n (n + 1) epsilon/sigma^2."""
        return float(self.n * (self.n + 1))

    @property
    def smoothness(self) -> int:
        """Number of continuous derivatives at the cutoff: two."""
        return 2

    def pair_energy(self, distance: Array) -> Array:
        """Return u(r), units of energy; zero at and beyond the cutoff."""
        n, part = self.n, jnp.minimum(distance / (self.cutoff * self.sigma), 1.0)
        square = part**2
        tail = (n + 2) * (n + 4) / 8 - square * (n * (n + 4) / 4 - square * n * (n + 2) / 8)
        return self.epsilon * self.cutoff**-n * jnp.where(part < 1.0, part**-n - tail, 0.0)

    @property
    def pair_length(self) -> Array:
        """Sigma, units of length."""
        return self.sigma


Law = InversePower
Options, build = section_of(InversePower)
