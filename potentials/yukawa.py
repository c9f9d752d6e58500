r"""Yukawa particles: charges that others screen.

.. math:: u_\infty(r) = \epsilon\,\frac{\sigma}{r}\, e^{-\kappa (r - \sigma)}

r: distance between centres, sigma: distance of contact (units of length), epsilon: energy there, kappa: inverse
screening length (1/length). :math:`A e^{-\kappa r}/r` is the same with :math:`A = \epsilon\sigma e^{\kappa\sigma}`. How
it ends: ``potentials.truncation``.
Source: H. Yukawa, Proc. Phys.-Math. Soc. Jpn. 17, 48 (1935), doi:10.11429/ppmsj1919.17.0_48; of colloids: A.-P.
Hynninen, M. Dijkstra, Phys. Rev. E 68, 021407 (2003), doi:10.1103/PhysRevE.68.021407, eq. 1 outside of the hard core.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array

from mdsens.energy import parameter, setting
from mdsens.energy.mixing import geometric_mean
from potentials.options import section_of
from potentials.truncation import TruncatedPotential, largest


class Yukawa(TruncatedPotential):
    r"""The law :math:`\epsilon(\sigma/r)e^{-\kappa(r - \sigma)}`.

    Attributes:
        sigma: Distance of contact, units of length, > 0.
        epsilon: Energy at contact, units of energy; negative where unlike charges attract.
        kappa: Inverse screening length, units of 1/length, >= 0.
    """

    sigma: Any = parameter("diameters", unit={"length": 1}, above=0, of_system=True)
    epsilon: Any = parameter("energy at contact", unit={"energy": 1}, mixing=geometric_mean, default=1.0)
    kappa: Any = parameter("inverse screening length", unit={"length": -1}, at_least=0, default=3.0)
    onset: float = setting("where the switch begins, units of sigma", default=2.5, at_least=1.0, at_most=100)
    cutoff: float = setting("where the law ends, units of sigma", default=3.0, at_least=1.0, at_most=100)

    @property
    def stiffness(self) -> Any:
        r"""Curvature at contact, :math:`2 + 2\kappa\sigma + \kappa^2\sigma^2` epsilon/sigma^2."""
        decay = largest(self.kappa) * largest(self.sigma)
        return 2.0 + 2.0 * decay + decay**2

    def faults(self) -> Iterator[tuple[Array, str]]:
        """Yield the pairs whose energies have no geometric mean."""
        yield jnp.isnan(self.epsilon), "energies of either sign are given per pair (AA, AB, ...), not per species."

    def whole(self, distance: Array) -> Array:
        """Return the law of infinite range, units of energy."""
        return self.epsilon * self.sigma / distance * jnp.exp(-self.kappa * (distance - self.sigma))


Law = Yukawa
Options, build = section_of(Yukawa)
