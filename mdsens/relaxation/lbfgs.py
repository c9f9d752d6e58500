"""Limited-memory BFGS with all its inner products in one small matrix."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from mdsens.relaxation.minimizer import Minimizer, Point, Surface, lowered, refuse_outside
from mdsens.types import Position, Scalar


class _Memory(NamedTuple):
    steps: Float[Array, "m k"]  # the last m moves, a ring
    changes: Float[Array, "m k"]  # and the changes of the gradient along them
    n_seen: Int[Array, ""]


class LBFGS(Minimizer):
    """L-BFGS with one force per step, a capped step, and backtracking where the energy would rise.

    The two-loop recursion works on the (2m + 1) x (2m + 1) matrix of inner products of moves, gradient changes and the
    gradient, so that every vector is read twice per step whatever the memory, in coordinates divided by the root of the
    inverse masses.

    Attributes:
        memory: Number of moves remembered m, >= 1.

    References:
        D. C. Liu, J. Nocedal, Math. Program. 45, 503 (1989), doi:10.1007/BF01589116; W. Chen, Z. Wang, J. Zhou,
        Large-scale L-BFGS using MapReduce, NeurIPS 2014 (the recursion on inner products).
    """

    words: ClassVar[str] = "L-BFGS"
    memory: int = eqx.field(static=True, default=6)

    def __check_init__(self) -> None:
        refuse_outside(self, "memory", low=1, whole=True)

    def start(self, surface: Surface, position: Position) -> Point:
        """Return the position with an empty memory."""
        energy, force = surface.evaluate(position)
        blank = jnp.zeros((self.memory, position.size))
        return Point(position, force, energy, _Memory(blank, blank, jnp.array(0)))

    def step(self, surface: Surface, point: Point) -> Point:
        """Return the point after one quasi-Newton step."""
        shape = point.force.shape
        root = jnp.broadcast_to(jnp.sqrt(jnp.asarray(surface.lightness)), shape).ravel()
        direction = self._direction(point.memory, point.force.ravel(), root, surface.softness).reshape(shape)
        descends = jnp.vdot(direction, point.force) > 0
        direction = jnp.where(descends, direction, 0.5 * surface.softness * surface.lightness * point.force)
        taken = lowered(surface, point, direction, jnp.minimum(1.0, surface.most(direction)))
        memory = self._remember(surface, point, taken.position, taken.force)
        return Point(taken.position, taken.force, taken.energy, memory)

    def _remember(self, surface: Surface, point: Point, position: Position, force: Position) -> _Memory:
        memory = point.memory
        step, change = (position - point.position).ravel(), (point.force - force).ravel()
        product = jnp.vdot(step, change)
        convex = product > 1e-12 * surface.softness * jnp.vdot(change, change)
        slot = memory.n_seen % self.memory
        kept = (jnp.where(convex, new, ring[slot]) for new, ring in ((step, memory.steps), (change, memory.changes)))
        steps, changes = (ring.at[slot].set(row) for ring, row in zip(memory[:2], kept, strict=True))
        stuck = jnp.vdot(step, step) == 0.0  # nothing lowered the energy: forget the directions that led here
        return _Memory(steps, changes, jnp.where(stuck, 0, memory.n_seen + convex))

    def _direction(
        self, memory: _Memory, force: Float[Array, " k"], root: Float[Array, " k"], softness: Scalar | float
    ) -> Float[Array, " k"]:
        m = self.memory
        basis = jnp.concatenate([memory.steps / root, memory.changes * root, -(force * root)[None]])
        products = basis @ basis.T
        used = jnp.minimum(memory.n_seen, m)
        weights = jnp.zeros(2 * m + 1).at[-1].set(1.0)  # of the basis vectors in the vector worked on
        alphas = []
        rows = [(memory.n_seen - 1 - k) % m for k in range(m)]  # newest first
        for k, row in enumerate(rows):
            curvature = products[row, m + row]
            alpha = jnp.where(k < used, products[row] @ weights / jnp.where(k < used, curvature, 1.0), 0.0)
            weights = weights.at[m + row].add(-alpha)
            alphas.append(alpha)
        newest = rows[0]
        size = products[m + newest, m + newest]
        scale = jnp.where(used > 0, products[newest, m + newest] / jnp.where(used > 0, size, 1.0), 0.5 * softness)
        weights = weights * scale
        for k, (row, alpha) in reversed(list(enumerate(zip(rows, alphas, strict=True)))):
            beta = jnp.where(
                k < used, products[m + row] @ weights / jnp.where(k < used, products[row, m + row], 1.0), 0.0
            )
            weights = weights.at[row].add(alpha - beta)
        return -root * (weights @ basis)
