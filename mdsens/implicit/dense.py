"""Dense direct solvers: the materialised matrix is factored once and serves every right-hand side, in one block."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from mdsens.implicit.linear import LinearSolution, LinearSolver, check_steps, check_tolerance
from mdsens.implicit.operator import Matvec, Point, ProjectedOperator


class LUFactor(eqx.Module):
    """The factors of R A C, with diagonal R and C that make the largest entry of every row and column about one.

    Attributes:
        factor: L and U in one array.
        pivots: The row exchanges.
        rows: The diagonal of R.
        columns: The diagonal of C.
    """

    factor: Float[Array, "n n"]
    pivots: Int[Array, " n"]
    rows: Float[Array, " n"]
    columns: Float[Array, " n"]

    def solve(self, b: Float[Array, " n"], *, transposed: bool) -> Float[Array, " n"]:
        """Return A^-1 b = C (R A C)^-1 R b, or A^-T b = R (R A C)^-T C b."""
        before, after = (self.columns, self.rows) if transposed else (self.rows, self.columns)
        factors = (self.factor, self.pivots)
        return after * jax.scipy.linalg.lu_solve(factors, before * b, trans=1 if transposed else 0)


class CholeskyFactor(eqx.Module):
    """The lower factor of C A C, with the diagonal C that makes its diagonal one.

    Attributes:
        factor: L.
        columns: The diagonal of C.
    """

    factor: Float[Array, "n n"]
    columns: Float[Array, " n"]

    def solve(self, b: Float[Array, " n"]) -> Float[Array, " n"]:
        """Return A^-1 b."""
        return self.columns * jax.scipy.linalg.cho_solve((self.factor, True), self.columns * b)


class DenseLU(LinearSolver):
    """LU factorisation with partial pivoting of the materialised matrix: any square A, up to a few thousand unknowns.

    Rows and columns are scaled first, so units do not matter. A pivot below 10 n eps makes every answer NaN: the matrix
    is singular to working precision and lacks a `null_space`.

    Attributes:
        tolerance: Largest accepted relative residual, in (0, 1).
        refinement_steps: Steps y <- y + A^-1 (b - A y) after the solve, 0 or more.
        symmetric: Always False: nothing is assumed.
    """

    tolerance: float = 1e-6
    refinement_steps: int = 1
    symmetric: bool = eqx.field(default=False, init=False)

    def __check_init__(self) -> None:
        check_tolerance(self.tolerance)
        check_steps(self.refinement_steps)

    def prepare(self, operator: ProjectedOperator, point: Point) -> LUFactor:
        """Return the factors of A, NaN if A is singular to working precision."""
        matrix = materialise(operator)
        rows = _reciprocal(jnp.max(jnp.abs(matrix), axis=1))
        columns = _reciprocal(jnp.max(rows[:, None] * jnp.abs(matrix), axis=0))
        factor, pivots = jax.scipy.linalg.lu_factor(rows[:, None] * matrix * columns[None, :])
        regular = _pivots_are_regular(jnp.abs(jnp.diag(factor)))
        return LUFactor(jnp.where(regular, factor, jnp.nan), pivots, rows, columns)

    def solve(
        self,
        state: LUFactor,
        operator: ProjectedOperator,
        right_hand_side: Float[Array, " n"],
        *,
        transposed: bool,
    ) -> LinearSolution:
        """Solve with the factors of A (for A^T as well), then refine."""
        apply_inverse = functools.partial(state.solve, transposed=transposed)
        return _solve_and_refine(apply_inverse, operator, right_hand_side, self.refinement_steps)


class DenseCholesky(LinearSolver):
    """Cholesky factorisation of the materialised matrix: A symmetric positive definite (outside its null space).

    The choice for a minimum of an energy with F = +gradient: half the work of LU. A saddle, a maximum, the wrong sign
    of F, or a matrix that is singular to working precision (a pivot below 10 n eps once its diagonal is one) gives NaN.

    Attributes:
        tolerance: Largest accepted relative residual, in (0, 1).
        refinement_steps: Steps y <- y + A^-1 (b - A y) after the solve, 0 or more.
        symmetric: Always True.
    """

    tolerance: float = 1e-6
    refinement_steps: int = 1
    symmetric: bool = eqx.field(default=True, init=False)

    def __check_init__(self) -> None:
        check_tolerance(self.tolerance)
        check_steps(self.refinement_steps)

    def prepare(self, operator: ProjectedOperator, point: Point) -> CholeskyFactor:
        """Return the factor of A, NaN if A is not positive definite."""
        matrix = materialise(operator)
        columns = jnp.sqrt(_reciprocal(jnp.diag(matrix)))
        factor = jnp.linalg.cholesky(columns[:, None] * matrix * columns[None, :])
        regular = _pivots_are_regular(jnp.diag(factor) ** 2)
        return CholeskyFactor(jnp.where(regular, factor, jnp.nan), columns)

    def solve(
        self,
        state: CholeskyFactor,
        operator: ProjectedOperator,
        right_hand_side: Float[Array, " n"],
        *,
        transposed: bool,
    ) -> LinearSolution:
        """Solve with the factor of A, then refine."""
        del transposed
        return _solve_and_refine(state.solve, operator, right_hand_side, self.refinement_steps)


def materialise(operator: ProjectedOperator) -> Float[Array, "n n"]:
    """Return the matrix of a linear map by applying it to the columns of the identity."""
    return jax.vmap(operator, in_axes=1, out_axes=1)(jnp.eye(operator.size))


def _solve_and_refine(
    apply_inverse: Matvec, matvec: Matvec, right_hand_side: Float[Array, " n"], n_steps: int
) -> LinearSolution:
    value = apply_inverse(right_hand_side)
    for _ in range(n_steps):
        value = value + apply_inverse(right_hand_side - matvec(value))
    return LinearSolution(value, jnp.asarray(n_steps))


def _reciprocal(scale: Float[Array, " n"]) -> Float[Array, " n"]:
    return 1.0 / jnp.where(scale == 0.0, 1.0, scale)


def _pivots_are_regular(pivots: Float[Array, " n"]) -> Bool[Array, ""]:
    """Whether every pivot of a matrix with entries of order one stands out of its rounding error."""
    return jnp.all(pivots > 10 * pivots.size * jnp.finfo(pivots.dtype).eps)
