r"""The wall of laws whose attraction has a pole: within it they go on with the steepest slope that they have.

An exponential repulsion stays finite where :math:`-C/r^6` does not: such a law has a barrier at a small distance, and a
pole behind it. From outside u' is steepest where u'' is zero first, at :math:`r_w` with

.. math:: \frac{A}{\rho^2} e^{-r_w/\rho} = \frac{42\, C}{r_w^8} + \frac{72\, D}{r_w^{10}}

outside of the barrier. For :math:`r < r_w` the law is continued by :math:`u(r_w) + u'(r_w)(r - r_w)`, which repels at
every distance and leaves two derivatives continuous. That a pair lies within is not passed over: its ``inner`` is
:math:`r_w`, and no derivative is given of a state with such a pair.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array

_STEPS = 8  # of Newton's method from the left on a concave function: digits double from the third on


def wall_distance(height: Array, rho: Array, c: Array, d: Array | float = 0.0) -> Array:
    """Return where u'' of ``height exp(-r/rho) - c/r^6 - d/r^8`` is zero first, held; 0 without a pole.

    Args:
        height: Units of energy.
        rho: Units of length.
        c: Units of energy length^6, >= 0.
        d: Units of energy length^8, >= 0.
    """
    scale = jax.lax.stop_gradient(rho**2 / height)
    rho, six, eight = (jax.lax.stop_gradient(part) for part in (rho, 42.0 * c * scale, 72.0 * d * scale))
    pole = six + eight > 0
    six = jnp.where(pole, six, 1.0)
    r = jnp.maximum(six**0.125, eight**0.1)
    for _ in range(_STEPS):
        over = six * r**2 + eight  # both sides times r^10: r^10 exp(-r/rho) = over
        slope = 10.0 - r / rho - 2.0 * six * r**2 / over
        step = (r / rho - 10.0 * jnp.log(r) + jnp.log(over)) / jnp.maximum(slope, 0.5)
        r = r * jnp.exp(jnp.minimum(step, 1.0))
    return jnp.where(pole, r, 0.0)


def with_wall(law: Callable[[Array], Array], distance: Array, wall: Array) -> Array:
    """Return a law of single distances, within a wall continued by its slope there.

    The wall is held under differentiation: because u'' is zero there, no first derivative depends on where it is.
    """
    outside = jnp.maximum(distance, wall)
    value, slope = jax.jvp(law, (outside,), (jnp.ones_like(outside),))
    return value + jnp.where(distance < wall, slope * (distance - outside), 0.0)
