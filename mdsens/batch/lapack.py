"""Factorisations that stay apart: one member after the other on a CPU, all at once on an accelerator.

A batched Cholesky or QR of JAX 0.10.1 on a CPU shares its members among XLA's threads and waits for them; two Python
threads that do so at the same time wait for each other for ever (so do two CPU devices, even one member at a time).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax.custom_batching import custom_vmap
from jaxtyping import Array


def _apart(function: Callable[[Array], Array]) -> Callable[[Array], Array]:
    """Return a function of one matrix whose ``vmap`` is a loop on a CPU."""
    single = custom_vmap(function)

    @single.def_vmap
    def batched(axis_size: int, is_batched: Sequence[bool], matrices: Array) -> tuple[Array, bool]:
        looped = lambda stack: jax.lax.map(function, stack)  # noqa: E731
        return jax.lax.platform_dependent(matrices, cpu=looped, default=jax.vmap(function)), True

    return single


def _lower(matrix: Array) -> Array:
    return jax.lax.linalg.cholesky(matrix, symmetrize_input=False)


def _orthonormal(columns: Array) -> Array:
    return jnp.linalg.qr(columns)[0]


cholesky_factor = _apart(_lower)  # of one matrix; NaN where it is not positive definite
orthonormal = _apart(_orthonormal)  # columns spanning the same space
