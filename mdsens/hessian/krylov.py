r"""A sparse Hessian too large to factor: conjugate gradients on its blocks, scaled by the blocks of the diagonal.

With :math:`D` the block diagonal of H (one (d, d) block per particle), the solves are those of
:math:`\hat H = |D|^{-1/2} H |D|^{-1/2}`, whose diagonal blocks are one: block-Jacobi preconditioning without a
preconditioner to apply. The blocks of every particle lie in one row of equal length, so that a product is one gather
and one batched product of small matrices, on a CPU or a GPU alike.

Conjugate gradients also tell the sign of the matrix. Where they converge with :math:`p^T H p > 0` for all their
directions p, the right-hand side has no component along an eigenvector of a negative eigenvalue beyond the final
residual: the residual polynomial is one at zero and all its roots are positive, so it is above one at any negative
eigenvalue. With a random right-hand side that is a proof up to the chance of an unlucky draw.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp
from jaxtyping import Array, Bool, Float, Int

from mdsens.errors import NumericalError
from mdsens.implicit import Minres, NullSpace
from mdsens.implicit.operator import Matvec, ProjectedOperator
from mdsens.linear import Factor
from mdsens.linear.base import refuse_nonfinite
from mdsens.linear.pairs import whole

_RTOL = 1e-8  # relative residual of a solve: whoever solves refines, two rounds reach 1e-14
_SIGN_RTOL = 1e-10  # and of the one that tells the sign
_CURVATURE = 1e-12  # of the scaled matrix: below it a negative curvature is rounding
_MOST_STEPS = 50_000
_COLUMNS = 8  # solved at once
_FLOOR = 1e-3  # of the norm: smaller diagonal blocks are not scaled up any further
_MINRES = Minres(rtol=_RTOL)


class BlockRows(NamedTuple):
    """A scaled symmetric block matrix, row by row.

    Attributes:
        neighbour: Which block column every block stands in, shape (n, k); padding repeats the row's own.
        blocks: The blocks of a row side by side, shape (n, d, k d); padding is zero.
        scale: |D|^(-1/2), shape (n, d, d).
        unscale: |D|^(1/2), shape (n, d, d).
    """

    neighbour: Int[Array, "n k"]
    blocks: Float[Array, "n d kd"]
    scale: Float[Array, "n d d"]
    unscale: Float[Array, "n d d"]

    def scaled_product(self, columns: Float[Array, "n d c"]) -> Float[Array, "n d c"]:
        """Return the scaled matrix times columns."""
        n, _, c = columns.shape
        return self.blocks @ columns[self.neighbour].reshape(n, -1, c)


@dataclasses.dataclass(frozen=True)
class BlockKrylov(Factor):
    """Products with a sparse Hessian, and conjugate gradients for its inverse; no shift is needed.

    ``n_negative`` is one when there is any eigenvalue below about -1e-7 of the norm. Where conjugate gradients meet
    one, MINRES answers.

    Attributes:
        rows: The matrix.
    """

    rows: BlockRows

    @property
    def method(self) -> str:
        """How the matrix is solved with, in words."""
        return "block-Jacobi conjugate gradients" if not self.n_negative else "block-Jacobi MINRES"

    def product(self, columns: np.ndarray) -> np.ndarray:
        """Return H times columns."""
        return np.asarray(_product(self.rows, self._blocked(columns))).reshape(columns.shape)

    def solve(self, columns: np.ndarray) -> np.ndarray:
        """Return the inverse times columns without zero modes, to a relative residual of 1e-8 or as far as it gets."""
        parts = [self._solved(columns[:, k : k + _COLUMNS]) for k in range(0, columns.shape[1], _COLUMNS)]
        return np.concatenate(parts, axis=1)

    def _solved(self, columns: np.ndarray) -> np.ndarray:
        right = _scaled(self.rows.scale, self._blocked(columns))
        found = conjugate_gradients(self.rows, right, _RTOL)
        solution = np.array(_scaled(self.rows.scale, found.solution)).reshape(columns.shape)
        for k in np.flatnonzero(np.asarray(found.negative)):
            image = _scaled(self.rows.scale, _minimum_residual(self.rows, right[:, :, k])[:, :, None])
            solution[:, k] = np.asarray(image).ravel()
        return solution

    def _blocked(self, columns: np.ndarray) -> np.ndarray:
        n, d, _ = self.rows.scale.shape
        return columns.reshape(n, d, -1)


def block_krylov(upper: sp.csr_array, dimension: int) -> BlockKrylov:
    """Prepare solves with a symmetric block matrix.

    Args:
        upper: Its upper triangle, every diagonal entry stored, shape (n d, n d).
        dimension: Edge d of a block.

    Raises:
        NumericalError: When the matrix holds a non-finite number, or conjugate gradients find neither a negative
            eigenvalue nor an answer.
    """
    matrix = sp.bsr_array(sp.csr_array(whole(upper)), blocksize=(dimension, dimension))
    norm = float(np.asarray(abs(matrix).sum(axis=0)).max(initial=0.0))
    refuse_nonfinite(norm)
    rows = _block_rows(matrix, norm)
    n, d, _ = rows.scale.shape
    probe = np.random.default_rng(0).standard_normal((n, d, 1))
    found = conjugate_gradients(rows, rows.scaled_product(jnp.asarray(probe)), _SIGN_RTOL)
    negative = bool(found.negative[0])
    if not negative and not found.converged[0]:
        raise NumericalError(
            f"conjugate gradients did not converge in {_MOST_STEPS} steps and found no negative eigenvalue: the state "
            "is marginal. Relax further, or factor the Hessian (linear_solver 'direct')."
        )
    return BlockKrylov(np.arange(n * d), 0.0, norm, int(negative), rows)


def _block_rows(matrix: sp.bsr_array, norm: float) -> BlockRows:
    n, d = matrix.shape[0] // matrix.blocksize[0], matrix.blocksize[0]
    lengths = np.diff(matrix.indptr)
    row, column = np.repeat(np.arange(n), lengths), matrix.indices
    diagonal = np.zeros((n, d, d))  # a sum of matrices has dropped blocks of zeros
    diagonal[row[row == column]] = matrix.data[row == column]
    values, vectors = np.linalg.eigh(diagonal)
    sizes = np.maximum(np.abs(values), _FLOOR * (norm or 1.0))  # a loose particle's block has no inverse
    scale, unscale = (np.einsum("nab,nb,ncb->nac", vectors, sizes**power, vectors) for power in (-0.5, 0.5))
    slot = np.arange(len(column)) - np.repeat(matrix.indptr[:-1], lengths)
    neighbour = np.repeat(np.arange(n, dtype=np.int32)[:, None], lengths.max(initial=1), axis=1)
    neighbour[row, slot] = column
    blocks = np.zeros((n, d, neighbour.shape[1], d))
    blocks[row, :, slot] = scale[row] @ matrix.data @ scale[column]
    return BlockRows(*map(jnp.asarray, (neighbour, blocks.reshape(n, d, -1), scale, unscale)))


class Solution(NamedTuple):
    """What conjugate gradients found, for c right-hand sides.

    Attributes:
        solution: The solutions, shape (n, d, c).
        converged: Whether the residual fell below the tolerance, shape (c,).
        negative: Whether a direction of negative curvature was met, shape (c,); the solution then means nothing.
    """

    solution: Float[Array, "n d c"]
    converged: Bool[Array, " c"]
    negative: Bool[Array, " c"]


class _Iterate(NamedTuple):
    solution: Float[Array, "n d c"]
    residual: Float[Array, "n d c"]
    direction: Float[Array, "n d c"]
    square: Float[Array, " c"]
    negative: Bool[Array, " c"]
    steps: Int[Array, ""]


@functools.partial(jax.jit, static_argnames="rtol")
def conjugate_gradients(rows: BlockRows, right: Float[Array | np.ndarray, "n d c"], rtol: float) -> Solution:
    """Solve with the scaled matrix until the residuals fall below ``rtol`` of the right-hand sides.

    Args:
        rows: The matrix.
        right: Right-hand sides in its range, shape (n, d, c).
        rtol: Tolerance.
    """
    right = jnp.asarray(right)
    inner = lambda a, b: jnp.einsum("ndc,ndc->c", a, b)  # noqa: E731
    goal = rtol**2 * inner(right, right)

    def active(at: _Iterate) -> Bool[Array, " c"]:
        return (at.square > goal) & ~at.negative

    def step(at: _Iterate) -> _Iterate:
        moving, image = active(at), rows.scaled_product(at.direction)
        curvature = inner(at.direction, image)
        negative = moving & (curvature <= -_CURVATURE * inner(at.direction, at.direction))
        going = moving & (curvature > 0)
        fraction = jnp.where(going, at.square / jnp.where(going, curvature, 1.0), 0.0)
        residual = at.residual - fraction * image
        square = jnp.where(going, inner(residual, residual), at.square)
        weight = jnp.where(going, square / jnp.where(at.square > 0, at.square, 1.0), 0.0)
        direction = jnp.where(going, residual + weight * at.direction, at.direction)
        return _Iterate(
            at.solution + fraction * at.direction, residual, direction, square, at.negative | negative, at.steps + 1
        )

    first = _Iterate(
        jnp.zeros_like(right), right, right, inner(right, right), jnp.zeros(right.shape[-1], bool), jnp.zeros((), int)
    )
    last = jax.lax.while_loop(lambda at: jnp.any(active(at)) & (at.steps < _MOST_STEPS), step, first)
    return Solution(last.solution, last.square <= goal, last.negative)


def minimum_residual(product: Matvec, vector: Float[Array, " m"]) -> Float[Array, " m"]:
    """Return a symmetric matrix's inverse times a vector in its range by MINRES, to a relative residual of 1e-8."""
    nothing = NullSpace.empty(vector)
    operator = ProjectedOperator(product, nothing, jnp.ones(()))
    norm = jnp.linalg.norm(vector)
    scaled = vector / jnp.where(norm > 0, norm, 1.0)
    return norm * _MINRES.solve(None, operator, scaled, transposed=False).value


@jax.jit
def _minimum_residual(rows: BlockRows, right: Float[Array, "n d"]) -> Float[Array, "n d"]:
    flat = lambda v: rows.scaled_product(v.reshape(*right.shape, 1)).ravel()  # noqa: E731
    return minimum_residual(flat, right.ravel()).reshape(right.shape)


@jax.jit
def _scaled(blocks: Float[Array, "n d d"], columns: Float[Array | np.ndarray, "n d c"]) -> Float[Array, "n d c"]:
    return blocks @ columns


@jax.jit
def _product(rows: BlockRows, columns: Float[Array | np.ndarray, "n d c"]) -> Float[Array, "n d c"]:
    return rows.unscale @ rows.scaled_product(rows.unscale @ columns)
