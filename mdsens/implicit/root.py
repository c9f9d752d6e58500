"""`root` and `fixed_point`: give any solver the derivatives that its optimality condition implies."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, PyTree

from mdsens.implicit.arguments import call_of, passed_on
from mdsens.implicit.choice import chosen_solver
from mdsens.implicit.guard import refuse_nan
from mdsens.implicit.linear import LinearSolver
from mdsens.implicit.null_space import NullSpace
from mdsens.implicit.reasons import reason_at
from mdsens.implicit.system import NullSpaceFn, Optimality, linearize
from mdsens.implicit.trees import (
    Split,
    floating,
    require_double_precision,
    require_like,
    require_x64,
    split,
    with_float_arrays,
    zero_tangent,
)

P = ParamSpec("P")
R = TypeVar("R")


def root(
    F: Optimality,
    *,
    linear_solver: LinearSolver | None = None,
    null_space: NullSpace | NullSpaceFn | None = None,
    has_aux: bool = False,
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Return a decorator that makes a solver of F(x, *p) = 0 differentiable in every p.

    With A = dF/dx at the solution x*(p), the derivative in the direction dp is

        dx = -A^+ (dF/dp . dp),

    by one linear solve, forward or transposed; A^+ is the inverse, or the minimum-norm one outside `null_space`. jvp,
    vjp, jacfwd, jacrev, grad, hessian, any nesting of them, vmap and jit work. The solver itself is never
    differentiated and runs once; without differentiation nothing but the solver runs. The starting point x0 has no
    influence on any derivative.

    Args:
        F: Optimality function F(x, *p), zero at the solution; returns a pytree like x. Its floating-point leaves are
            the equations, one per floating-point leaf of x.
        linear_solver: How systems with A are solved, see `mdsens.implicit` for which to take when. None: chosen by the
            condition's structure and size (`mdsens.implicit.choice`).
        null_space: Zero modes of A and of A^T and frozen components of x, or a function (x, *p) that returns them.
            None: A is regular. With it, derivatives are the ones of least norm; second derivatives include the exact
            change of the projector with x and p, so a function must be differentiable (`NullSpace.from_modes` is). If
            its modes are stop_gradient'd, second derivatives lack only their components along the zero modes.
        has_aux: Whether the solver returns (x, aux). aux is any pytree and carries no derivative.

    Returns:
        A decorator: solver(x0, *p) -> x, or (x, aux), becomes a function with the same arguments. Where F has
        parameters of all their names, F gets them by name, in any order, defaults of the solver among them. Otherwise
        what is given by position goes to F by position, what is given by name under that name.

    Raises:
        ValueError: When differentiated: F does not return a pytree like x, x is not made of float64, the null space has
            another structure. When called: `has_aux` and the solver's result is not a pair.
        TypeError: When called: F has no parameter of a name by which the solver was given one.
        RuntimeError: When called: JAX's x64 mode is off.

    Notes:
        x, x0 and every p are any pytrees; integers, booleans, None, strings and callables in them stay as they are.
        Assumed and not checked here: F vanishes at what the solver returns (`mdsens.implicit.jvp`, `vjp` and `jacobian`
        check it). Checked: the linear solve; where its relative residual exceeds the solver's tolerance, the derivative
        raises `NumericalError` with the reason outside jit and is NaN inside. Neither F nor the solver may close over
        a value that is being differentiated: pass it as a p.

    References:
        Blondel et al., Efficient and Modular Implicit Differentiation, NeurIPS 2022, arXiv:2105.15183, eq. 2.
    """

    def decorate(solver: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(solver)
        def differentiable_solver(*args: P.args, **kwargs: P.kwargs) -> R:
            return _call(solver, args, kwargs, F=F, linear_solver=linear_solver, null_space=null_space, has_aux=has_aux)

        return differentiable_solver

    return decorate


def fixed_point(
    T: Callable[..., PyTree],
    *,
    linear_solver: LinearSolver | None = None,
    null_space: NullSpace | NullSpaceFn | None = None,
    has_aux: bool = False,
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Return a decorator that makes a solver of x = T(x, *p) differentiable in every p.

    The same as `root` with F(x, *p) = x - T(x, *p), so A = 1 - dT/dx: symmetric positive definite if T is a convergent
    gradient step.

    Args:
        T: The iteration T(x, *p); returns a pytree like x.
        linear_solver: As for `root`.
        null_space: As for `root`.
        has_aux: As for `root`.

    Returns:
        A decorator, as for `root`.

    Raises:
        ValueError: As for `root`, with T in the place of F.
        RuntimeError: As for `root`.
    """
    return root(_Difference(T), linear_solver=linear_solver, null_space=null_space, has_aux=has_aux)


@dataclasses.dataclass(frozen=True)
class _Difference:
    """The condition x - T(x, *p) = 0 of a fixed point."""

    reference: Callable[..., PyTree]

    def __call__(self, x: PyTree, *p: PyTree, **named: PyTree) -> PyTree:
        image = require_like(self.reference(x, *p, **named), x, name="the fixed-point iteration")
        return jax.tree.map(jnp.subtract, floating(x), image)


def _call(
    solver: Callable[..., Any],
    args: tuple[PyTree, ...],
    kwargs: dict[str, PyTree],
    *,
    F: Optimality,
    linear_solver: LinearSolver | None,
    null_space: NullSpace | NullSpaceFn | None,
    has_aux: bool,
) -> Any:
    """Run the solver inside a `jax.custom_jvp` over the array leaves of its arguments."""
    require_x64()
    kwargs = passed_on(F, solver, len(args), kwargs) | kwargs
    call = call_of(F, solver, len(args), tuple(kwargs))
    F = call.as_called(F)
    if null_space is not None and not isinstance(null_space, NullSpace):
        null_space = call.as_called(null_space)
    arguments = split(call.taken(args, kwargs))
    results: list[Split] = []  # the solver's latest result; only its structure and static leaves are used

    def run(leaves: list[Any]) -> list[Array]:
        by_position, by_name = call.given(*arguments.join(leaves))
        result = split(_checked_result(solver(*by_position, **by_name), has_aux=has_aux))
        results[:] = [result]
        return result.leaves

    def jvp(primals: tuple[list[Any]], tangents: tuple[list[Any]]) -> tuple[list[Array], list[Any]]:
        (given,), (leaf_tangents,) = primals, tangents
        leaves = [jnp.asarray(leaf) for leaf in given]  # JAX hands a differentiated Python number on as it is
        solution_leaves = implicit(leaves)
        result = results[0].join(solution_leaves)
        x = result[0] if has_aux else result
        x0, p = arguments.join(leaves)
        n_start = len(split(x0).leaves)
        p_tangents = [None if isinstance(t, SymbolicZero) else t for t in leaf_tangents[n_start:]]
        x_tangents = _tangents(F, x, p, p_tangents, linear_solver=linear_solver, null_space=null_space)
        aux_tangents = [zero_tangent(leaf) for leaf in solution_leaves[len(x_tangents) :]]
        return solution_leaves, x_tangents + aux_tangents

    implicit = jax.custom_jvp(run)
    implicit.defjvp(jvp, symbolic_zeros=True)
    leaves = implicit(arguments.leaves)
    return results[0].join(leaves)


def _tangents(
    F: Optimality,
    x: PyTree,
    p: tuple[PyTree, ...],
    p_tangents: list[Array | None],
    *,
    linear_solver: LinearSolver | None,
    null_space: NullSpace | NullSpaceFn | None,
) -> list[Any]:
    """Return the tangents of the array leaves of x for tangents of the array leaves of p (None: does not move)."""
    x_leaves = split(x).leaves
    if all(tangent is None for tangent in p_tangents):
        return [zero_tangent(leaf) for leaf in x_leaves]
    require_double_precision(x)
    solver = chosen_solver(linear_solver, F, x)
    reason = reason_at(F, x, p, linear_solver=solver, null_space=null_space)
    # linear in between: what is refused on the way in forward is refused on the way out adjoint
    guarded = [t if t is None or not eqx.is_inexact_array(t) else refuse_nan(t, reason) for t in p_tangents]
    compute = eqx.filter_jit(_flat_tangent) if _is_hashable((F, x, p, solver, null_space)) else _flat_tangent
    flat = refuse_nan(compute(F, x, p, guarded, solver, null_space), reason)
    dx = split(ravel_pytree(floating(x))[1](flat)).leaves
    moving = iter(dx)
    return [next(moving) if eqx.is_inexact_array(leaf) else zero_tangent(leaf) for leaf in x_leaves]


def _flat_tangent(
    F: Optimality,
    x: PyTree,
    p: tuple[PyTree, ...],
    p_tangents: list[Array | None],
    solver: LinearSolver,
    null_space: NullSpace | NullSpaceFn | None,
) -> Array:
    """Return the flat dx; compiled once per F, also where the caller is not."""
    system = linearize(F, x, p, linear_solver=solver, null_space=null_space)
    return system.solve(-derivative_along(F, x, p, p_tangents))


def _is_hashable(tree: PyTree) -> bool:
    """Return whether everything in it that is no array can be static for compilation (NumPy arrays cannot)."""
    try:
        hash(tuple(jax.tree.leaves(eqx.filter(tree, eqx.is_array, inverse=True))))
    except TypeError:
        return False
    return True


def derivative_along(F: Optimality, x: PyTree, p: tuple[PyTree, ...], p_tangents: list[Array | None]) -> Array:
    """Return the flat dF/dp . dp for tangents of the array leaves of p, None for those that do not move."""
    parts = split(p)
    moving = [i for i, tangent in enumerate(p_tangents) if tangent is not None]

    def condition(values: list[Array]) -> Array:
        leaves = list(parts.leaves)
        for i, value in zip(moving, values, strict=True):
            leaves[i] = value
        return ravel_pytree(require_like(F(x, *parts.join(leaves)), x, name="the optimality function"))[0]

    primals = [parts.leaves[i] for i in moving]
    return jax.jvp(condition, (primals,), ([p_tangents[i] for i in moving],))[1]


def _checked_result(result: Any, *, has_aux: bool) -> Any:
    if not has_aux:
        return with_float_arrays(result)
    if not (isinstance(result, tuple) and len(result) == 2):
        raise ValueError(f"with has_aux=True the solver must return (x, aux), got {eqx.tree_pformat(result)}.")
    return with_float_arrays(result[0]), result[1]
