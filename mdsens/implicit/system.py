"""The linear system of the implicit function theorem, made regular on the complement of its null space.

With A = dF/dx at the solution, P the null space's projector and s > 0 a scale of A, the system solved is

    M y = P b,    M = P A P + s (1 - P),    answer P y.

M is as well conditioned as A is outside its null space; P M^-1 P is the inverse of P A P on the range of P (the
pseudo-inverse of A if the modes are its zero modes), so a right-hand side along a zero mode gives 0 and not 1e80.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int, PyTree

from mdsens.implicit.linear import LinearSolution, LinearSolver
from mdsens.implicit.null_space import NullSpace
from mdsens.implicit.operator import Matvec, Point, ProjectedOperator, erratic, is_symmetric
from mdsens.implicit.trees import floating, require_like

Optimality = Callable[..., PyTree]
NullSpaceFn = Callable[..., NullSpace]
Tree = TypeVar("Tree")


class LinearizedCondition(eqx.Module):
    """F linearised at one point, with its null space and everything that can be prepared without a right-hand side.

    `solve` may be called for any number of right-hand sides, forward or (by transposing it) adjoint, inside or outside
    of vmap: the preparation is done once. It can be differentiated to any order.

    Attributes:
        operator: M, depending on x and p.
        constant: M with derivatives stopped: what the solver sees.
        solver: The linear solver.
        state: What the solver prepared for M.
    """

    operator: ProjectedOperator
    constant: ProjectedOperator
    solver: LinearSolver
    state: PyTree[Any]

    def certified(
        self, right_hand_side: Float[Array, " n"], *, transposed: bool = False
    ) -> tuple[Float[Array, " n"], Float[Array, ""], Int[Array, ""]]:
        """Return P M^-1 P b (or with M^T), the relative defect of the solve and its iterations; not differentiable."""
        operator = self.constant.transpose() if transposed and not self.solver.symmetric else self.constant
        project = self.constant.null_space.project
        value, defect, solution = checked_solve(
            self.solver, self.state, operator, project(right_hand_side), transposed=transposed
        )
        return project(value), defect, solution.n_steps

    def solve(self, right_hand_side: Float[Array, " n"]) -> Float[Array, " n"]:
        """Return P M^-1 P b, or NaN where the linear solve failed."""

        def solve_with(transposed: bool) -> Callable[[Matvec, Array], Array]:
            def solve(_: Matvec, b: Float[Array, " n"]) -> Float[Array, " n"]:
                operator = self.constant.transpose() if transposed else self.constant
                return checked_solve(self.solver, self.state, operator, b, transposed=transposed)[0]

            return solve

        symmetric = self.solver.symmetric
        project = self.operator.null_space.project
        y = jax.lax.custom_linear_solve(
            self.operator,
            project(right_hand_side),
            solve_with(transposed=False),
            solve_with(transposed=not symmetric),
            symmetric=symmetric,
        )
        return project(y)


def linearize(
    F: Optimality,
    x: PyTree,
    p: tuple[PyTree, ...],
    *,
    linear_solver: LinearSolver,
    null_space: NullSpace | NullSpaceFn | None,
) -> LinearizedCondition:
    """Linearise F(x, *p) in the floating-point leaves of x and prepare the linear solver for the result.

    Args:
        F: The optimality function.
        x: The state, any pytree; its floating-point leaves are the unknowns.
        p: The parameters.
        linear_solver: How systems with A = dF/dx are solved.
        null_space: Zero modes of A and frozen components, or a function of (x, *p) that returns them, or None.

    Returns:
        The prepared system, differentiable in x and p.

    Raises:
        ValueError: If F does not return a pytree like x, or the null space does not belong to it.
    """
    unknowns, unravel = ravel_pytree(floating(x))
    rest = eqx.filter(x, eqx.is_inexact_array, inverse=True)

    def flat_condition(flat: Float[Array, " n"]) -> Float[Array, " n"]:
        value = F(eqx.combine(unravel(flat), rest), *p)
        return ravel_pytree(require_like(value, x, name="the optimality function"))[0]

    _, jacobian = jax.linearize(flat_condition, unknowns)
    flat_null_space = _null_space_at(null_space, x, p).flatten()
    constant = _stop_gradient(ProjectedOperator(jacobian, flat_null_space, jnp.ones(())))
    shift = _shift(constant, linear_solver)
    operator = ProjectedOperator(jacobian, flat_null_space, shift)
    constant = ProjectedOperator(constant.jacobian, constant.null_space, shift)
    point = Point(*_stop_gradient((x, p)))
    return LinearizedCondition(operator, constant, linear_solver, linear_solver.prepare(constant, point))


def checked_solve(
    solver: LinearSolver,
    state: PyTree[Any],
    operator: ProjectedOperator,
    right_hand_side: Float[Array, " n"],
    *,
    transposed: bool,
) -> tuple[Float[Array, " n"], Float[Array, ""], LinearSolution]:
    """Solve for one right-hand side and check the answer.

    Args:
        solver: The linear solver.
        state: What it prepared.
        operator: M, or M^T if `transposed`.
        right_hand_side: b, already projected.
        transposed: Whether the system with M^T is meant.

    Returns:
        The solution (NaN where the relative defect exceeds the solver's tolerance), the relative defect, and what the
        solver returned for b / |b|.
    """
    norm = jnp.linalg.norm(right_hand_side)
    scale = jnp.where(norm > 0.0, norm, 1.0)
    solution = solver.solve(state, operator, right_hand_side / scale, transposed=transposed)
    defect = operator.defect(solution.value, right_hand_side / scale)
    return jnp.where(defect <= solver.tolerance, solution.value * scale, jnp.nan), defect, solution


def _null_space_at(null_space: NullSpace | NullSpaceFn | None, x: PyTree, p: tuple[PyTree, ...]) -> NullSpace:
    if null_space is None:
        return NullSpace.empty(x)
    present = null_space if isinstance(null_space, NullSpace) else null_space(x, *p)
    if not isinstance(present, NullSpace):
        raise ValueError(
            f"null_space(x, *p) must return a NullSpace, got {present!r}. Build one with "
            "NullSpace.from_modes(modes) or NullSpace.from_mask(frozen)."
        )
    present.require_like(x)
    return present


def _shift(operator: ProjectedOperator, solver: LinearSolver) -> Float[Array, ""]:
    """Return the size of P A P on an erratic vector.

    NaN, which spoils every solve, if P A P lacks the symmetry that the solver counts on, or a zero mode is none.
    """
    project, null_space = operator.null_space.project, operator.null_space
    v = project(erratic(operator.size, 0.414))
    image = project(operator.jacobian(v))
    ratio = jnp.linalg.norm(image) / jnp.where(jnp.any(v != 0.0), jnp.linalg.norm(v), 1.0)
    shift = jnp.where(ratio > 0.0, ratio, jnp.where(jnp.isnan(ratio), jnp.nan, 1.0))
    if null_space.basis.shape[0]:
        leaks = jnp.where(null_space.frozen, 0.0, jax.vmap(operator.jacobian)(null_space.basis))
        shift = jnp.where(jnp.max(jnp.linalg.norm(leaks, axis=1)) <= solver.tolerance * shift, shift, jnp.nan)
    if not solver.symmetric:
        return shift
    inside = lambda u: project(operator.jacobian(project(u)))  # noqa: E731
    return jnp.where(is_symmetric(inside, operator.size), shift, jnp.nan)


def _stop_gradient(tree: Tree) -> Tree:
    arrays, static = eqx.partition(tree, eqx.is_array)
    return eqx.combine(jax.lax.stop_gradient(arrays), static)
