"""Linear solvers behind one interface: prepare once per Jacobian, solve forward or transposed, never trust blindly."""

import abc
import functools
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
from jaxtyping import Array, Bool, Float, Int, PyTree

_DEFAULT_METHOD = lx.GMRES(rtol=1e-10, atol=1e-10)
Matvec = Callable[[Float[Array, " n"]], Float[Array, " n"]]


class LinearSolution(eqx.Module):
    """What a linear solver hands back, before anybody has checked it.

    Attributes:
        value: The proposed solution of A y = b (or A^T y = b).
        n_steps: Iterations of an iterative method, refinement steps of a direct one.
    """

    value: Float[Array, " n"]
    n_steps: Int[Array, ""]


class LinearSolver(eqx.Module):
    """A method for A y = b with a non-singular A that is known through its product with a vector.

    The caller makes A non-singular (see `mdsens.implicit.system`), scales b to unit norm, and checks the residual of
    the answer against `tolerance`, so a solver may fail by returning NaN or nonsense. It must not raise inside jit.

    To write your own, subclass, give the two attributes and the two methods. `prepare` runs once per Jacobian, outside
    of any vmap over right-hand sides; `solve` runs once per right-hand side. Neither is ever differentiated.

    Attributes:
        tolerance: Largest accepted relative residual |A y - b| / |b|; above it the answer is NaN. In (0, 1).
        symmetric: Whether the solver takes A = A^T for granted (checked by a probe; an A that is not gives NaN).
    """

    tolerance: eqx.AbstractVar[float]
    symmetric: eqx.AbstractVar[bool]

    @abc.abstractmethod
    def prepare(self, matvec: Matvec, size: int) -> PyTree[Any]:
        """Return all that can be computed without a right-hand side: a factor, a preconditioner, or nothing.

        Args:
            matvec: v -> A v.
            size: The number of unknowns n.

        Returns:
            The state passed to every `solve`, any pytree.
        """

    @abc.abstractmethod
    def solve(
        self, state: PyTree[Any], matvec: Matvec, right_hand_side: Float[Array, " n"], *, transposed: bool
    ) -> LinearSolution:
        """Solve A y = b, or A^T y = b.

        Args:
            state: What `prepare` returned for A.
            matvec: v -> A v, or v -> A^T v if `transposed`.
            right_hand_side: b, of norm 1 or 0.
            transposed: Whether the system with A^T is meant. Never true for a solver that is `symmetric`.

        Returns:
            The proposed solution.
        """


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
        _check_tolerance(self.tolerance)
        _check_refinement_steps(self.refinement_steps)

    def prepare(self, matvec: Matvec, size: int) -> LUFactor:
        """Return the factors of A, NaN if A is singular to working precision."""
        matrix = materialise(matvec, size)
        rows = _reciprocal(jnp.max(jnp.abs(matrix), axis=1))
        columns = _reciprocal(jnp.max(rows[:, None] * jnp.abs(matrix), axis=0))
        factor, pivots = jax.scipy.linalg.lu_factor(rows[:, None] * matrix * columns[None, :])
        regular = _pivots_are_regular(jnp.abs(jnp.diag(factor)))
        return LUFactor(jnp.where(regular, factor, jnp.nan), pivots, rows, columns)

    def solve(
        self,
        state: LUFactor,
        matvec: Matvec,
        right_hand_side: Float[Array, " n"],
        *,
        transposed: bool,
    ) -> LinearSolution:
        """Solve with the factors of A (for A^T as well), then refine."""
        apply_inverse = functools.partial(state.solve, transposed=transposed)
        return _solve_and_refine(apply_inverse, matvec, right_hand_side, self.refinement_steps)


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
        _check_tolerance(self.tolerance)
        _check_refinement_steps(self.refinement_steps)

    def prepare(self, matvec: Matvec, size: int) -> CholeskyFactor:
        """Return the factor of A, NaN if A is not positive definite."""
        matrix = materialise(matvec, size)
        columns = jnp.sqrt(_reciprocal(jnp.diag(matrix)))
        factor = jnp.linalg.cholesky(columns[:, None] * matrix * columns[None, :])
        regular = _pivots_are_regular(jnp.diag(factor) ** 2)
        return CholeskyFactor(jnp.where(regular, factor, jnp.nan), columns)

    def solve(
        self, state: CholeskyFactor, matvec: Matvec, right_hand_side: Float[Array, " n"], *, transposed: bool
    ) -> LinearSolution:
        """Solve with the factor of A, then refine."""
        del transposed
        return _solve_and_refine(state.solve, matvec, right_hand_side, self.refinement_steps)


class Iterative(LinearSolver):
    """Any iterative solver of lineax, matrix-free: one product with A per step and no n x n array.

    Ask the method for a smaller residual than `tolerance`: Iterative(lx.CG(rtol=1e-10, atol=1e-10), symmetric=True).

    Attributes:
        method: For example `lineax.CG` (symmetric positive definite A only), `lineax.GMRES`, `lineax.BiCGStab`;
            GMRES to 1e-10 if left out. Right-hand sides have unit norm, so its atol is as relative as its rtol.
        symmetric: Whether A is symmetric positive definite.
        tolerance: Largest accepted relative residual, in (0, 1).
    """

    method: lx.AbstractLinearSolver = _DEFAULT_METHOD
    symmetric: bool = False
    tolerance: float = 1e-6

    def __check_init__(self) -> None:
        _check_tolerance(self.tolerance)
        if isinstance(self.method, lx.CG) and not self.symmetric:
            raise ValueError(
                "conjugate gradients need a symmetric positive definite matrix: say Iterative(CG, symmetric=True), "
                "or use lineax.GMRES or lineax.BiCGStab for a condition that is not a gradient."
            )

    def prepare(self, matvec: Matvec, size: int) -> None:
        """Return nothing: there is no factor."""

    def solve(
        self, state: None, matvec: Matvec, right_hand_side: Float[Array, " n"], *, transposed: bool
    ) -> LinearSolution:
        """Iterate until the method is satisfied or gives up; whether the answer is good is for the caller to check."""
        del state, transposed
        tags = (lx.symmetric_tag, lx.positive_semidefinite_tag) if self.symmetric else ()
        structure = jax.ShapeDtypeStruct(right_hand_side.shape, right_hand_side.dtype)
        operator = lx.FunctionLinearOperator(matvec, structure, tags)
        solution = lx.linear_solve(operator, right_hand_side, self.method, throw=False)
        return LinearSolution(solution.value, jnp.asarray(solution.stats["num_steps"]))


def materialise(matvec: Matvec, size: int) -> Float[Array, "n n"]:
    """Return the matrix of a linear map of `size` unknowns by applying it to the columns of the identity."""
    return jax.vmap(matvec, in_axes=1, out_axes=1)(jnp.eye(size))


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


def _check_tolerance(tolerance: float) -> None:
    if not 0.0 < tolerance < 1.0:
        raise ValueError(f"tolerance = {tolerance} must lie in (0, 1): it is a relative residual; 1e-6 is the default.")


def _check_refinement_steps(steps: int) -> None:
    if steps < 0:
        raise ValueError(f"refinement_steps = {steps} must be 0 or more; 1 is the default.")
