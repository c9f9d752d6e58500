"""The implicit function theorem as optimistix's ``adjoint=``; the only file that imports optimistix."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import equinox.internal as eqxi
import jax
from jaxtyping import PyTree

from mdsens.errors import UserError
from mdsens.implicit.linear import LinearSolver
from mdsens.implicit.root import root

try:
    from optimistix import AbstractAdjoint
except ImportError:
    raise UserError("mdsens.implicit.Adjoint is for optimistix, which is missing: pip install optimistix.") from None


class Adjoint(AbstractAdjoint):
    r"""Derivatives of what optimistix finds, by :math:`dx = -A^{+} F_p\,dp` with our linear solvers and their checks.

    ``optimistix.root_find(F, solver, x0, p, adjoint=Adjoint(DenseCholesky()))``; likewise ``minimise``,
    ``least_squares`` and ``fixed_point``, whose conditions optimistix knows.

    Attributes:
        linear_solver: As for `mdsens.implicit.root`.

    Raises:
        NumericalError: When differentiated outside jit and a linear solve fails, with the cause; inside jit the
            derivative is NaN.
    """

    linear_solver: LinearSolver | None = None

    def apply(
        self,
        primal_fn: Callable[[Any], tuple[PyTree, PyTree]],
        rewrite_fn: Callable[[PyTree, PyTree, Any], PyTree],
        inputs: Any,
        tags: frozenset[object],
    ) -> Any:
        """Run optimistix's loop, differentiable by the condition it states."""

        def solver(_: None, given: Any) -> tuple[PyTree, PyTree]:
            return primal_fn((*given, functools.partial(eqxi.while_loop, kind="lax")))

        differentiable = root(_Rewritten(rewrite_fn), linear_solver=self.linear_solver, has_aux=True)(solver)
        solution, rest = differentiable(None, inputs)
        return solution, jax.tree.map(eqxi.nondifferentiable_backward, rest)


@dataclasses.dataclass(frozen=True)
class _Rewritten:
    """optimistix's condition, which looks at the solution and the inputs alone."""

    rewrite_fn: Callable[[PyTree, PyTree, Any], PyTree]

    def __call__(self, x: PyTree, inputs: Any) -> PyTree:
        return self.rewrite_fn(x, None, inputs)
