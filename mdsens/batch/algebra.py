r"""The linear response of one member in compiled code: factor, null space, certified solves.

As ``mdsens.response`` does for one system: a factor of the backbone Hessian plus a shift, projection of all zero modes
from both sides, iterative refinement until the residual stops falling.
"""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from mdsens.batch.lapack import cholesky_factor, cholesky_solve
from mdsens.linear import SHIFT, ZERO
from mdsens.types import Box, PeriodicBox, Scalar

_BLOCK = 8  # vectors of the subspace iteration: as many floppy modes are recognised at most
_ITERATIONS = 4
_MOST_REFINEMENTS = 5
_ROUNDING = 1e-14  # relative residual at which refinement has nothing left to gain
_RANK_TOLERANCE = 1e-8


class Response(eqx.Module):
    """The factored Hessian of one member, component a of particle i being unknown number a n + i.

    Attributes:
        matrix: Backbone Hessian, rattlers with its norm on the diagonal, shape (m, m).
        lower: Cholesky factor of matrix plus shift.
        modes: Zero modes as rows, orthonormal or zero, shape (k, m).
        floppy: Those that no symmetry explains, shape (f, m).
        held: 1 for unknowns of the backbone, shape (m,).
        norm: Largest row sum of the Hessian.
        smallest: Smallest non-zero eigenvalue.
        n_rotations: Rotations projected out.
        n_floppy: Further zero modes projected out.
    """

    matrix: Float[Array, "m m"]
    lower: Float[Array, "m m"]
    modes: Float[Array, "k m"]
    floppy: Float[Array, "f m"]
    held: Float[Array, " m"]
    norm: Scalar
    smallest: Scalar
    n_rotations: Int[Array, ""]
    n_floppy: Int[Array, ""]

    def project(self, columns: Float[Array, "m c"]) -> Float[Array, "m c"]:
        """Return columns without rattlers and zero modes."""
        return _projected(self.modes, self.held, columns)

    def load(self, columns: Float[Array, "m c"]) -> Float[Array, " c"]:
        """Return the norm of the part of columns along floppy modes."""
        return jnp.linalg.norm(self.floppy @ columns, axis=0)

    def shifted_inverse(self, columns: Float[Array, "m c"]) -> Float[Array, "m c"]:
        """Return the projected inverse of matrix plus shift times columns."""
        return self.project(cholesky_solve(self.lower, columns))

    def solve(self, rhs: Float[Array, "m c"]) -> tuple[Float[Array, "m c"], Float[Array, " c"]]:
        """Return the pseudo-inverse times columns, and the relative residuals."""
        wanted = self.project(rhs)
        norm = jnp.linalg.norm(wanted, axis=0)

        def unfinished(carry: tuple[Array, Array, Array, Array, Array]) -> Array:
            _, _, size, k, better = carry
            return better & (k < _MOST_REFINEMENTS) & jnp.any(size > _ROUNDING * norm)

        def step(carry: tuple[Array, Array, Array, Array, Array]) -> tuple[Array, Array, Array, Array, Array]:
            solution, residual, size, k, _ = carry
            candidate = solution + self.shifted_inverse(residual)
            left = self.project(wanted - self.matrix @ candidate)
            left_size = jnp.linalg.norm(left, axis=0)
            better = left_size < size
            kept = (jnp.where(better, candidate, solution), jnp.where(better, left, residual))
            return *kept, jnp.minimum(size, left_size), k + 1, jnp.any(better)

        begin = (jnp.zeros_like(wanted), wanted, norm, jnp.zeros((), int), jnp.array(True))
        solution, _, size, _, _ = jax.lax.while_loop(unfinished, step, begin)
        size = jnp.where(jnp.isfinite(jnp.sum(solution, axis=0)), size, jnp.nan)
        return solution, size / jnp.where(norm > 0, norm, 1.0)


def respond(
    matrix: Float[Array, "m m"], norm: Scalar, position: Float[Array, "d n"], backbone: Array, box: Box
) -> Response:
    """Factor the Hessian of one member and find its zero modes.

    Args:
        matrix: Backbone Hessian with the norm on the diagonal of rattlers, shape (m, m).
        norm: Its norm.
        position: Positions, shape (d, n).
        backbone: True for backbone particles, shape (n,).
        box: The space, which decides about rotations.
    """
    d = position.shape[0]
    held = jnp.tile(backbone, d).astype(float)
    lower = cholesky_factor(matrix + SHIFT * norm * jnp.eye(len(matrix)))
    known, n_rotations = _rigid_motions(position, backbone, box)
    values, vectors = _smallest(matrix, lower, known, held)
    floppy = jnp.abs(values) < ZERO * norm
    beyond = jnp.where(floppy[:, None], vectors.T, 0.0)
    modes = jnp.concatenate([known, beyond])
    smallest = jnp.min(jnp.where(floppy, jnp.inf, jnp.abs(values)))
    return Response(matrix, lower, modes, beyond, held, norm, smallest, n_rotations, jnp.sum(floppy))


def _projected(modes: Array, held: Array, columns: Array) -> Array:
    columns = held[:, None] * columns
    return columns - modes.T @ (modes @ columns)


def _rigid_motions(
    position: Float[Array, "d n"], backbone: Bool[Array, " n"], box: Box
) -> tuple[Float[Array, "k m"], Int[Array, ""]]:
    """Return orthonormal translations, and rotations of a free cluster; those that vanish or repeat are zero rows."""
    d, n = position.shape
    weight = backbone / jnp.sqrt(jnp.maximum(jnp.sum(backbone), 1))
    translations = jnp.kron(jnp.eye(d), weight)
    if isinstance(box, PeriodicBox):
        return translations, jnp.zeros((), int)
    centre = jnp.sum(jnp.where(backbone, position, 0.0), axis=1) / jnp.maximum(jnp.sum(backbone), 1)
    centred = jnp.where(backbone, position - centre[:, None], 0.0)
    rows = []
    for a in range(d):
        for c in range(a + 1, d):
            rows.append(jnp.zeros((d, n)).at[a].set(-centred[c]).at[c].set(centred[a]).ravel())
    scale = jnp.linalg.norm(centred)
    left, singular, _ = jnp.linalg.svd(jnp.stack(rows, axis=1), full_matrices=False)
    kept = singular > _RANK_TOLERANCE * scale
    return jnp.concatenate([translations, jnp.where(kept[:, None], left.T, 0.0)]), jnp.sum(kept)


def _smallest(matrix: Array, lower: Array, known: Array, held: Array) -> tuple[Float[Array, " p"], Float[Array, "m p"]]:
    """Return the smallest eigenvalues on the complement of the known modes, by inverse subspace iteration."""
    start = jax.random.normal(jax.random.key(0), (len(matrix), min(_BLOCK, len(matrix))))
    block = jnp.linalg.qr(_projected(known, held, start))[0]
    for _ in range(_ITERATIONS):
        block = jnp.linalg.qr(_projected(known, held, cholesky_solve(lower, block)))[0]
    block = _projected(known, held, block)
    values, rotation = jnp.linalg.eigh(block.T @ matrix @ block)
    return values, block @ rotation
