"""Array aliases, and what every module of ours needs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TypeVar

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, Float, Int

Module = TypeVar("Module", bound=eqx.Module)
Position = Float[Array, "n d"]
Species = Int[Array, " n"]
Scalar = Float[Array, ""]
LARGEST = 1e100  # of lengths and energies, and the inverse of the smallest: their products stay within float64
Components = tuple[Array, ...]  # d arrays, one per Cartesian component: kernels over them vectorise, (m, d) ones do not


def require_x64() -> None:
    """Refuse to run in single precision.

    Raises:
        RuntimeError: When JAX's 64-bit mode is off; the message names the switch.
    """
    if not jax.config.read("jax_enable_x64"):
        raise RuntimeError(
            "mdsens needs 64-bit floats: call jax.config.update('jax_enable_x64', True) before creating any array "
            "(or set JAX_ENABLE_X64=1)."
        )


def replaced(module: Module, changes: Mapping[str, object]) -> Module:
    """Return a copy of a module with some fields changed, unchecked: 30 times faster than ``eqx.tree_at``."""
    copy = object.__new__(type(module))
    for field in dataclasses.fields(module):
        value = changes[field.name] if field.name in changes else getattr(module, field.name)
        object.__setattr__(copy, field.name, value)
    return copy


def check_finite(position: np.ndarray) -> None:
    """Refuse coordinates that are not finite or too large."""
    allowed = (np.abs(position) <= LARGEST).all(axis=1)  # NaN is refused, too
    if not allowed.all():
        first = int(np.argmin(allowed))
        raise ValueError(
            f"position of particle {first} is {position[first]}; every coordinate must be finite and at most "
            f"{LARGEST:g}."
        )
