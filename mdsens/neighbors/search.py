"""Pairs searched on the host, with SciPy's k-d tree of particles and of the images around their cell."""

from __future__ import annotations

import itertools
import math

import jax.numpy as jnp
import numpy as np
from scipy.spatial import KDTree

from mdsens.errors import UserError
from mdsens.neighbors.pairs import PairList, ordered, padded_pairs, standard_capacity
from mdsens.types import Box, PeriodicBox, Position


def neighbor_pairs(position: Position | np.ndarray, box: Box, reach: float, *, capacity: int = 0) -> PairList:
    """Return every pair, of particles and of images, closer than ``reach``.

    Args:
        position: Real coordinates, shape (n, d).
        box: The space.
        reach: Largest distance of a listed pair, units of length, > 0.
        capacity: Number of entries to pad to. A list that does not fit is allocated anew with at least a twentieth
            to spare, in a few standard sizes, so that lists never overflow silently and compiled code is mostly reused.

    Returns:
        The pair list, in lexicographic order.
    """
    i, j, shift = _search(np.asarray(position), box, reach)
    n = len(position)
    if len(i) > capacity:
        capacity = math.ceil(standard_capacity(1.05 * len(i) / n) * n)
    return padded_pairs(i, j, shift, capacity)


def every_pair(position: Position, box: Box, layers: int = 0) -> PairList:
    """Return all n (n - 1)/2 pairs with their nearest images, inside compiled code too.

    Args:
        position: Real coordinates, shape (n, d).
        box: The space.
        layers: How many images on either side of the nearest one are listed besides, along every axis, and then those
            of a particle with itself; ``layers_within`` says how many a range needs.
    """
    n, d = position.shape
    periodic = box.periodic if isinstance(box, PeriodicBox) else (False,) * d
    around = list(itertools.product(*(range(-layers, layers + 1) if repeats else range(1) for repeats in periodic)))
    forward = [k for k in around if k > (0,) * d]
    low, high = np.triu_indices(n, k=1)
    i = np.concatenate([np.tile(low, len(around)), np.tile(np.arange(n), len(forward))])
    j = np.concatenate([np.tile(high, len(around)), np.tile(np.arange(n), len(forward))])
    more = np.concatenate([np.repeat(around, len(low), axis=0), np.repeat(forward, n, axis=0).reshape(-1, d)]).T
    apart = tuple(x[i] - x[j] for x in position.T)
    shift = jnp.stack(box.images(apart)).astype(jnp.int32) + more.astype(np.int32)
    return PairList(i.astype(np.int32), j.astype(np.int32), np.ones(len(i), bool), shift)


def layers_within(box: Box, reach: float) -> int:
    """Return the layers of images that ``every_pair`` needs to hold all pairs closer than the reach."""
    return max(0, math.ceil(reach / smallest_height(box) + 0.5) - 1) if isinstance(box, PeriodicBox) else 0


def smallest_height(box: PeriodicBox) -> float:
    """Return the smallest distance between opposite faces of the box that meet, units of length."""
    return float(heights(np.asarray(box.matrix))[list(box.periodic)].min())


def heights(matrix: np.ndarray) -> np.ndarray:
    """Return the distances between opposite faces of a box, shape (d,), units of length."""
    return 1.0 / np.linalg.norm(np.linalg.inv(matrix), axis=1)


def check_range(box: Box, cutoff: float, who: str) -> None:
    """Refuse a periodic box in which a particle could interact with two images of another.

    Args:
        box: The box.
        cutoff: The interaction range, units of length.
        who: What sees nearest images only, for the message.

    Raises:
        UserError: When the smallest height of the box is below twice the cutoff; the message gives both.
    """
    if isinstance(box, PeriodicBox):
        smallest = smallest_height(box)
        if smallest < 2 * cutoff:
            raise UserError(
                f"{who} sees nearest images only, and the box is too small for that: its smallest height is "
                f"{smallest:.6g} but the interaction reaches {cutoff:.6g}; heights of at least {2 * cutoff:.6g} are "
                "needed: add particles or shorten the cutoff."
            )


def _search(position: np.ndarray, box: Box, reach: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the pairs within reach in lexicographic order: first, second particle, shift of shape (d, m)."""
    d = box.dimension
    if not isinstance(box, PeriodicBox):
        i, j = KDTree(position).query_pairs(reach, output_type="ndarray").T
        return ordered(i, j, np.zeros((d, len(i)), int))
    matrix = np.asarray(box.matrix)
    fractional = position @ np.linalg.inv(matrix).T
    outside = np.floor(fractional) * np.array(box.periodic)
    inside = (fractional - outside) @ matrix.T
    owner, count = _images_near(fractional - outside, reach / heights(matrix), box.periodic)
    images = inside[owner] + count @ matrix.T
    found = KDTree(inside).sparse_distance_matrix(KDTree(images), reach, output_type="ndarray")
    i, image = found["i"], found["j"]
    j, counted = owner[image], count[image]
    first = np.take_along_axis(counted, np.argmax(counted != 0, axis=1)[:, None], axis=1)[:, 0]
    once = (found["v"] < reach) & ((i < j) | ((i == j) & (first > 0)))
    i, j, counted = i[once], j[once], counted[once]
    return ordered(i, j, (outside[i] - outside[j] + counted).astype(int).T)


def _images_near(
    fractional: np.ndarray, margin: np.ndarray, periodic: tuple[bool, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Return who has an image in the cell or within a margin around it, shape (g,), and its counts, shape (g, d)."""
    owner, count = np.arange(len(fractional)), np.zeros(fractional.shape, int)
    for axis in np.flatnonzero(periodic):
        wide = margin[axis]
        layers = math.ceil(wide)
        shifts = np.arange(-layers, layers + 1)
        place = fractional[owner, axis][:, None] + shifts
        kept, shift = np.nonzero((place > -wide) & (place < 1 + wide))
        owner, count = owner[kept], count[kept]
        count[:, axis] = shifts[shift]
    return owner, count
