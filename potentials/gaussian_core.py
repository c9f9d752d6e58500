r"""Gaussian cores: soft particles that pass through each other, polymer coils for instance.

.. math:: u_\infty(r) = \epsilon\, e^{-(r/\sigma)^2}

r: distance between centres, sigma: width (units of length), epsilon: energy of two at one place. How it ends:
``potentials.truncation``.
Source: F. H. Stillinger, J. Chem. Phys. 65, 3968 (1976), doi:10.1063/1.432891.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array

from mdsens.energy import parameter, setting
from mdsens.energy.mixing import geometric_mean
from potentials.options import section_of
from potentials.truncation import TruncatedPotential


class GaussianCore(TruncatedPotential):
    r"""The law :math:`\epsilon e^{-(r/\sigma)^2}`.

    Attributes:
        sigma: Width, units of length, > 0.
        epsilon: Energy at no distance, units of energy, > 0.
    """

    sigma: Any = parameter("widths", unit={"length": 1}, above=0, of_system=True)
    epsilon: Any = parameter("energy at no distance", unit={"energy": 1}, above=0, mixing=geometric_mean, default=1.0)
    onset: float = setting("where the switch begins, units of sigma", default=3.0, at_least=1.0, at_most=100)
    cutoff: float = setting("where the law ends, units of sigma", default=4.0, at_least=1.0, at_most=100)

    @property
    def stiffness(self) -> float:
        """The largest curvature, two epsilon/sigma^2."""
        return 2.0

    def whole(self, distance: Array) -> Array:
        """Return the law of infinite range, units of energy."""
        return self.epsilon * jnp.exp(-((distance / self.sigma) ** 2))


Law = GaussianCore
Options, build = section_of(GaussianCore)
