r"""Harmonic-Morse discs: a harmonic repulsion joined with the attraction of Morse at its minimum.

.. math:: u_\infty(r) = \begin{cases} \frac{k}{2}(r - \sigma)^2 - \epsilon & r < \sigma \\
          \epsilon\left[e^{-2\alpha(r - \sigma)} - 2 e^{-\alpha(r - \sigma)}\right] & r \ge \sigma \end{cases}

r: distance between centres, sigma: distance of the minimum (units of length), epsilon: binding energy, k: spring
constant (energy/length^2), alpha: steepness of the attraction (1/length). The second derivative jumps at sigma, from k
to :math:`2\epsilon\alpha^2`. How it ends: ``potentials.truncation``.
Source: M. Zu, C. P. Goodrich, Commun. Mater. 5 (2024), arXiv:2404.15101, doi:10.48550/arXiv.2404.15101.
"""

from __future__ import annotations

from typing import Any, ClassVar

import jax.numpy as jnp
from jaxtyping import Array

from mdsens.energy import parameter, setting
from mdsens.energy.mixing import geometric_mean
from potentials.options import section_of
from potentials.truncation import TruncatedPotential, largest


class HarmonicMorse(TruncatedPotential):
    """The law of Zu and Goodrich.

    Attributes:
        sigma: Distance of the minimum, units of length, > 0.
        epsilon: Binding energy, units of energy, > 0.
        k: Spring constant of the repulsion, units of energy/length^2, > 0.
        alpha: Steepness of the attraction, units of 1/length, > 0.
    """

    minimum: ClassVar[float] = 1.0

    sigma: Any = parameter("diameters", unit={"length": 1}, above=0, of_system=True)
    epsilon: Any = parameter("binding energy", unit={"energy": 1}, above=0, mixing=geometric_mean, default=0.1)
    k: Any = parameter("spring constant of the repulsion", unit={"energy": 1, "length": -2}, above=0, default=5.0)
    alpha: Any = parameter("steepness of the attraction", unit={"length": -1}, above=0, default=20.0)
    onset: float = setting("where the switch begins, units of sigma", default=1.25, at_least=1.0, at_most=100)
    cutoff: float = setting("where the law ends, units of sigma", default=1.5, at_least=1.0, at_most=100)

    @property
    def stiffness(self) -> Any:
        """The larger of both curvatures at the minimum, units of epsilon/sigma^2."""
        attraction, repulsion = 2.0 * largest(self.alpha) ** 2, largest(self.k) / largest(self.epsilon)
        return jnp.maximum(attraction, repulsion) * largest(self.sigma) ** 2

    @property
    def kinks(self) -> tuple[float, ...]:
        """The minimum, where u'' jumps, and the cutoff where it does."""
        return (1.0, *super().kinks)

    def whole(self, distance: Array) -> Array:
        """Return the law of infinite range, units of energy."""
        gap = distance - self.sigma
        decay = jnp.exp(-self.alpha * jnp.maximum(gap, 0.0))
        return jnp.where(gap < 0, 0.5 * self.k * gap**2 - self.epsilon, self.epsilon * decay * (decay - 2.0))


Law = HarmonicMorse
Options, build = section_of(HarmonicMorse)
