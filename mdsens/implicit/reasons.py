"""Why an implicit derivative failed: the causes, looked for one after the other at the point where it happened."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import PyTree

from mdsens.implicit.guard import UNKNOWN, Reason
from mdsens.implicit.krylov import Iterative, Minres
from mdsens.implicit.linear import LinearSolver
from mdsens.implicit.null_space import NullSpace
from mdsens.implicit.operator import ProjectedOperator, erratic, is_symmetric
from mdsens.implicit.system import NullSpaceFn, Optimality, checked_solve, linearize
from mdsens.implicit.trees import floating

_LARGEST_SPECTRUM = 2000  # unknowns whose singular values are looked at
_SINGULAR = 1e-13  # of the largest singular value


def reason_at(
    F: Optimality,
    x: PyTree,
    p: tuple[PyTree, ...],
    *,
    linear_solver: LinearSolver,
    null_space: NullSpace | NullSpaceFn | None,
) -> Reason:
    """Return a function that finds out, when asked, why the derivative of x*(p) is NaN at this point."""
    return functools.partial(_diagnose, F, x, p, linear_solver, null_space)


def _diagnose(
    F: Optimality,
    x: PyTree,
    p: tuple[PyTree, ...],
    solver: LinearSolver,
    null_space: NullSpace | NullSpaceFn | None,
) -> str:
    x, p = jax.tree.map(_unwrapped, (x, p))
    if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves((x, p))):
        return UNKNOWN + " Take one derivative less, outside jit and vmap, for the cause."
    if not _finite(floating(x)):
        return "the solver returned a solution that is not finite: look at what it did, or at where it started."
    if not _finite(floating(F(x, *p))):
        return "F is not finite at the solution that the solver returned: it lies outside the domain of F."
    system = linearize(F, x, p, linear_solver=_Nobody(), null_space=null_space)
    return _diagnose_matrix(system.constant, solver, F, x, p, null_space)


def _diagnose_matrix(
    operator: ProjectedOperator,
    solver: LinearSolver,
    F: Optimality,
    x: PyTree,
    p: tuple[PyTree, ...],
    null_space: NullSpace | NullSpaceFn | None,
) -> str:
    size, image = operator.size, operator.jacobian(erratic(operator.size, 0.3))
    if not bool(jnp.all(jnp.isfinite(image))):
        return "dF/dx is not finite at the solution: F has a kink or a pole there."
    leaks = [jnp.where(operator.null_space.frozen, 0.0, operator.jacobian(z)) for z in operator.null_space.basis]
    worst, typical = max((float(jnp.linalg.norm(leak)) for leak in leaks), default=0.0), float(jnp.linalg.norm(image))
    if worst > solver.tolerance * typical / np.sqrt(size):
        return (
            f"a claimed zero mode is none: dF/dx maps it, normalised, to a vector of length {worst:.1e}. Take it out "
            "of the null space, or converge the solver if the mode follows the state."
        )
    inside = lambda v: operator.null_space.project(operator.jacobian(operator.null_space.project(v)))  # noqa: E731
    if solver.symmetric and not bool(is_symmetric(inside, size)):
        return (
            f"{solver.name} takes dF/dx for symmetric, but it is not: F is no gradient. Use DenseLU, or Iterative with "
            "lineax.GMRES or lineax.BiCGStab."
        )
    system = linearize(F, x, p, linear_solver=solver, null_space=null_space)
    preconditioned = isinstance(solver, Iterative | Minres) and solver.preconditioner is not None
    if preconditioned and not bool(jnp.all(jnp.isfinite(system.state(erratic(size, 0.3))))):
        return (
            f"the preconditioner is not symmetric (or not finite), but {solver.name} needs it to be: symmetrise it, or "
            "use lineax.GMRES."
        )
    return _diagnose_spectrum(operator, solver) or _diagnose_residual(system.constant, solver, system.state)


def _diagnose_spectrum(operator: ProjectedOperator, solver: LinearSolver) -> str | None:
    if operator.size > _LARGEST_SPECTRUM:
        return None
    matrix = np.asarray(jax.vmap(operator, in_axes=1, out_axes=1)(jnp.eye(operator.size)))
    values = np.linalg.svd(matrix, compute_uv=False)
    n_singular = int(np.sum(values <= _SINGULAR * values[0]))
    if n_singular:
        return (
            f"dF/dx is singular: {n_singular} of {operator.size} singular values vanish. Name the zero modes with "
            "null_space=NullSpace.from_modes(...), or let zero_modes(F) find them."
        )
    negative = int(np.sum(np.linalg.eigvalsh(matrix) < 0)) if solver.symmetric else 0
    if negative and not isinstance(solver, Minres):
        return (
            f"{solver.name} takes dF/dx for positive definite, but it has {negative} negative eigenvalues: the point "
            "is a saddle, or F has the wrong sign. Use DenseLU or Minres if that is meant."
        )
    return None


def _diagnose_residual(operator: ProjectedOperator, solver: LinearSolver, state: PyTree) -> str:
    _, defect, solution = checked_solve(
        solver, state, operator, operator.null_space.project(erratic(operator.size, 0.3)), transposed=False
    )
    return (
        f"{solver.name} left a relative residual of {float(defect):.1e} after {int(solution.n_steps)} steps; at most "
        f"{solver.tolerance:.0e} is accepted: allow more steps, precondition, or use a direct solver. (If that is "
        "fine, the direction of differentiation or a derivative of F along it is NaN.)"
    )


def _unwrapped(leaf: Any) -> Any:
    """Return the number behind the tracers of eager jvp and of a vmap over something else, if there is one."""
    while isinstance(leaf, jax.core.Tracer):
        inner = next((getattr(leaf, name) for name in ("primal", "val") if hasattr(leaf, name)), None)
        if inner is None or getattr(leaf, "batch_dim", None) is not None:
            return leaf
        leaf = inner
    return leaf


def _finite(tree: PyTree) -> bool:
    return bool(jnp.all(jnp.isfinite(ravel_pytree(tree)[0])))


class _Nobody(LinearSolver):
    """Prepares nothing and is never asked to solve."""

    tolerance: float = 1e-6
    symmetric: bool = False

    def prepare(self, operator: ProjectedOperator, point: object) -> None:
        """Return nothing."""

    def solve(self, state: None, operator: object, right_hand_side: object, *, transposed: bool) -> None:  # type: ignore[override]
        """Refuse."""
        raise NotImplementedError
