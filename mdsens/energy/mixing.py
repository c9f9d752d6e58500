"""Rules of mixing: how the values of two species or two particles make that of a pair."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from mdsens.given import is_concrete, shown

Mixing = Callable[[Array, Array], Array]
_TIE = 1e-6  # relative change by which both sides of a tie are compared


def arithmetic_mean(a: Array, b: Array) -> Array:
    """Return (a + b)/2: additive diameters."""
    return 0.5 * (a + b)


def geometric_mean(a: Array, b: Array) -> Array:
    """Return sqrt(a b): Berthelot's rule for energies; a, b > 0."""
    return jnp.sqrt(a * b)


def harmonic_mean(a: Array, b: Array) -> Array:
    """Return 2 a b/(a + b): inverse lengths are averaged; a, b > 0."""
    return 2.0 * a * b / (a + b)


@dataclasses.dataclass(frozen=True)
class NonAdditive:
    """The rule (a + b)/2 (1 - strength |a - b|): unlike particles come closer than their mean says.

    Attributes:
        strength: In units of 1/a, >= 0; it is no parameter, so that scale identities do not hold.
    """

    strength: float
    scales: ClassVar[bool] = False

    def __call__(self, a: Array, b: Array) -> Array:
        """Return the value of a pair."""
        return 0.5 * (a + b) * (1.0 - self.strength * jnp.abs(a - b))


_SMOOTH = (arithmetic_mean, geometric_mean, harmonic_mean)
_NON_ADDITIVE = re.compile(r"NonAdditive\(strength=(\S+)\)")


def rule_named(text: str) -> Mixing | None:
    """Return a rule of ours by its name as results files have it; None where there is none."""
    found = _NON_ADDITIVE.fullmatch(text)
    if found:
        return NonAdditive(float(found[1]))
    return {rule.__name__: rule for rule in _SMOOTH}.get(text)


def checked_rule(mixing: Mixing) -> Mixing:
    """Return a rule.

    Raises:
        ValueError: When it is no function.
    """
    if not callable(mixing):
        raise ValueError(
            f"the mixing rule is {shown(mixing)}; it must be a function of two values: "
            "mdsens.energy.mixing.arithmetic_mean, geometric_mean or one of yours."
        )
    return mixing


def refuse_asymmetric(mixing: Mixing, values: Float[Array, " k"]) -> None:
    """Refuse a rule that depends on the order of its two values.

    Raises:
        ValueError: When it does: a pair has no order.
    """
    if mixing in _SMOOTH or not is_concrete(values) or values.ndim != 1:
        return
    turned = values[::-1]
    there, back = np.asarray(mixing(values, turned)), np.asarray(mixing(turned, values))
    if not np.allclose(there, back, rtol=1e-12, atol=0, equal_nan=True):
        raise ValueError(
            f"the mixing rule {getattr(mixing, '__name__', mixing)!r} gives {there[0]} for ({values[0]}, {turned[0]}) "
            f"and {back[0]} in the other order; a rule of mixing must be symmetric."
        )


def has_kink(mixing: Mixing, values: Float[Array | np.ndarray, " k"]) -> bool:
    """Return whether a rule has a kink at two equal ones of these values, as the larger of two has."""
    if mixing in _SMOOTH:
        return False
    found, count = np.unique(np.asarray(values), return_counts=True)
    tied = jnp.asarray(found[count > 1])
    middle, up, down = (np.asarray(mixing(tied * (1 + h), tied)) for h in (0.0, _TIE, -_TIE))
    return bool(np.any(np.abs(up + down - 2 * middle) > 0.1 * _TIE * np.abs(middle)))


def mixture_stencil(
    mixing: Mixing, values: Float[Array, " k"], first: Int[Array, " m"], second: Int[Array, " m"]
) -> tuple[Int[Array, "2 m"], Float[Array, "2 m"]]:
    """Return the two entries that make every pair's value and the derivatives of the rule in them, shape (2, m)."""
    slopes = jax.grad(lambda a, b: jnp.sum(mixing(a, b)), argnums=(0, 1))(values[first], values[second])
    return jnp.stack([first, second]), jnp.stack(slopes)
