"""Truncated Newton: conjugate gradients on Hessian products, stopped early and at negative curvature."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array

from mdsens.relaxation.minimizer import Minimizer, Point, Surface, inner, largest_norm, lowered, refuse_outside
from mdsens.types import Position, Scalar


class _Inner(NamedTuple):
    solution: Position
    residual: Position
    direction: Position
    square: Scalar
    n: Array
    curved: Array  # whether the last direction has positive curvature


class TruncatedNewton(Minimizer):
    r"""Newton's method with inexact, matrix-free solves; one step counts as one however many products it takes.

    The inner conjugate gradients stop at a residual of :math:`\min(1/2, \sqrt{|F|/F_0}) |F|` with the unit of force
    :math:`F_0`, at a direction of negative curvature, or after ``max_products``, in coordinates divided by the root of
    the inverse masses. The energy never rises.

    Attributes:
        max_products: Most Hessian products per step, >= 1.

    References:
        R. S. Dembo, T. Steihaug, Math. Program. 26, 190 (1983), doi:10.1007/BF02592055.
    """

    words: ClassVar[str] = "truncated-Newton"
    max_products: int = eqx.field(static=True, default=60)

    def __check_init__(self) -> None:
        refuse_outside(self, "max_products", low=1, whole=True)

    def start(self, surface: Surface, position: Position) -> Point:
        """Return the position."""
        energy, force = surface.evaluate(position)
        return Point(position, force, energy, None)

    def step(self, surface: Surface, point: Point) -> Point:
        """Return the point after one inexact Newton step."""
        direction = self._direction(surface, point)
        taken = lowered(surface, point, direction, jnp.minimum(1.0, surface.most(direction)))
        return Point(taken.position, taken.force, taken.energy, None)

    def _direction(self, surface: Surface, point: Point) -> Position:
        _, derivative = jax.linearize(lambda x: surface.evaluate(x)[1], point.position)
        root = jnp.sqrt(jnp.asarray(surface.lightness))
        force = root * point.force
        size = jnp.sqrt(inner(force, force))
        relative = jnp.sqrt(largest_norm(surface.lightness * point.force * surface.softness / surface.longest))
        goal = (jnp.minimum(0.5, relative) * size) ** 2

        def unfinished(cg: _Inner) -> Array:
            return cg.curved & (cg.square > goal) & (cg.n < self.max_products)

        def iterate(cg: _Inner) -> _Inner:
            product = -root * derivative(root * cg.direction)
            curvature = inner(cg.direction, product)
            curved = curvature > 0
            alpha = jnp.where(curved, cg.square / jnp.where(curved, curvature, 1.0), 0.0)
            solution, residual = cg.solution + alpha * cg.direction, cg.residual - alpha * product
            square = inner(residual, residual)
            direction = residual + square / cg.square * cg.direction
            return _Inner(solution, residual, direction, square, cg.n + 1, curved)

        first = _Inner(jnp.zeros_like(force), force, force, size**2, jnp.array(0), jnp.array(True))
        solution = jax.lax.while_loop(unfinished, iterate, first).solution
        return root * jnp.where(jnp.any(solution != 0.0), solution, 0.5 * surface.softness * force)
