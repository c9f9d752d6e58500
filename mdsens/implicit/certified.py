"""Flat derivatives of a solution, forward or adjoint, each with its certificate, or refused."""

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
from mdsens.implicit.linear import LinearSolver
from mdsens.implicit.null_space import NullSpace
from mdsens.implicit.reasons import reason_at
from mdsens.implicit.system import LinearizedCondition, NullSpaceFn, Optimality, linearize
from mdsens.implicit.trees import floating, require_like

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


class Problem(eqx.Module):
    """A condition at a point. Functions in it are static for compilation: the same F is compiled once."""

    F: Optimality
    x: PyTree
    p: tuple[PyTree, ...]
    solver: LinearSolver
    null_space: NullSpace | NullSpaceFn | None
    stationarity: float = eqx.field(static=True)
    at_any_point: bool = eqx.field(static=True)
    traced: bool = eqx.field(static=True)


def is_traced(tree: PyTree) -> bool:
    """Return whether a leaf is being traced."""
    return any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(tree))


def flat_unknowns(problem: Problem) -> tuple[Flat, Callable[[Flat], PyTree]]:
    """Return the flat unknowns, and what makes a pytree of such."""
    return ravel_pytree(floating(problem.x))


def _flat_condition(problem: Problem) -> Callable[[Flat, Flat], Flat]:
    """Return F as a function of the flat unknowns and the flat moving parameters."""
    (_, unravel_x), (_, unravel_p) = flat_unknowns(problem), ravel_pytree(floating(problem.p))
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


def _system(problem: Problem) -> LinearizedCondition:
    return linearize(problem.F, problem.x, problem.p, linear_solver=problem.solver, null_space=problem.null_space)


def _held(solve: Callable[[Array], Solved]) -> Callable[[Array], Solved]:
    """Return a solve that is not differentiated (a host's cannot be)."""
    return lambda right_hand_side: solve(jax.lax.stop_gradient(right_hand_side))


@eqx.filter_jit
def _forward(problem: Problem, directions: Float[Array, "k m"]) -> _Raw:
    condition, system = _flat_condition(problem), _system(problem)
    x, p = flat_unknowns(problem)[0], ravel_pytree(floating(problem.p))[0]

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
def _adjoint(problem: Problem, cotangents: Float[Array, "k n"]) -> _Raw:
    condition, system = _flat_condition(problem), _system(problem)
    x, p = flat_unknowns(problem)[0], ravel_pytree(floating(problem.p))[0]

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


def certified_forward(problem: Problem, directions: Float[Array, "k m"]) -> tuple[Any, Certificate]:
    """Return dx along k directions of the parameters, shape (k, n), and how good it is.

    Raises:
        NumericalError: When F does not vanish at the point or a linear solve failed.
    """
    return _certified(problem, _forward, directions, "forward")


def certified_adjoint(problem: Problem, cotangents: Float[Array, "k n"]) -> tuple[Any, Certificate]:
    """Return what k cotangents of the unknowns give in the parameters, shape (k, m), and how good it is.

    Raises:
        NumericalError: As for ``certified_forward``.
    """
    return _certified(problem, _adjoint, cotangents, "adjoint")


def _certified(
    problem: Problem, compute: Callable[[Problem, Array], _Raw], directions: Float[Array, "k _"], way: str
) -> tuple[Any, Certificate]:
    raw = compute(problem, directions)
    if not problem.traced and is_traced(raw):  # F closes over what is traced
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


def _traced(problem: Problem, raw: _Raw, way: str) -> tuple[Float[Array, "k m"], Certificate]:
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
