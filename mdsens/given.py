"""Values as people give them: made arrays of 64 bits, or refused in one sentence."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

_SHORT = tuple(np.dtype(kind) for kind in (np.float16, np.float32, jnp.bfloat16))
_SHOWN = 80  # characters of a value in a message


def is_concrete(*arrays: object) -> bool:
    """Return whether none of the arrays is a JAX tracer, so that their values can be checked on the host."""
    return not any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(arrays))


def float64_array(values: object, what: str) -> Float[Array, "*k"]:
    """Return numbers as a float64 JAX array; integers are converted.

    Args:
        values: A number, or a list or an array of them.
        what: What they are, to begin a sentence with, such as "box matrix".

    Raises:
        ValueError: When they are not real numbers, or of fewer than 64 bits, whose digits are lost already.
    """
    listed = jax.tree.leaves(values) if isinstance(values, list | tuple) else [values]
    if any(isinstance(leaf, jax.core.Tracer) for leaf in listed):
        return jnp.asarray(values, dtype=float)
    try:
        array = values if isinstance(values, jax.Array) else np.asarray(values)
    except ValueError as error:
        raise ValueError(f"{what} is {shown(values)}; its rows must be of one length, of real numbers.") from error
    known = (*(leaf for leaf in listed if hasattr(leaf, "dtype")), array)
    short = next((kind for leaf in known if (kind := np.dtype(leaf.dtype)) in _SHORT), None)
    if short is not None:
        raise ValueError(
            f"{what} = {shown(values)} has {short} and lost digits: make it a float64 array "
            "(jnp.asarray(value, dtype=float))."
        )
    if np.dtype(array.dtype).kind not in "fiu":
        raise ValueError(f"{what} is {shown(values)}; it must be of real numbers: float64, or integers.")
    return jnp.asarray(array, dtype=float)


def integer_array(values: object, what: str) -> Int[Array, "*m"]:
    """Return whole numbers as a JAX array.

    Args:
        values: A list or an array of them.
        what: What they are, to begin a sentence with, such as "species".

    Raises:
        ValueError: When they are not of an integer type.
    """
    if not is_concrete(values):
        return jnp.asarray(values, dtype=int)
    try:
        array = values if isinstance(values, jax.Array) else np.asarray(values)
    except ValueError as error:
        raise ValueError(f"{what} is {shown(values)}; its rows must be of one length, of integers.") from error
    if np.dtype(array.dtype).kind not in "iu":
        raise ValueError(f"{what} is {shown(values)} ({array.dtype}); it is numbered by integers, from 0.")
    return jnp.asarray(array, dtype=int)


def is_number(value: object) -> bool:
    """Return whether a value is one real number and no truth value."""
    if isinstance(value, np.ndarray | jax.Array):
        return value.ndim == 0 and np.dtype(value.dtype).kind in "fiu"
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)


def shown(value: object) -> str:
    """Return a value in a few characters and one line, for messages."""
    text = " ".join(repr(value).split())
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 4]} ..."
