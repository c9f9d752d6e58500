"""The implicit function theorem as optimistix's ``adjoint=``; the only file that imports optimistix."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import equinox.internal as eqxi
import jax
import lineax as lx
from jaxtyping import PyTree

from mdsens.errors import UserError
from mdsens.implicit.linear import LinearSolver
from mdsens.implicit.null_space import NullSpace
from mdsens.implicit.root import root

try:
    from optimistix import AbstractAdjoint
except ImportError:
    raise UserError("mdsens.implicit.Adjoint is for optimistix, which is missing: pip install optimistix.") from None

_SYMMETRIC = {lx.symmetric_tag, lx.positive_semidefinite_tag, lx.negative_semidefinite_tag}


class Adjoint(AbstractAdjoint):
    r"""Derivatives of what optimistix finds, by :math:`dx = -A^{+} F_p\,dp` with our linear solvers and their checks.

    ``optimistix.root_find(F, solver, x0, p, adjoint=Adjoint(DenseCholesky()))``; likewise ``minimise``,
    ``least_squares`` and ``fixed_point``, whose conditions optimistix knows: the gradient for the former two, T(x) - x
    for the latter (negative definite where T is a gradient step: `DenseCholesky` refuses it).

    Attributes:
        linear_solver: As for `mdsens.implicit.root`. None: chosen by size, and by optimistix's ``tags``, of which those
            that say that A is symmetric count.
        null_space: Zero modes of A and of A^T and frozen components of x, or a function of x that returns them.

    Notes:
        optimistix compiles its own calls. So what is refused is a NaN derivative, also where the caller is not
        compiled; `mdsens.implicit.jvp` at the solution names the cause.
    """

    linear_solver: LinearSolver | None = None
    null_space: NullSpace | Callable[[PyTree], NullSpace] | None = None

    def apply(
        self,
        primal_fn: Callable[[Any], tuple[PyTree, PyTree]],
        rewrite_fn: Callable[[PyTree, PyTree, Any], PyTree],
        inputs: Any,
        tags: frozenset[object],
    ) -> Any:
        """Run optimistix's loop, differentiable by the condition it states."""

        def solver(_: None, given: Any, space: Any) -> tuple[PyTree, PyTree]:
            del space
            return primal_fn((*given, functools.partial(eqxi.while_loop, kind="lax")))

        differentiable = root(
            _Rewritten(rewrite_fn, symmetric=not _SYMMETRIC.isdisjoint(tags)),
            linear_solver=self.linear_solver,
            null_space=None if self.null_space is None else _given_space,
            has_aux=True,
        )(solver)
        solution, rest = differentiable(None, inputs, self.null_space)  # its modes are traced, so they are an argument
        return solution, jax.tree.map(eqxi.nondifferentiable_backward, rest)


def _given_space(x: PyTree, inputs: Any, space: NullSpace | Callable[[PyTree], NullSpace]) -> NullSpace:
    del inputs
    return space if isinstance(space, NullSpace) else space(x)


@dataclasses.dataclass(frozen=True)
class _Rewritten:
    """optimistix's condition, which looks at the solution and the inputs alone."""

    rewrite_fn: Callable[[PyTree, PyTree, Any], PyTree]
    symmetric: bool

    def __call__(self, x: PyTree, inputs: Any, space: Any) -> PyTree:
        del space
        return self.rewrite_fn(x, None, inputs)
