r"""Derivatives of a solution with a verdict: `jvp`, `vjp` and `jacobian` return (value, Certificate), or refuse.

`root` differentiates whatever a solver returned; here the state is at hand, so that it can be judged: does F vanish,
did every linear solve succeed, and how far is the answer from that at the exact solution? The last is estimated by how
the answer changes, to first order, under the remaining Newton step :math:`\delta = -A^{+} F`. Under jit and vmap
nothing can be refused: the value is NaN where it would be, and the certificate is made of traced arrays.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree

from mdsens.implicit.certified import (
    Certificate,
    Problem,
    certified_adjoint,
    certified_forward,
    flat_unknowns,
    is_traced,
)
from mdsens.implicit.choice import chosen_solver
from mdsens.implicit.linear import LinearSolver
from mdsens.implicit.null_space import NullSpace
from mdsens.implicit.system import NullSpaceFn, Optimality
from mdsens.implicit.trees import flat_like, floating, require_double_precision, require_x64, with_float_arrays

STATIONARITY = 1e-6


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
    value, certificate = certified_forward(problem, direction)
    return flat_unknowns(problem)[1](value[0]), certificate


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
    value, certificate = certified_adjoint(problem, v)
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


def _matrix(problem: Problem) -> tuple[Any, Certificate]:
    unknowns, parameters = flat_unknowns(problem)[0], ravel_pytree(floating(problem.p))[0]
    if parameters.size <= unknowns.size:
        columns, certificate = certified_forward(problem, jnp.eye(parameters.size))
        return columns.T, certificate
    return certified_adjoint(problem, jnp.eye(unknowns.size))


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
) -> Problem:
    require_x64()
    if not isinstance(p, tuple):
        raise ValueError(f"p must be the tuple of F's parameters, F(x, *p), got a {type(p).__name__}: write (p,).")
    x, p = with_float_arrays(x), with_float_arrays(p)
    require_double_precision(x)
    solver = chosen_solver(linear_solver, F, x)
    traced = is_traced((x, p, direction))
    return Problem(F, x, p, solver, null_space, stationarity, at_any_point, traced)


def _as_tree(matrix: np.ndarray | Array, problem: Problem) -> PyTree:
    """Return the (n, m) matrix as a pytree like x of tuples like p."""
    _, unravel = ravel_pytree(floating(problem.p))
    rows = jax.vmap(unravel)(jnp.asarray(matrix))
    leaves, structure = jax.tree.flatten(floating(problem.x))
    ends = np.cumsum([leaf.size for leaf in leaves])

    def block(leaf: Array, end: int) -> PyTree:
        part = slice(end - leaf.size, end)
        return jax.tree.map(lambda row: row[part].reshape(leaf.shape + row.shape[1:]), rows)

    return jax.tree.unflatten(structure, [block(leaf, int(end)) for leaf, end in zip(leaves, ends, strict=True)])
