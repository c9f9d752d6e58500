r"""A table from a file: columns r and u, and -du/dr where it is there; the law is the spline through its rows.

.. math:: u_\infty(r_k) = u_k, \qquad u_\infty \in C^2, \qquad u_\infty(r) = u_0 + u_\infty'(r_0)(r - r_0)\ (r < r_0)

The cubic spline has no jump of the third derivative at the second and the last but one row (``scipy.interpolate.
CubicSpline``'s own choice). Places and values of all rows are parameters, ``table.r[7]`` and ``table.u[7]``. Below the
first row the law is continued, which its ``inner`` says: no derivative is given of a state with such a pair. How it
ends at the last row: ``potentials.truncation``. A column of forces must be -u' of the spline to a tenth.
Source: C. de Boor, A Practical Guide to Splines, Springer (2001), chapter IV.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from mdsens.energy import knots, setting
from mdsens.given import is_concrete
from potentials.cubic import between, curvatures
from potentials.options import section_of
from potentials.rows import read_rows
from potentials.truncation import EndedPotential, largest


class Table(EndedPotential):
    """The spline through the rows of a table; ``Table(**read_rows(path))`` reads one.

    Attributes:
        r: Distances of the rows, shape (k,), k >= 4, increasing, units of length, > 0.
        u: Energies there, shape (k,), units of energy.
        onset: Where the switch begins, units of the last distance.
    """

    r: Any = knots("distances of the rows", unit={"length": 1}, above=0)
    u: Any = knots("energies of the rows", unit={"energy": 1})
    onset: float = setting("where the switch begins, units of the last distance", default=0.8, above=0, at_most=1)

    def __check_init__(self) -> None:
        if self.r.values.shape != self.u.values.shape or self.r.values.shape[-1] < 4:
            raise ValueError(
                f"a table has {self.r.values.shape[-1]} distances and {self.u.values.shape[-1]} energies; it must have "
                "as many of both, at least 4."
            )
        if is_concrete(self.r) and not (np.diff(np.asarray(self.r.values)) > 0).all():
            k = int(np.argmin(np.diff(np.asarray(self.r.values)) > 0)) + 1
            raise ValueError(f"the distances of a table must increase; number {k}, {self.r.values[k]}, does not.")

    @property
    def stiffness(self) -> Any:
        """Length of the table over its narrowest step, squared: particles move less than that in a step."""
        return (largest(self.r) / jax.lax.stop_gradient(jnp.min(jnp.diff(self.r.values)))) ** 2

    @property
    def cutoff(self) -> float:
        """One: where the law ends in units of the last distance."""
        return 1.0

    @property
    def pair_length(self) -> Array:
        """The last distance, units of length."""
        return self.r.values[-1]

    @property
    def inner(self) -> Array:
        """The first distance, units of length."""
        return self.r.values[0]

    def whole(self, distance: Array) -> Array:
        """Return the spline, units of energy."""
        r, u, bent = self.r.values, self.u.values, curvatures(self.r.values, self.u.values)
        inside = jnp.clip(distance, r[0], r[-1])
        k = jnp.clip(jnp.searchsorted(r, inside, side="right") - 1, 0, len(r) - 2)
        value = between(inside - r[k], r[k + 1] - inside, (u[k], u[k + 1]), (bent[k], bent[k + 1]))
        h = r[1] - r[0]
        slope = (u[1] - u[0]) / h - h * (2.0 * bent[0] + bent[1]) / 6.0
        return value + slope * jnp.minimum(distance - r[0], 0.0)


Law = Table
Options, build = section_of(Table, read=read_rows)
