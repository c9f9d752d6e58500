r"""Morse pairs.

.. math:: u_\infty(r) = \epsilon\left[\left(1 - e^{-\alpha (r - \sigma)}\right)^2 - 1\right]

r: distance between centres, sigma: distance of the minimum (units of length), epsilon: its depth, alpha: steepness
(units of 1/length; :math:`\rho = \alpha\sigma` is the number by which clusters are known). How it ends:
``potentials.truncation``.
Source: P. M. Morse, Phys. Rev. 34, 57 (1929), doi:10.1103/PhysRev.34.57, eq. 4; clusters: J. P. K. Doye, D. J. Wales,
J. Chem. Soc., Faraday Trans. 93, 4233 (1997), doi:10.1039/a706221d.
"""

from __future__ import annotations

from typing import Any, ClassVar

import jax.numpy as jnp
from jaxtyping import Array

from mdsens.energy import parameter
from mdsens.energy.mixing import geometric_mean
from potentials.options import section_of
from potentials.truncation import TruncatedPotential, largest


class Morse(TruncatedPotential):
    r"""The law :math:`\epsilon[(1 - e^{-\alpha(r - \sigma)})^2 - 1]`.

    Attributes:
        sigma: Distance of the minimum, units of length, > 0.
        epsilon: Depth of the minimum, units of energy, > 0.
        alpha: Steepness, units of 1/length, > 0.
    """

    minimum: ClassVar[float] = 1.0

    sigma: Any = parameter("distances of the minimum", unit={"length": 1}, above=0, of_system=True)
    epsilon: Any = parameter("depth", unit={"energy": 1}, above=0, mixing=geometric_mean, default=1.0)
    alpha: Any = parameter("steepness", unit={"length": -1}, above=0, default=6.0)

    @property
    def stiffness(self) -> Any:
        r"""Curvature at the minimum, :math:`2\alpha^2\sigma^2` epsilon/sigma^2, of the steepest pair."""
        return 2.0 * (largest(self.alpha) * largest(self.sigma)) ** 2

    def whole(self, distance: Array) -> Array:
        """Return the law of infinite range, units of energy."""
        decay = jnp.exp(-self.alpha * (distance - self.sigma))
        return self.epsilon * decay * (decay - 2.0)


Law = Morse
Options, build = section_of(Morse)
