r"""Lennard-Jones particles, switched off smoothly between an onset and a cutoff, or ended in another usual way.

.. math:: u_\infty(r) = 4\epsilon\left[\left(\frac{\sigma}{r}\right)^{12} - \left(\frac{\sigma}{r}\right)^{6}\right]

r: distance between centres, sigma: distance at which u changes sign (units of length; the minimum is at
:math:`2^{1/6}\sigma`), epsilon: depth of the minimum. How it ends: ``potentials.truncation``; with the switch nothing
is shifted, "cut" and "shifted" are for comparison with other programs and for crystals, whose shells stay clear of the
cutoff; the force jumps there. With ``truncation = "force_shifted"`` it does not, but its slope does.
Source: J. E. Jones, Proc. R. Soc. Lond. A 106, 463 (1924), doi:10.1098/rspa.1924.0082; mixtures with independent pairs:
W. Kob, H. C. Andersen, Phys. Rev. E 51, 4626 (1995), doi:10.1103/PhysRevE.51.4626.
"""

from __future__ import annotations

from typing import Any, ClassVar

from jaxtyping import Array

from mdsens.energy import parameter
from mdsens.energy.mixing import geometric_mean
from potentials.options import section_of
from potentials.truncation import TruncatedPotential


class LennardJones(TruncatedPotential):
    r"""The law :math:`4\epsilon[(\sigma/r)^{12} - (\sigma/r)^6]` times a switch between onset and cutoff.

    Attributes:
        sigma: Distance at which u changes sign, units of length, > 0.
        epsilon: Depth of the minimum, units of energy, > 0.
    """

    minimum: ClassVar[float] = 2 ** (1 / 6)

    sigma: Any = parameter("diameters", unit={"length": 1}, above=0, of_system=True)
    epsilon: Any = parameter("depth", unit={"energy": 1}, above=0, mixing=geometric_mean, default=1.0)

    @property
    def stiffness(self) -> float:
        r"""Curvature of a compressed pair: twice that at the minimum, :math:`36\cdot 2^{2/3}` epsilon/sigma^2."""
        return 72.0 * 2.0 ** (2 / 3)

    def whole(self, distance: Array) -> Array:
        """Return the law of infinite range, units of energy."""
        attraction = (self.sigma / distance) ** 6
        return 4.0 * self.epsilon * (attraction**2 - attraction)


Law = LennardJones
Options, build = section_of(LennardJones)
