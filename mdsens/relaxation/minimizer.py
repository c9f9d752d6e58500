"""What a minimiser is: a rule that takes one step downhill, the same for all inside one compiled loop."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from mdsens.given import is_number, shown
from mdsens.types import Position, Scalar

_COLUMNS = 64


class Surface(NamedTuple):
    """The energy surface as a minimiser sees it, energies in units of the potential's.

    Attributes:
        evaluate: Energy and forces at a position, for the pairs listed now.
        softness: Inverse of the unit of mass: turns a force into a displacement.
        lightness: Inverse of the masses in that unit, shape (n, 1); one where all particles are alike. A rule works
            in coordinates x / sqrt(lightness), in which the surface is about equally stiff everywhere.
        longest: Most that a particle may move in a step, units of length, one number or one per particle, shape (n, 1):
            cores that overlap at a random start push without bound.
        length: The unit of length.
    """

    evaluate: Callable[[Position], tuple[Scalar, Position]]
    softness: Scalar | float
    lightness: Float[Array, "n 1"] | float
    longest: Float[Array, "n 1"] | Scalar | float
    length: Scalar | float

    def most(self, direction: Position) -> Scalar:
        """Return how much of a direction may be taken before a particle moves too far."""
        if jnp.ndim(self.longest) == 0:
            return self.longest / jnp.maximum(largest_norm(direction), 1e-300)
        return 1.0 / jnp.maximum(largest_norm(direction / self.longest), 1e-300)


class Point(eqx.Module):
    """Where a minimiser stands.

    Attributes:
        position: Real coordinates, shape (n, d).
        force: Forces there, same shape.
        energy: Energy there.
        memory: What the minimiser keeps for its next step.
    """

    position: Position
    force: Position
    energy: Scalar
    memory: Any


def refuse_outside(rule: Minimizer, name: str, *, low: int | float, whole: bool = False) -> None:
    """Refuse a setting of a rule that is no finite number from ``low`` on, and no whole one where it must be.

    Raises:
        ValueError: With the value and the range.
    """
    value = getattr(rule, name)
    if is_number(value) and math.isfinite(value) and value >= low and not (whole and value != int(value)):
        return
    kind = "a whole number" if whole else "a finite number"
    raise ValueError(f"{type(rule).__name__}({name}=...) is {shown(value)}; it must be {kind} of at least {low:g}.")


class Minimizer(eqx.Module):
    """A rule for the next point.

    Attributes:
        words: Its name in figures and summaries.
    """

    words: eqx.AbstractClassVar[str]

    @abstractmethod
    def start(self, surface: Surface, position: Position) -> Point:
        """Return the first point."""

    @abstractmethod
    def step(self, surface: Surface, point: Point) -> Point:
        """Return the next point."""

    def momentum(self, point: Point) -> Scalar:
        """Return the largest momentum where the rule has inertia, in units in which frequencies are one."""
        return jnp.zeros(())


def largest_norm(field: Position) -> Scalar:
    """Return the largest Euclidean norm of a particle's vector."""
    return jnp.sqrt(jnp.max(jnp.sum(field**2, axis=-1)))


def inner(a: Position, b: Position) -> Scalar:
    """Return the inner product of two fields; by columns, which a CPU adds as vectors, seven times faster."""
    products = (a * b).ravel()
    whole = products.size // _COLUMNS * _COLUMNS
    return jnp.sum(jnp.sum(products[:whole].reshape(-1, _COLUMNS), axis=0)) + jnp.sum(products[whole:])


def shortened(step: Position, longest: Float[Array, "n 1"] | Scalar | float) -> Position:
    """Return the step with no particle's move above ``longest``; shorter moves stay what they are, to the last bit."""
    square = jnp.sum(step**2, axis=-1, keepdims=True)
    long = square > longest**2  # the root is not taken elsewhere, where its slope may be infinite
    return jnp.where(long, step * (longest / jnp.sqrt(jnp.where(long, square, 1.0))), step)


class Trial(NamedTuple):
    """An evaluated step: how much of the direction was taken, and the point it leads to."""

    fraction: Scalar
    position: Position
    energy: Scalar
    force: Position


_ROUNDING = 1e-13  # relative rounding error of an energy
_SHRINKS = 8


def lowered(surface: Surface, point: Point, direction: Position, fraction: Scalar | float) -> Trial:
    """Shorten a step until the energy does not rise, to a quarter at a time; after eight attempts stay where we are."""

    def at(fraction: Scalar) -> Trial:
        position = point.position + fraction * direction
        return Trial(fraction, position, *surface.evaluate(position))

    ceiling = point.energy + _ROUNDING * jnp.abs(point.energy)

    def rises(carry: tuple[Trial, Array]) -> Array:
        return ~(carry[0].energy <= ceiling) & (carry[1] < _SHRINKS)

    trial, _ = jax.lax.while_loop(
        rises, lambda carry: (at(0.25 * carry[0].fraction), carry[1] + 1), (at(jnp.asarray(fraction)), jnp.array(0))
    )
    stay = Trial(jnp.zeros_like(trial.fraction), point.position, point.energy, point.force)
    return jax.tree.map(lambda a, b: jnp.where(trial.energy <= ceiling, a, b), trial, stay)
