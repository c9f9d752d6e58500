"""Dense work on members: one after the other on a CPU, all at once on an accelerator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
from jaxtyping import Array, Float


def one_by_one(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function of stacked members that takes them one at a time on a CPU.

    One member's matrices stay in a core's cache, and its loops stop at its own end. Moreover JAX's LAPACK calls on a
    CPU hand the members of a batch to XLA's pool of threads and wait: two devices (or two Python threads) that do so
    at the same time hold all threads of the pool and wait for each other for ever. A batch of one stays apart.
    """

    def looped(*stacks: Any) -> Any:
        one = lambda members: function(*jax.tree.map(lambda leaf: leaf[None], members))  # noqa: E731
        return jax.tree.map(lambda leaf: leaf[:, 0], jax.lax.map(one, stacks))

    def chosen(*stacks: Any) -> Any:
        return jax.lax.platform_dependent(*stacks, cpu=looped, default=function)

    return chosen


def cholesky_factor(matrix: Float[Array, "m m"]) -> Float[Array, "m m"]:
    """Return the lower factor of one matrix; NaN where it is not positive definite."""
    return jax.lax.linalg.cholesky(matrix, symmetrize_input=False)


def cholesky_solve(lower: Float[Array, "m m"], columns: Float[Array, "m k"]) -> Float[Array, "m k"]:
    """Return the inverse of a factored matrix times columns."""
    half = jax.lax.linalg.triangular_solve(lower, columns, left_side=True, lower=True)
    return jax.lax.linalg.triangular_solve(lower, half, left_side=True, lower=True, transpose_a=True)
