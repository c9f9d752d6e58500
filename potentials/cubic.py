r"""Cubic splines with differentiable knots: curvatures at the knots, and the value between them.

.. math:: u(r) = \frac{(b u_0 + a u_1)}{h} + \frac{a b}{6 h}\left[-(h + b) M_0 - (h + a) M_1\right], \qquad
          a = r - r_0,\ b = r_1 - r

between knots :math:`r_0, r_1 = r_0 + h` with values u and curvatures M = u''.
Source: C. de Boor, A Practical Guide to Splines, Springer (2001), chapter IV.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


@functools.lru_cache(maxsize=16)
def ending_curvatures(n: int) -> np.ndarray:
    r"""Return h^2 u'' at n + 2 equally spaced knots and the value at the last but one, by the values at the first n.

    The spline is straight before its first knot, and value, slope and curvature are zero at its last: the last piece is
    a cube, :math:`u = M (r_e - r)^3/6h`, from which the value at the last knot but one follows.

    Returns:
        Shape (n + 3, n): curvatures at all knots, and the value.
    """
    tridiagonal = 4.0 * np.eye(n) + np.eye(n, k=1) + np.eye(n, k=-1)  # rows of knots 1 to n
    tridiagonal[n - 1, n - 1] = 6.0
    if n > 1:
        tridiagonal[n - 2, n - 1] = 0.0
    jumps = -12.0 * np.eye(n, k=1) + 6.0 * (np.eye(n) + np.eye(n, k=2))  # knot k lies in column k, from 0
    inner = np.linalg.solve(tridiagonal, jumps)
    return np.concatenate([np.zeros((1, n)), inner, np.zeros((1, n)), inner[-1:] / 6.0])


def curvatures(r: Float[Array, " k"], u: Float[Array, " k"]) -> Float[Array, " k"]:
    """Return u'' at the knots of the spline through them whose first two and last two pieces are one cubic each."""
    h = jnp.diff(r)
    jump = 6.0 * jnp.diff(jnp.diff(u) / h)
    lower, upper = h[:-1], h[1:]
    middle = 2.0 * (lower + upper)
    first, last = lower[0] / upper[0], upper[-1] / lower[-1]
    middle = middle.at[0].add(lower[0] * (1.0 + first)).at[-1].add(upper[-1] * (1.0 + last))
    above = upper.at[0].add(-lower[0] * first).at[-1].set(0.0)
    below = lower.at[-1].add(-upper[-1] * last).at[0].set(0.0)
    inner = _tridiagonal(below, middle, above, jump)
    start = inner[0] * (1.0 + first) - inner[1] * first
    end = inner[-1] * (1.0 + last) - inner[-2] * last
    return jnp.concatenate([start[None], inner, end[None]])


def _tridiagonal(below: Array, middle: Array, above: Array, right: Array) -> Array:
    """Solve a tridiagonal system; differentiable in all of it, to any order."""

    def product(x: Array) -> Array:
        zero = jnp.zeros(1)
        return middle * x + above * jnp.concatenate([x[1:], zero]) + below * jnp.concatenate([zero, x[:-1]])

    def solve(_: object, b: Array) -> Array:
        return jax.lax.linalg.tridiagonal_solve(below, middle, above, b[:, None])[:, 0]

    def solve_transposed(_: object, b: Array) -> Array:
        lower, upper = jnp.roll(above, 1).at[0].set(0.0), jnp.roll(below, -1).at[-1].set(0.0)
        return jax.lax.linalg.tridiagonal_solve(lower, middle, upper, b[:, None])[:, 0]

    return jax.lax.custom_linear_solve(product, right, solve, solve_transposed)


def between(a: Array, b: Array, u: tuple[Array, Array], curvature: tuple[Array, Array]) -> Array:
    """Return the value of a spline at distances a from the knot before and b from the knot behind."""
    h = a + b
    bent = a * b * ((h + b) * curvature[0] + (h + a) * curvature[1]) / (6.0 * h)
    return (b * u[0] + a * u[1]) / h - bent
