"""Nonlinear conjugate gradients: one force per step where the line search guesses well, two elsewhere."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp

from mdsens.relaxation.minimizer import Minimizer, Point, Surface, Trial, inner, lowered, refuse_outside
from mdsens.types import Position, Scalar


class _Memory(NamedTuple):
    direction: Position
    fraction: Scalar


class ConjugateGradient(Minimizer):
    """Polak and Ribiere's conjugate gradients, restarted where the direction does not descend.

    The line search takes the last step's length as a trial, fits a parabola to the slopes at both ends, and evaluates
    its minimum only where that differs from the trial by more than ``slack``. The energy never rises. The
    inverse masses are the preconditioner.

    Attributes:
        slack: Relative difference of trial and minimum below which the trial is taken, >= 0.

    References:
        J. Nocedal, S. J. Wright, Numerical Optimization, 2nd ed., Springer 2006, equation (5.45).
    """

    words: ClassVar[str] = "conjugate-gradient"
    slack: float = eqx.field(static=True, default=0.1)

    def __check_init__(self) -> None:
        refuse_outside(self, "slack", low=0)

    def start(self, surface: Surface, position: Position) -> Point:
        """Return the position with the force as first direction."""
        energy, force = surface.evaluate(position)
        memory = _Memory(surface.lightness * force, jnp.asarray(0.5 * surface.softness))
        return Point(position, force, energy, memory)

    def step(self, surface: Surface, point: Point) -> Point:
        """Return the point after one line search."""
        force, memory = point.force, point.memory
        descends = inner(force, memory.direction) > 0
        direction = jnp.where(descends, memory.direction, surface.lightness * force)
        guess = jnp.where(descends, memory.fraction, 0.5 * surface.softness)
        slope = inner(force, direction)
        most = surface.most(direction)
        fraction = jnp.minimum(guess, most)
        position = point.position + fraction * direction
        trial = Trial(fraction, position, *surface.evaluate(position))
        curvature = slope - inner(trial.force, direction)
        best = jnp.where(curvature > 0, fraction * slope / jnp.where(curvature > 0, curvature, 1.0), 2.0 * fraction)
        best = jnp.clip(best, 0.1 * fraction, most)
        good = (jnp.abs(best - fraction) <= self.slack * fraction) & (trial.energy <= point.energy)
        taken = jax.lax.cond(good, lambda: trial, lambda: lowered(surface, point, direction, best))
        steepest = surface.lightness * taken.force
        size = jnp.maximum(inner(surface.lightness * force, force), 1e-300)
        weight = inner(steepest, taken.force - force) / size
        moved = taken.fraction > 0
        following = jnp.where(moved, steepest + jnp.maximum(weight, 0.0) * direction, surface.lightness * force)
        return Point(
            taken.position,
            taken.force,
            taken.energy,
            _Memory(following, jnp.where(moved, taken.fraction, 0.1 * fraction)),
        )
