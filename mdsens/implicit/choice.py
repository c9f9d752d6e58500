"""Which linear solver a condition gets when nobody names one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import lineax as lx
from jaxtyping import PyTree

from mdsens.errors import UserError
from mdsens.implicit.dense import DenseLU
from mdsens.implicit.krylov import Iterative, Minres
from mdsens.implicit.linear import LinearSolver
from mdsens.implicit.trees import floating

LARGEST_DENSE = 3000  # unknowns: a dense factor of 70 MB and about a second


def chosen_solver(linear_solver: LinearSolver | None, F: Callable[..., Any], x: PyTree) -> LinearSolver:
    """Return the solver that was named, or one chosen by structure and size.

    Up to 3000 unknowns LU, which assumes nothing; beyond, MINRES for a condition that says it is `symmetric` (see
    `mdsens.implicit.conditions`) and GMRES otherwise. Nothing is assumed positive definite: whoever knows a minimum
    names `DenseCholesky` or CG, and whoever has the sparse matrix names `SparseDirect`.

    Raises:
        UserError: When what was named is no `LinearSolver`.
    """
    if isinstance(linear_solver, LinearSolver):
        return linear_solver
    if linear_solver is not None:
        raise UserError(
            f"linear_solver = {linear_solver!r} must be a LinearSolver of mdsens.implicit, such as DenseLU(): give one "
            "of lineax's as Iterative(...)."
        )
    size = sum(leaf.size for leaf in jax.tree.leaves(floating(x)))
    if size <= LARGEST_DENSE:
        return DenseLU()
    return Minres() if getattr(F, "symmetric", False) else Iterative(lx.GMRES(rtol=1e-10, atol=1e-10))
