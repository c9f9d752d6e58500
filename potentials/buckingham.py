r"""Buckingham pairs (exp-6): an exponential repulsion and the dispersion.

.. math:: u_\infty(r) = A\, e^{-r/\rho} - \frac{C}{r^6}

r: distance between centres, A: height of the repulsion (energy), rho: its decay (length), C: dispersion (energy
length^6). Where the pole at small distances would win the law is continued as a wall: ``potentials.wall``; parameters
for which the repulsion never wins, :math:`42\, C \ge 7^8 e^{-7} A \rho^6`, are refused. How it ends at its range:
``potentials.truncation``.
Source: R. A. Buckingham, Proc. R. Soc. Lond. A 168, 264 (1938), doi:10.1098/rspa.1938.0173.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array

from mdsens.energy import parameter
from mdsens.energy.mixing import geometric_mean
from potentials.options import section_of
from potentials.truncation import RangedPotential, largest
from potentials.wall import wall_distance, with_wall

_STRONGEST = 7.0**8 * 2.718281828459045**-7 / 42.0


class Buckingham(RangedPotential):
    """The law A exp(-r/rho) - C/r^6.

    Attributes:
        A: Height of the repulsion, units of energy, > 0.
        rho: Decay of the repulsion, units of length, > 0.
        C: Dispersion, units of energy length^6, >= 0.
    """

    A: Any = parameter("height of the repulsion", unit={"energy": 1}, above=0, mixing=geometric_mean)
    rho: Any = parameter("decay of the repulsion", unit={"length": 1}, above=0)
    C: Any = parameter("dispersion", unit={"energy": 1, "length": 6}, at_least=0, mixing=geometric_mean, default=0.0)

    @property
    def stiffness(self) -> Any:
        """Curvature at the height A, A/rho^2, in units of epsilon/sigma^2: particles move less than rho in a step."""
        return (largest(self.range) / largest(self.rho)) ** 2

    def faults(self) -> Iterator[tuple[Array, str]]:
        """Yield the pairs that nothing keeps apart."""
        too_much = _STRONGEST * self.A * self.rho**6 <= self.C
        yield (
            too_much,
            "its dispersion C is stronger than A exp(-r/rho) at every distance: give less C, or more A or rho.",
        )

    @property
    def inner(self) -> Array:
        """Distance of the wall, units of length."""
        return wall_distance(self.A, self.rho, self.C)

    def whole(self, distance: Array) -> Array:
        """Return the law of infinite range, units of energy."""
        return with_wall(lambda r: self.A * jnp.exp(-r / self.rho) - self.C / r**6, distance, self.inner)


Law = Buckingham
Options, build = section_of(Buckingham)
