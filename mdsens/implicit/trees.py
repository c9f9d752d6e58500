"""Pytrees as the implicit function theorem sees them: floating-point arrays move, everything else stands still."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_derivatives import SymbolicZero
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree


class Split(NamedTuple):
    """A pytree taken apart: its array leaves, and all that is needed to put it together again."""

    leaves: list[Array]
    structure: Any
    static: PyTree

    def join(self, leaves: list[Any]) -> PyTree:
        """Return the pytree with `leaves` in place of its own array leaves."""
        return eqx.combine(jax.tree.unflatten(self.structure, leaves), self.static)


def split(tree: PyTree) -> Split:
    """Take `tree` apart into array leaves (of any dtype) and static rest (None, strings, callables, NumPy arrays)."""
    arrays, static = eqx.partition(tree, eqx.is_array)
    leaves, structure = jax.tree.flatten(arrays)
    return Split(leaves, structure, static)


def with_float_arrays(tree: PyTree) -> PyTree:
    """Return `tree` with every real number or floating-point NumPy leaf made a JAX array."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf) if _is_host_float(leaf) else leaf, tree)


def floating(tree: PyTree) -> PyTree:
    """Return the part of `tree` that can move: its floating-point array leaves, None elsewhere."""
    return eqx.filter(tree, eqx.is_inexact_array)


def require_like(value: PyTree, x: PyTree, *, name: str) -> PyTree:
    """Return the floating part of `value` after checking that it is a pytree like the floating part of `x`.

    Args:
        value: What the function `name` returned.
        x: The state; only its structure, shapes and dtypes are used.
        name: How the error calls the function.

    Returns:
        The floating-point array leaves of `value`, None elsewhere.

    Raises:
        ValueError: If structure, shapes or dtypes differ; both are named.
    """
    found, expected = floating(with_float_arrays(value)), floating(x)
    if _signature(found) != _signature(expected):
        raise ValueError(
            f"{name} must return a pytree like x: same structure, same shapes, same dtypes. It returned "
            f"{eqx.tree_pformat(value)}, but x is {eqx.tree_pformat(x)}. Return one equation per unknown, in the "
            "container that holds the unknown (leaves of x that are not floating-point arrays may be anything)."
        )
    return found


def flat_like(direction: PyTree, like: PyTree, *, name: str) -> Float[Array, " _"]:
    """Return a direction in the space of the floating part of `like`, flat.

    Args:
        direction: A pytree like `like`, or like its floating part; None in place of what does not move.
        like: What moves along it.
        name: How the error calls the direction.

    Raises:
        ValueError: If their floating-point leaves differ in number or shape; both are named.
    """
    given, wanted = floating(_filled(with_float_arrays(direction), like)), floating(like)
    if [leaf.shape for leaf in jax.tree.leaves(given)] != [leaf.shape for leaf in jax.tree.leaves(wanted)]:
        raise ValueError(
            f"{name} must have one floating-point leaf for each of {eqx.tree_pformat(wanted)} (None for what does not "
            f"move), got {eqx.tree_pformat(direction)}. Integers stand still: a parameter is written 5.0, not 5."
        )
    return ravel_pytree(given)[0]


def _filled(direction: PyTree, like: PyTree) -> PyTree:
    """Return a direction with zeros in place of None, and floats in place of integers where `like` has floats."""

    def moving(number: Any, part: PyTree) -> PyTree:
        if number is None:
            return jax.tree.map(jnp.zeros_like, floating(part))
        real = eqx.is_array_like(number) and not jnp.iscomplexobj(number)
        return jnp.asarray(number, part.dtype) if real and eqx.is_inexact_array(part) else number

    try:
        return jax.tree.map(moving, direction, like, is_leaf=lambda leaf: leaf is None)
    except ValueError:  # of another structure, which may hold the same numbers
        return direction


def require_double_precision(x: PyTree) -> None:
    """Refuse to differentiate a state that is not made of real double-precision numbers.

    Raises:
        ValueError: If `x` has no floating-point leaf, or one that is not float64.
    """
    leaves = jax.tree.leaves(floating(x))
    if not leaves:
        raise ValueError(f"x = {eqx.tree_pformat(x)} has no floating-point array leaf: there is nothing to solve for.")
    for leaf in leaves:
        if leaf.dtype != jnp.float64:
            raise ValueError(
                f"x holds a {leaf.dtype} leaf of shape {leaf.shape}; every floating-point leaf of x must be float64. "
                "Make it with jnp.asarray(..., dtype=jnp.float64), a complex unknown as its real and imaginary part."
            )


def require_x64() -> None:
    """Refuse to work in single precision.

    Raises:
        RuntimeError: If JAX's x64 mode is off.
    """
    if jnp.result_type(float) != jnp.float64:
        raise RuntimeError(
            "mdsens.implicit needs double precision, but JAX's x64 mode is off and every array would be float32. "
            'Call jax.config.update("jax_enable_x64", True) before the first array is made.'
        )


def zero_tangent(primal: Array) -> SymbolicZero:
    """Return the tangent of something that does not move (float0 for integers)."""
    return SymbolicZero(jax.typeof(primal).to_tangent_aval())


def _is_host_float(leaf: Any) -> bool:
    host_types = float | complex | np.ndarray | np.generic
    return isinstance(leaf, host_types) and np.issubdtype(np.result_type(leaf), np.inexact)


def _signature(tree: PyTree) -> tuple[Any, list[Any]]:
    return jax.tree.structure(tree), [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(tree)]
