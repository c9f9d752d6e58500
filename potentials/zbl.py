r"""Ziegler-Biersack-Littmark: nuclei behind their screening electrons, for collisions.

.. math:: u_\infty(r) = \frac{k_e Z^2}{r}\,\phi\!\left(\frac{r}{a}\right), \qquad \phi(x) = 0.18175\, e^{-3.19980 x}
          + 0.50986\, e^{-0.94229 x} + 0.28022\, e^{-0.40290 x} + 0.02817\, e^{-0.20162 x}

r: distance between nuclei, Z: atomic number (of unlike ones the geometric mean, :math:`Z^2 = Z_i Z_j`), a: screening
length; of one kind of atom :math:`a = 0.46850/(2 Z^{0.23})` angstroms, of unlike ones the harmonic mean, which is the
published :math:`0.46850/(Z_i^{0.23} + Z_j^{0.23})`; ``ZBL.of`` makes the law from atomic numbers. k_e:
:math:`e^2/4\pi\epsilon_0` (energy length), by default in electron volts and angstroms. How it ends at its range:
``potentials.truncation``; other programs switch the force.
Source: J. F. Ziegler, J. P. Biersack, U. Littmark, The Stopping and Range of Ions in Solids, Pergamon (1985).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array

from mdsens.energy import parameter
from mdsens.energy.mixing import geometric_mean, harmonic_mean
from potentials.options import section_of
from potentials.truncation import RangedPotential, Truncation, largest

_SCREENING = ((0.18175, 3.19980), (0.50986, 0.94229), (0.28022, 0.40290), (0.02817, 0.20162))


class ZBL(RangedPotential):
    """The universal screened repulsion.

    Attributes:
        Z: Atomic number, > 0.
        a: Screening length, units of length, > 0.
        ke: e^2/(4 pi epsilon_0), units of energy length, > 0.
    """

    Z: Any = parameter("atomic number", above=0, mixing=geometric_mean)
    a: Any = parameter("screening length", unit={"length": 1}, above=0, mixing=harmonic_mean)
    ke: Any = parameter("e^2/(4 pi eps0)", unit={"energy": 1, "length": 1}, above=0, default=14.3996454784255)

    @classmethod
    def of(cls, Z: Mapping[str, float | int], range: float, truncation: Truncation = "force_switched") -> ZBL:
        """Return the law of atoms with their numbers by species, in angstroms and electron volts."""
        a = {name: 0.46850 / (2.0 * number**0.23) for name, number in Z.items()}
        law: Callable[..., ZBL] = cls
        return law(dict(Z), a, range=range, truncation=truncation)

    @property
    def stiffness(self) -> Any:
        """Range over screening length, squared: particles move less than the latter in a step."""
        return (largest(self.range) / largest(self.a)) ** 2

    def whole(self, distance: Array) -> Array:
        """Return the law of infinite range, units of energy."""
        screening = sum(weight * jnp.exp(-decay * distance / self.a) for weight, decay in _SCREENING)
        return self.ke * self.Z**2 / distance * screening


Law = ZBL
Options, build = section_of(ZBL)
