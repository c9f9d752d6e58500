r"""What a list of pairs is: two particles and an integer image shift, padded to a fixed capacity.

The vector of a pair (i, j, S) is :math:`x_i - x_j - B S`: several images of one pair, and a particle with an image of
its own, are entries like any other, in cells of any size and skew. Shifts are held under differentiation: a derivative
in the box moves the images, one in the strain moves them with the particles.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from mdsens.types import Box, Components, Configuration, PeriodicBox

SMALL = 300  # particles: up to here all candidate pairs are tested inside compiled code


class PairList(NamedTuple):
    """Unordered pairs (i, j, S), each once: of (i, j, S) and (j, i, -S) one. Padding has i = j = 0 and S = 0.

    Attributes:
        i: First particle of every pair, shape (m,).
        j: Second particle, same shape.
        mask: True for real pairs, False for padding, same shape.
        shift: Image counts S of the second particle, shape (d, m): component by component, as kernels read them.

    Lists made on the host hold NumPy arrays, which compiled functions take faster than a copy to the device would be;
    a tuple, because it is made anew so often that a module's construction would be felt.
    """

    i: Int[Array | np.ndarray, " m"]
    j: Int[Array | np.ndarray, " m"]
    mask: Bool[Array | np.ndarray, " m"]
    shift: Int[Array | np.ndarray, "d m"]


def no_pairs(dimension: int) -> PairList:
    """Return a list of nothing but one entry of padding: for energies that list no pairs, and before pairs are."""
    nothing = np.zeros(0, int)
    return padded_pairs(nothing, nothing, np.zeros((dimension, 0), int), 1)


def numbered_pairs(i: Int[Array | np.ndarray, " m"], j: Int[Array | np.ndarray, " m"], dimension: int) -> PairList:
    """Return pairs that are known by their particles alone: for parameters, which do not depend on the image."""
    return PairList(i, j, np.ones(len(i), bool), np.zeros((dimension, len(i)), np.int32))


def padded_pairs(i: np.ndarray, j: np.ndarray, shift: np.ndarray, capacity: int) -> PairList:
    """Return a pair list padded to ``capacity`` entries (at least one, so that shapes are never empty)."""
    m, capacity = len(i), max(capacity, 1)
    padded = np.zeros((2 + len(shift), capacity), np.int32)
    padded[0, :m], padded[1, :m], padded[2:, :m] = i, j, shift
    mask = np.zeros(capacity, bool)
    mask[:m] = True
    return PairList(padded[0], padded[1], mask, padded[2:])


def in_order(pairs: PairList) -> PairList:
    """Return a list with i <= j in lexicographic order of (i, j, S): two lists of the same pairs are then equal."""
    mask = np.asarray(pairs.mask)
    i, j, shift = (np.asarray(index)[..., mask] for index in (pairs.i, pairs.j, pairs.shift))
    return padded_pairs(*ordered(i, j, shift), len(mask))


def ordered(i: np.ndarray, j: np.ndarray, shift: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return pairs with i <= j in lexicographic order; of a particle with its own image the first count is positive."""
    i, j, shift = i.astype(np.int64), j.astype(np.int64), np.asarray(shift)
    own = i == j
    if own.any():
        first = shift[np.argmax(shift[:, own] != 0, axis=0), np.flatnonzero(own)]
        turned = i > j
        turned[own] = first < 0
    else:
        turned = i > j
    low, high, shift = np.where(turned, j, i), np.where(turned, i, j), np.where(turned, -shift, shift)
    key = low * (int(high.max(initial=0)) + 1) + high
    order = np.argsort(key, kind="stable")
    key = key[order]
    if (key[1:] == key[:-1]).any():  # several images of one pair
        order = np.lexsort((*shift[::-1], high, low))
    return low[order], high[order], shift[:, order]


def standard_capacity(least: float) -> float:
    """Return the smallest of 1, 1.25, ..., 2, 2.5, ..., 4, 5, 6, 7, 8, 10, ... (four steps per octave) >= ``least``."""
    unit = 2.0 ** (math.floor(math.log2(max(least, 1.0))) - 2)
    return math.ceil(max(least, 1.0) / unit) * unit


def pair_shifts(box: Box, pairs: PairList) -> Components:
    """Return the components of B S of every pair, each of shape (m,); zeros in free space."""
    if not isinstance(box, PeriodicBox):
        return (jnp.zeros(len(pairs.i)),) * box.dimension
    axes = range(box.dimension)
    counts = [jnp.asarray(pairs.shift[b]).astype(float) for b in axes]
    return tuple(sum((box.matrix[a, b] * counts[b] for b in axes), jnp.zeros(())) for a in axes)


def pair_components(configuration: Configuration, pairs: PairList) -> Components:
    """Return the d components of every pair's vector x_i - x_j - B S, each (m,); padding gets (1, 0, ..)."""
    apart = [
        x[pairs.i] - x[pairs.j] - s
        for x, s in zip(configuration.position.T, pair_shifts(configuration.box, pairs), strict=True)
    ]
    return tuple(jnp.where(pairs.mask, c, 1.0 if axis == 0 else 0.0) for axis, c in enumerate(apart))


def pair_distances(configuration: Configuration, pairs: PairList) -> Float[Array, " m"]:
    """Return the length of every pair's vector, shape (m,); padding gets 1."""
    return jnp.sqrt(sum(c * c for c in pair_components(configuration, pairs)))


def on_device(pairs: PairList) -> PairList:
    """Return the list as JAX arrays: where many compiled calls follow, each would copy a list of NumPy arrays."""
    return jax.tree.map(jnp.asarray, pairs)
