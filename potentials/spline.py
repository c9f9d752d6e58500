r"""A spline whose values at its knots are the parameters: any law at all.

.. math:: u(r) = s(r/\sigma), \qquad s(x_k) = u_k, \quad x_k = x_0 + k\,\frac{x_c - x_0}{K + 1}\ (0 \le k < K)

with the cubic spline s that has two continuous derivatives everywhere. It is straight below the first knot and ends
with value, slope and curvature zero at :math:`x_c`; its value at the one knot between the last and :math:`x_c` follows.
sigma: unit of length of the knots' places.
Source: C. de Boor, A Practical Guide to Splines, Springer (2001), chapter IV.
"""

from __future__ import annotations

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array

from mdsens.energy import PairPotential, knots, parameter, setting
from potentials.cubic import between, ending_curvatures
from potentials.options import section_of
from potentials.truncation import largest


class Spline(PairPotential):
    """The spline through any number of knots.

    Attributes:
        u: Values at the knots, shape (K,), units of energy.
        sigma: Unit of the knots' places, units of length, > 0.
        start: Place of the first knot, units of sigma.
        cutoff: Where the law ends, units of sigma, > start.
    """

    contact: ClassVar[bool] = False

    u: Any = knots("values at the knots", unit={"energy": 1})
    sigma: Any = parameter("unit of the knots' places", unit={"length": 1}, above=0, default=1.0)
    start: float = setting("place of the first knot, units of sigma", default=0.8, at_least=0, at_most=100)
    cutoff: float = setting("where the law ends, units of sigma", default=2.5, above=0, at_most=100)

    def __check_init__(self) -> None:
        if not self.start < self.cutoff:
            raise ValueError(f"start is {self.start} and cutoff {self.cutoff} (units of sigma); start must be smaller.")

    @property
    def step(self) -> float:
        """Distance of two knots, units of sigma."""
        return (self.cutoff - self.start) / (self.u.values.shape[-1] + 1)

    @property
    def stiffness(self) -> Any:
        """The largest curvature at a knot, in units of the largest value over sigma^2."""
        curvature = jnp.max(jnp.abs(self.u.values @ ending_curvatures(self.u.values.shape[-1]).T[:, :-1]))
        return jax.lax.stop_gradient(curvature) / self.step**2 / jnp.maximum(jnp.abs(largest(self.u)), 1e-300)

    @property
    def smoothness(self) -> int:
        """Number of continuous derivatives at the cutoff: two."""
        return 2

    def pair_energy(self, distance: Array) -> Array:
        """Return u(r), units of energy; zero at and beyond the cutoff."""
        values, n = self.u.values, self.u.values.shape[-1]
        found = jnp.asarray(ending_curvatures(n)) @ values
        bent, heights = found[:-1], jnp.concatenate([values, found[-1:], jnp.zeros(1)])
        place = (distance / self.sigma - self.start) / self.step
        k = jnp.clip(jnp.floor(place).astype(int), 0, n)
        a, straight = jnp.maximum(place, 0.0) - k, jnp.minimum(place, 0.0)
        value = between(a, 1.0 - a, (heights[k], heights[k + 1]), (bent[k], bent[k + 1]))
        slope = heights[1] - heights[0] - bent[1] / 6.0  # at the first knot
        return jnp.where(place < n + 1, value + slope * straight, 0.0)

    @property
    def pair_length(self) -> Array:
        """Sigma, units of length."""
        return self.sigma


Law = Spline
Options, build = section_of(Spline)
