r"""Born-Mayer-Huggins ions without their charges: an exponential repulsion and two terms of dispersion.

.. math:: u_\infty(r) = A\, e^{(\sigma - r)/\rho} - \frac{C}{r^6} - \frac{D}{r^8}

r: distance between centres, A: repulsion at sigma (energy), sigma: sum of the radii (length), rho: decay (length), C
and D: dispersion (energy length^6 and length^8; programs that add D/r^8 want -D). C = D = 0, the default, is the law of
Born and Mayer. Where the pole at small distances would win the law is continued as a wall: ``potentials.wall``;
parameters for which the repulsion never wins are refused. How it ends at its range: ``potentials.truncation``.
Source: M. Born, J. E. Mayer, Z. Phys. 75, 1 (1932), doi:10.1007/BF01340511; M. L. Huggins, J. E. Mayer, J. Chem. Phys.
1, 643 (1933), doi:10.1063/1.1749344; M. P. Tosi, F. G. Fumi, J. Phys. Chem. Solids 25, 45 (1964),
doi:10.1016/0022-3697(64)90160-X.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from mdsens.energy import parameter
from mdsens.energy.mixing import geometric_mean
from potentials.options import section_of
from potentials.truncation import RangedPotential, largest
from potentials.wall import wall_distance, with_wall


class BornMayer(RangedPotential):
    """The law A exp((sigma - r)/rho) - C/r^6 - D/r^8.

    Attributes:
        A: Repulsion at sigma, units of energy, > 0.
        rho: Decay of the repulsion, units of length, > 0.
        sigma: Sum of the radii, units of length; zero where A is the repulsion at no distance.
        C: Dispersion, units of energy length^6, >= 0.
        D: Dispersion of next order, units of energy length^8, >= 0.
    """

    A: Any = parameter("repulsion at sigma", unit={"energy": 1}, above=0, mixing=geometric_mean)
    rho: Any = parameter("decay of the repulsion", unit={"length": 1}, above=0)
    sigma: Any = parameter("sum of the radii", unit={"length": 1}, at_least=0, default=0.0)
    C: Any = parameter("dispersion", unit={"energy": 1, "length": 6}, at_least=0, mixing=geometric_mean, default=0.0)
    D: Any = parameter("next order", unit={"energy": 1, "length": 8}, at_least=0, mixing=geometric_mean, default=0.0)

    @property
    def stiffness(self) -> Any:
        """Curvature at the energy A, A/rho^2, in units of epsilon/sigma^2: particles move less than rho in a step."""
        return (largest(self.range) / largest(self.rho)) ** 2

    def faults(self) -> Iterator[tuple[Array, str]]:
        """Yield the pairs that nothing keeps apart."""
        wall = jnp.where(self.inner > 0, self.inner, self.range)
        slope, curvature = jax.jvp(jax.grad(lambda r: jnp.sum(self._law(r))), (wall,), (jnp.ones_like(wall),))
        kept = (slope < 0) & (jnp.abs(curvature) * self.rho < -1e-6 * slope)
        yield (
            (self.inner > 0) & ~kept,
            "its dispersion is stronger than the repulsion at every distance: give less C and D.",
        )

    @property
    def inner(self) -> Array:
        """Distance of the wall, units of length."""
        return wall_distance(self.A * jnp.exp(self.sigma / self.rho), self.rho, self.C, self.D)

    def whole(self, distance: Array) -> Array:
        """Return the law of infinite range, units of energy."""
        return with_wall(self._law, distance, self.inner)

    def _law(self, r: Array) -> Array:
        return self.A * jnp.exp((self.sigma - r) / self.rho) - (self.C + self.D / r**2) / r**6


Law = BornMayer
Options, build = section_of(BornMayer)
