"""The linear system of the implicit function theorem, made regular on the complement of its null space.

With A = dF/dx at the solution, P the null space's projector and s > 0 a scale of A, the system solved is

    M y = P b,    M = P A P + s (1 - P),    answer P y.

M is as well conditioned as A is outside its null space; P M^-1 P is the inverse of P A P on the range of P (the
pseudo-inverse of A if the modes are its zero modes), so a right-hand side along a zero mode gives 0 and not 1e80.
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree

from mdsens.implicit.linear import LinearSolution, LinearSolver, Matvec
from mdsens.implicit.null_space import NullSpace
from mdsens.implicit.trees import floating, require_like

Optimality = Callable[..., PyTree]
NullSpaceFn = Callable[..., NullSpace]

SYMMETRY_TOLERANCE = 1e-8  # relative asymmetry of two random products; rounding of a Hessian stays below 1e-12


class ProjectedOperator(eqx.Module):
    """The regular map M = P A P + s (1 - P) on flat vectors.

    Attributes:
        jacobian: v -> A v.
        null_space: The null space of flat vectors that defines P.
        shift: s, the size of A on an erratic vector; a constant for differentiation.
    """

    jacobian: Matvec
    null_space: NullSpace
    shift: Float[Array, ""]

    def __call__(self, vector: Float[Array, " n"]) -> Float[Array, " n"]:
        """Return M v."""
        inside = self.null_space.project(vector)
        return self.null_space.project(self.jacobian(inside)) + self.shift * (vector - inside)

    def transpose(self) -> "ProjectedOperator":
        """Return M^T, by transposing A."""
        vector = jax.ShapeDtypeStruct(self.null_space.frozen.shape, self.shift.dtype)
        transposed = jax.linear_transpose(self.jacobian, vector)
        return ProjectedOperator(lambda cotangent: transposed(cotangent)[0], self.null_space, self.shift)

    def defect(self, value: Float[Array, " n"], right_hand_side: Float[Array, " n"]) -> Float[Array, ""]:
        """Return how much the equation is violated: the norm of (M y - b, Z A P y).

        The second part vanishes when the modes are zero modes of A^T, as they are for a symmetric A; if they are not,
        the projected equation is not the one that was asked for.
        """
        inside = self.null_space.project(value)
        image = self.jacobian(inside)
        residual = self.null_space.project(image) + self.shift * (value - inside) - right_hand_side
        return jnp.hypot(jnp.linalg.norm(residual), jnp.linalg.norm(self.null_space.components(image)))


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
    shift = _shift(constant, unknowns.size, require_symmetric=linear_solver.symmetric)
    operator = ProjectedOperator(jacobian, flat_null_space, shift)
    constant = ProjectedOperator(constant.jacobian, constant.null_space, shift)
    return LinearizedCondition(operator, constant, linear_solver, linear_solver.prepare(constant, unknowns.size))


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


def _shift(operator: ProjectedOperator, size: int, *, require_symmetric: bool) -> Float[Array, ""]:
    """Return the size of P A P on an erratic vector; NaN, which spoils every solve, if P A P lacks its symmetry."""
    project = operator.null_space.project
    u, v = (project(_erratic(size, frequency)) for frequency in (0.618, 0.414))
    image = project(operator.jacobian(v))
    ratio = jnp.linalg.norm(image) / jnp.where(jnp.any(v != 0.0), jnp.linalg.norm(v), 1.0)
    shift = jnp.where(ratio > 0.0, ratio, jnp.where(jnp.isnan(ratio), jnp.nan, 1.0))
    if not require_symmetric:
        return shift
    asymmetry = jnp.abs(jnp.vdot(u, image) - jnp.vdot(v, operator.jacobian(u)))
    allowed = SYMMETRY_TOLERANCE * jnp.linalg.norm(u) * jnp.linalg.norm(image)
    return jnp.where(asymmetry <= allowed, shift, jnp.nan)


def _erratic(size: int, frequency: float) -> Float[Array, " n"]:
    """Return a fixed vector that looks random to any matrix with a structure; cheaper to compile than a generator."""
    return jnp.cos(frequency * jnp.arange(1.0, size + 1.0) ** 2)


def _stop_gradient(operator: ProjectedOperator) -> ProjectedOperator:
    arrays, static = eqx.partition(operator, eqx.is_array)
    return eqx.combine(jax.lax.stop_gradient(arrays), static)
