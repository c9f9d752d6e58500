r"""Derivatives of a solution with a verdict: `jvp`, `vjp` and `jacobian` return (value, Certificate), or refuse.

`root` differentiates whatever a solver returned; here the state is at hand, so that it can be judged: does F vanish,
did every linear solve succeed, and how far is the answer from that at the exact solution? The last is estimated by how
the answer changes, to first order, under the remaining Newton step :math:`\delta = -A^{+} F`. Under jit and vmap
nothing can be refused: the value is NaN where it would be, and the certificate is made of traced arrays.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int, PyTree

from mdsens.errors import NumericalError
from mdsens.implicit.choice import chosen_solver
from mdsens.implicit.linear import LinearSolver
from mdsens.implicit.null_space import NullSpace
from mdsens.implicit.reasons import reason_at
from mdsens.implicit.system import LinearizedCondition, NullSpaceFn, Optimality, linearize
from mdsens.implicit.trees import (
    flat_like,
    floating,
    require_double_precision,
    require_like,
    require_x64,
    with_float_arrays,
)

STATIONARITY = 1e-6
Flat = Float[Array, " _"]  # unknowns or parameters, flat
Solved = tuple[Array, Array, Array]  # answers, residuals, iterations


class Certificate(eqx.Module):
    r"""How good an implicit derivative is.

    Attributes:
        condition: Largest entry of F at the point, outside frozen components and zero modes.
        residual: Relative residual of every linear solve, shape (k,): one per direction, cotangent, column or row.
        n_steps: Iterations (refinements of a direct solver) of every solve, shape (k,).
        error: Estimated error of every answer in the 2-norm, shape (k,): its first-order change under the remaining
            Newton step :math:`-A^{+}F`. What the linear solve left is told by ``residual``.
        zero_modes: Number of zero modes projected out.
        frozen: Number of components held fixed.
        way: "forward" or "adjoint".
        method: The linear solver, in words.
        at_any_point: True when F was not required to vanish: the value is then no derivative of a solution.

    Under vmap every number in it has a batch's leading axis.
    """

    condition: float | Float[Array, ""]
    residual: np.ndarray | Float[Array, " k"]
    n_steps: np.ndarray | Int[Array, " k"]
    error: np.ndarray | Float[Array, " k"]
    zero_modes: int | Int[Array, ""]
    frozen: int | Int[Array, ""]
    way: str = eqx.field(static=True)
    method: str = eqx.field(static=True)
    at_any_point: bool = eqx.field(static=True)


class _Problem(eqx.Module):
    """A condition at a point. Functions in it are static for compilation: the same F is compiled once."""

    F: Optimality
    x: PyTree
    p: tuple[PyTree, ...]
    solver: LinearSolver
    null_space: NullSpace | NullSpaceFn | None
    stationarity: float = eqx.field(static=True)
    at_any_point: bool = eqx.field(static=True)
    traced: bool = eqx.field(static=True)


def jvp(
    F: Optimality,
    x: PyTree,
    p: tuple[PyTree, ...],
    tangents: tuple[PyTree, ...],
    *,
    linear_solver: LinearSolver | None = None,
    null_space: NullSpace | NullSpaceFn | None = None,
    stationarity: float = STATIONARITY,
    at_any_point: bool = False,
) -> tuple[PyTree, Certificate]:
    r"""Return :math:`dx = -A^{+} F_p\,dp` of the solution x of F(x, \*p) = 0, and how good it is.

    Args:
        F: Optimality function, as for `root`.
        x: The solution, by whatever means it was found.
        p: The parameters, a tuple: F is called as F(x, \*p).
        tangents: Directions dp, a tuple like p, of numbers of any kind: None in place of what does not move, or
            anything where p has no floating-point leaf. A Python float is a parameter, an integer stands still.
        linear_solver: As for `root`.
        null_space: As for `root`.
        stationarity: Largest entry of F that still counts as zero, in F's own unit.
        at_any_point: Take x as it is; the certificate says so, and the value is no derivative of a solution.

    Returns:
        dx, a pytree like the floating-point leaves of x, and its certificate.

    Raises:
        NumericalError: When F does not vanish at x or the linear solve failed; the message names the cause.
        ValueError: When F, x, p or the tangents do not fit together.

    Notes:
        Under jit and vmap refusals are NaN, and the value may be differentiated once more (x held, as it is given).

    References:
        Blondel et al., NeurIPS 2022, arXiv:2105.15183, eq. 2 and Theorem 1.
    """
    problem = _problem(F, x, p, linear_solver, null_space, stationarity, tangents, at_any_point=at_any_point)
    direction = flat_like(tangents, problem.p, name="the tangents")[None]
    value, certificate = _certified(problem, _forward, direction)
    return _unknowns(problem)[1](value[0]), certificate


def vjp(
    F: Optimality,
    x: PyTree,
    p: tuple[PyTree, ...],
    cotangent: PyTree,
    *,
    linear_solver: LinearSolver | None = None,
    null_space: NullSpace | NullSpaceFn | None = None,
    stationarity: float = STATIONARITY,
    at_any_point: bool = False,
) -> tuple[tuple[PyTree, ...], Certificate]:
    r"""Return :math:`\bar p = -F_p^T w` with :math:`A^T w = v`: the derivative of <v, x*(p)> in every parameter.

    Args:
        F: As for `jvp`.
        x: As for `jvp`.
        p: As for `jvp`.
        cotangent: v, a pytree like the floating-point leaves of x. Its part along zero modes has no influence.
        linear_solver: As for `root`.
        null_space: As for `root`.
        stationarity: As for `jvp`.
        at_any_point: As for `jvp`.

    Returns:
        A tuple like p (its floating-point leaves), and the certificate.

    Raises:
        NumericalError: As for `jvp`.
        ValueError: As for `jvp`.
    """
    problem = _problem(F, x, p, linear_solver, null_space, stationarity, cotangent, at_any_point=at_any_point)
    v = flat_like(cotangent, problem.x, name="the cotangent")[None]
    value, certificate = _certified(problem, _adjoint, v)
    return ravel_pytree(floating(problem.p))[1](value[0]), certificate


def jacobian(
    F: Optimality,
    x: PyTree,
    p: tuple[PyTree, ...],
    *,
    linear_solver: LinearSolver | None = None,
    null_space: NullSpace | NullSpaceFn | None = None,
    stationarity: float = STATIONARITY,
    at_any_point: bool = False,
) -> tuple[PyTree, Certificate]:
    """Return dx*/dp in full, by whichever of forward and adjoint needs fewer solves, all from one factorisation.

    Args:
        F: As for `jvp`.
        x: As for `jvp`.
        p: As for `jvp`.
        linear_solver: As for `root`.
        null_space: As for `root`.
        stationarity: As for `jvp`.
        at_any_point: As for `jvp`.

    Returns:
        A pytree like x whose every leaf is a tuple like p, as `jax.jacobian` with all argnums would give: leaves of
        shape (shape of the leaf of x, shape of the leaf of p). And the certificate: one entry per column when the way
        is forward, per row when it is adjoint.

    Raises:
        NumericalError: As for `jvp`.
        ValueError: As for `jvp`.
    """
    problem = _problem(F, x, p, linear_solver, null_space, stationarity, at_any_point=at_any_point)
    matrix, certificate = _matrix(problem)
    return _as_tree(matrix, problem), certificate


def flat_jacobian(
    F: Optimality,
    x: PyTree,
    p: tuple[PyTree, ...],
    *,
    linear_solver: LinearSolver | None = None,
    null_space: NullSpace | NullSpaceFn | None = None,
    stationarity: float = STATIONARITY,
    at_any_point: bool = False,
) -> tuple[Float[np.ndarray | Array, "n m"], Certificate]:
    """Return what `jacobian` returns as one matrix, rows and columns in the order of `ravel_pytree` of x and of p.

    Args:
        F: As for `jvp`.
        x: As for `jvp`.
        p: As for `jvp`.
        linear_solver: As for `root`.
        null_space: As for `root`.
        stationarity: As for `jvp`.
        at_any_point: As for `jvp`.
    """
    return _matrix(_problem(F, x, p, linear_solver, null_space, stationarity, at_any_point=at_any_point))


def _matrix(problem: _Problem) -> tuple[Any, Certificate]:
    unknowns, parameters = _unknowns(problem)[0], ravel_pytree(floating(problem.p))[0]
    if parameters.size <= unknowns.size:
        columns, certificate = _certified(problem, _forward, jnp.eye(parameters.size))
        return columns.T, certificate
    return _certified(problem, _adjoint, jnp.eye(unknowns.size))


def _problem(
    F: Optimality,
    x: PyTree,
    p: tuple[PyTree, ...],
    linear_solver: LinearSolver | None,
    null_space: NullSpace | NullSpaceFn | None,
    stationarity: float,
    direction: PyTree = None,
    *,
    at_any_point: bool,
) -> _Problem:
    require_x64()
    if not isinstance(p, tuple):
        raise ValueError(f"p must be the tuple of F's parameters, F(x, *p), got a {type(p).__name__}: write (p,).")
    x, p = with_float_arrays(x), with_float_arrays(p)
    require_double_precision(x)
    solver = chosen_solver(linear_solver, F, x)
    traced = _is_traced((x, p, direction))
    return _Problem(F, x, p, solver, null_space, stationarity, at_any_point, traced)


def _is_traced(tree: PyTree) -> bool:
    return any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(tree))


def _unknowns(problem: _Problem) -> tuple[Flat, Callable[[Flat], PyTree]]:
    return ravel_pytree(floating(problem.x))


def _flat_condition(problem: _Problem) -> Callable[[Flat, Flat], Flat]:
    """Return F as a function of the flat unknowns and the flat moving parameters."""
    (_, unravel_x), (_, unravel_p) = _unknowns(problem), ravel_pytree(floating(problem.p))
    rest_x, rest_p = (eqx.filter(tree, eqx.is_inexact_array, inverse=True) for tree in (problem.x, problem.p))

    def condition(x: Flat, p: Flat) -> Flat:
        state = eqx.combine(unravel_x(x), rest_x)
        value = problem.F(state, *eqx.combine(unravel_p(p), rest_p))
        return ravel_pytree(require_like(value, state, name="the optimality function"))[0]

    return condition


class _Raw(NamedTuple):
    """What compiled code hands back: k answers and their quality."""

    value: Float[Array, "k m"]
    residual: Float[Array, " k"]
    n_steps: Int[Array, " k"]
    change: Float[Array, "k m"]
    condition: Float[Array, ""]
    zero_modes: Int[Array, ""]
    frozen: Int[Array, ""]


def _judged(
    system: LinearizedCondition, here: Flat, value: Array, residual: Array, n_steps: Array, change: Array
) -> _Raw:
    null_space = system.constant.null_space
    largest = jnp.max(jnp.abs(null_space.project(here)))
    rank = jnp.sum(jnp.any(null_space.basis != 0.0, axis=1))
    return _Raw(value, residual, n_steps, change, largest, rank, jnp.sum(null_space.frozen))


def _system(problem: _Problem) -> LinearizedCondition:
    return linearize(problem.F, problem.x, problem.p, linear_solver=problem.solver, null_space=problem.null_space)


def _held(solve: Callable[[Array], Solved]) -> Callable[[Array], Solved]:
    """Return a solve that is not differentiated (a host's cannot be)."""
    return lambda right_hand_side: solve(jax.lax.stop_gradient(right_hand_side))


@eqx.filter_jit
def _forward(problem: _Problem, directions: Float[Array, "k m"]) -> _Raw:
    condition, system = _flat_condition(problem), _system(problem)
    x, p = _unknowns(problem)[0], ravel_pytree(floating(problem.p))[0]

    def slope(y: Flat, dp: Flat) -> Flat:
        return jax.jvp(lambda q: condition(y, q), (p,), (dp,))[1]

    def drift(dx: Flat, dp: Flat) -> Flat:  # of A dx + F_p dp along the remaining step
        along = lambda y: jax.jvp(lambda z: condition(z, p), (y,), (dx,))[1] + slope(y, dp)  # noqa: E731
        return jax.jvp(along, (x,), (step,))[1]

    solve = _held(jax.vmap(system.certified))
    slopes = -jax.vmap(lambda dp: slope(x, dp))(directions)
    value, residual, n_steps = solve(slopes)
    here = condition(x, p)
    step, _, _ = _held(system.certified)(-here)
    change, _, _ = solve(-jax.vmap(drift)(value, directions))
    if problem.traced:  # it may be differentiated
        value = jax.vmap(system.solve)(slopes)
    return _judged(system, here, value, residual, n_steps, change)


@eqx.filter_jit
def _adjoint(problem: _Problem, cotangents: Float[Array, "k n"]) -> _Raw:
    condition, system = _flat_condition(problem), _system(problem)
    x, p = _unknowns(problem)[0], ravel_pytree(floating(problem.p))[0]

    def pull(y: Flat, w: Flat) -> Flat:
        return -jax.grad(lambda q: jnp.vdot(w, condition(y, q)))(p)

    def drift(w: Flat) -> Flat:  # of A^T w along the remaining step
        back = lambda y: jax.grad(lambda z: jnp.vdot(w, condition(z, p)))(y)  # noqa: E731
        return jax.jvp(back, (x,), (step,))[1]

    solve = _held(jax.vmap(functools.partial(system.certified, transposed=True)))
    weights, residual, n_steps = solve(cotangents)
    here = condition(x, p)
    step, _, _ = _held(system.certified)(-here)
    weight_change, _, _ = solve(-jax.vmap(drift)(weights))
    if problem.traced:  # it may be differentiated
        weights = jax.vmap(lambda v: jax.linear_transpose(system.solve, v)(v)[0])(cotangents)
    value = jax.vmap(lambda w: pull(x, w))(weights)
    change = jax.vmap(lambda w, dw: jax.jvp(pull, (x, w), (step, dw))[1])(weights, weight_change)
    return _judged(system, here, value, residual, n_steps, change)


def _certified(
    problem: _Problem, compute: Callable[[_Problem, Array], _Raw], directions: Float[Array, "k _"]
) -> tuple[Any, Certificate]:
    way, raw = "forward" if compute is _forward else "adjoint", compute(problem, directions)
    if not problem.traced and _is_traced(raw):  # F closes over what is traced
        problem = dataclasses.replace(problem, traced=True)
        raw = compute(problem, directions)
    if problem.traced:
        return _traced(problem, raw, way)
    found = jax.device_get(raw)
    if not problem.at_any_point and not found.condition <= problem.stationarity:
        raise NumericalError(
            f"F does not vanish at x: its largest entry is {float(found.condition):.2e}, at most "
            f"{problem.stationarity:.0e} counts as zero. Converge the solver further, raise stationarity if F's unit "
            "is small, or pass at_any_point=True to label the value."
        )
    if not np.isfinite(found.value).all():
        reason = reason_at(problem.F, problem.x, problem.p, linear_solver=problem.solver, null_space=problem.null_space)
        raise NumericalError(reason())
    certificate = Certificate(
        condition=float(found.condition),
        residual=np.asarray(found.residual),
        n_steps=np.asarray(found.n_steps),
        error=np.asarray(np.linalg.norm(found.change, axis=1)),
        zero_modes=int(found.zero_modes),
        frozen=int(found.frozen),
        way=way,
        method=problem.solver.name,
        at_any_point=problem.at_any_point,
    )
    return np.asarray(found.value), certificate


def _traced(problem: _Problem, raw: _Raw, way: str) -> tuple[Float[Array, "k m"], Certificate]:
    """Return the values, NaN where they would be refused, and a certificate that carries no derivatives."""
    refused = ~jnp.isfinite(raw.value).all()
    if not problem.at_any_point:
        refused |= ~(raw.condition <= problem.stationarity)
    held = jax.lax.stop_gradient(raw)
    certificate = Certificate(
        condition=held.condition,
        residual=held.residual,
        n_steps=held.n_steps,
        error=jnp.linalg.norm(held.change, axis=1),
        zero_modes=held.zero_modes,
        frozen=held.frozen,
        way=way,
        method=problem.solver.name,
        at_any_point=problem.at_any_point,
    )
    return jnp.where(refused, jnp.nan, raw.value), certificate


def _as_tree(matrix: np.ndarray | Array, problem: _Problem) -> PyTree:
    """Return the (n, m) matrix as a pytree like x of tuples like p."""
    _, unravel = ravel_pytree(floating(problem.p))
    rows = jax.vmap(unravel)(jnp.asarray(matrix))
    leaves, structure = jax.tree.flatten(floating(problem.x))
    ends = np.cumsum([leaf.size for leaf in leaves])

    def block(leaf: Array, end: int) -> PyTree:
        part = slice(end - leaf.size, end)
        return jax.tree.map(lambda row: row[part].reshape(leaf.shape + row.shape[1:]), rows)

    return jax.tree.unflatten(structure, [block(leaf, int(end)) for leaf, end in zip(leaves, ends, strict=True)])
