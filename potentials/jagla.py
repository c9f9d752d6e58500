r"""Jagla's core with a ramp and a well, in its smooth form: two length scales, as water has.

.. math:: u_\infty(r) = \epsilon\left[x^{-n} + \frac{A_0}{1 + e^{(A_1/A_0)(x - A_2)}}
          - \frac{B_0}{1 + e^{(B_1/B_0)(x - B_2)}}\right], \qquad x = \frac{r}{\sigma}

r: distance between centres, sigma: diameter of the core (units of length), epsilon: energy scale; A0, A1, A2: height,
slope and place of the ramp, B0, B1, B2: depth, slope and place of the well, numbers. How it ends:
``potentials.truncation``.
Source: E. A. Jagla, J. Chem. Phys. 111, 8980 (1999), doi:10.1063/1.480241 (ramps with corners); this form: J. Y.
Abraham, S. V. Buldyrev, N. Giovambattista, J. Phys. Chem. B 115, 14229 (2011), doi:10.1021/jp205098a, eq. 1 and the
defaults.
"""

from __future__ import annotations

from typing import Any

import jax
from jaxtyping import Array

from mdsens.energy import parameter, setting
from mdsens.energy.mixing import geometric_mean
from potentials.options import section_of
from potentials.truncation import TruncatedPotential


class Jagla(TruncatedPotential):
    """The smooth law of Abraham, Buldyrev and Giovambattista ("Fermi-Jagla").

    Attributes:
        sigma: Diameter of the core, units of length, > 0.
        epsilon: Energy scale, units of energy, > 0.
        A0, A1, A2: Height, slope and place of the ramp; A0 > 0.
        B0, B1, B2: Depth, slope and place of the well; B0 > 0.
        n: Exponent of the core.
    """

    sigma: Any = parameter("diameters", unit={"length": 1}, above=0, of_system=True)
    epsilon: Any = parameter("energy scale", unit={"energy": 1}, above=0, mixing=geometric_mean, default=1.0)
    A0: Any = parameter("height of the ramp", above=0, default=4.56)
    A1: Any = parameter("slope of the ramp", default=28.88)
    A2: Any = parameter("place of the ramp", default=1.36)
    B0: Any = parameter("depth of the well", above=0, default=1.0)
    B1: Any = parameter("slope of the well", default=3.57)
    B2: Any = parameter("place of the well", default=2.36)
    n: int = setting("exponent of the core", default=20, at_least=1, at_most=100)
    onset: float = setting("where the switch begins, units of sigma", default=3.5, at_least=1.0, at_most=100)
    cutoff: float = setting("where the law ends, units of sigma", default=4.0, at_least=1.0, at_most=100)

    @property
    def stiffness(self) -> float:
        """Curvature of the core at sigma, n (n + 1) epsilon/sigma^2."""
        return float(self.n * (self.n + 1))

    def whole(self, distance: Array) -> Array:
        """Return the law of infinite range, units of energy."""
        x = distance / self.sigma
        ramp = self.A0 * jax.nn.sigmoid(-self.A1 / self.A0 * (x - self.A2))
        well = self.B0 * jax.nn.sigmoid(-self.B1 / self.B0 * (x - self.B2))
        return self.epsilon * (x**-self.n + ramp - well)


Law = Jagla
Options, build = section_of(Jagla)
