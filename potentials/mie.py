r"""Mie particles: the Lennard-Jones law with any two exponents.

.. math:: u_\infty(r) = C\epsilon\left[\left(\frac{\sigma}{r}\right)^{n} - \left(\frac{\sigma}{r}\right)^{m}\right],
          \qquad C = \frac{n}{n - m}\left(\frac{n}{m}\right)^{m/(n - m)}

r: distance between centres, sigma: distance at which u changes sign (units of length; the minimum is at
:math:`(n/m)^{1/(n - m)}\sigma`), epsilon: depth of the minimum, n > m > 0: exponents. How it ends:
``potentials.truncation``.
Source: G. Mie, Ann. Phys. 316, 657 (1903), doi:10.1002/andp.19033160802; C: T. Lafitte et al., J. Chem. Phys. 139,
154504 (2013), doi:10.1063/1.4819786, eq. 2.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from jaxtyping import Array

from mdsens.energy import parameter
from mdsens.energy.mixing import geometric_mean
from potentials.options import section_of
from potentials.truncation import TruncatedPotential, largest


class Mie(TruncatedPotential):
    r"""The law :math:`C\epsilon[(\sigma/r)^n - (\sigma/r)^m]`.

    Attributes:
        sigma: Distance at which u changes sign, units of length, > 0.
        epsilon: Depth of the minimum, units of energy, > 0.
        n: Exponent of the repulsion, > m.
        m: Exponent of the attraction, > 0.
    """

    sigma: Any = parameter("diameters", unit={"length": 1}, above=0, of_system=True)
    epsilon: Any = parameter("depth", unit={"energy": 1}, above=0, mixing=geometric_mean, default=1.0)
    n: Any = parameter("exponent of the repulsion", above=0, default=12.0)
    m: Any = parameter("exponent of the attraction", above=0, default=6.0)

    @property
    def stiffness(self) -> Any:
        r"""Curvature of a compressed pair, as large as twice n m epsilon/sigma^2."""
        return 2.0 * largest(self.n) * largest(self.m)

    def faults(self) -> Iterator[tuple[Array, str]]:
        """Yield the pairs without a minimum."""
        yield self.n <= self.m, f"n is {self.n} and m is {self.m}; the exponent n must be greater than m."

    def whole(self, distance: Array) -> Array:
        """Return the law of infinite range, units of energy."""
        n, m, x = self.n, self.m, self.sigma / distance
        return n / (n - m) * (n / m) ** (m / (n - m)) * self.epsilon * (x**n - x**m)


Law = Mie
Options, build = section_of(Mie)
