"""Pairs listed inside compiled code by cells, and the order of particles that follows from them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from mdsens.neighbors.pairs import SMALL, PairList, numbered_pairs, pair_shifts, standard_capacity
from mdsens.neighbors.search import heights
from mdsens.types import Box, PeriodicBox, Position, Scalar


class Grid(NamedTuple):
    """How candidate pairs are found inside compiled code; static, so that it is part of what is compiled.

    Attributes:
        cells: Number of cells per axis; empty where every pair is a candidate, with its nearest image.
        layers: How many cells on either side may hold a partner, per axis.
        n_candidates: Room for candidate pairs; none where no pairs are listed.
    """

    cells: tuple[int, ...]
    layers: tuple[int, ...]
    n_candidates: int

    @property
    def sees_nearest(self) -> bool:
        """Whether a listed pair's image is always the nearest one: no cell is met twice on the way around the box."""
        return all(m >= 2 * w + 1 for m, w in zip(self.cells, self.layers, strict=True))


def grid_for(position: Position | np.ndarray, box: Box, reach: float) -> Grid:
    """Choose cells, with room for a twentieth more candidate pairs than there are now.

    Cells are not smaller than ``reach`` where three or more of them fit along an axis, else about half as large; a box
    smaller than that is one cell, of which several images are looked at. A free system has no cells of its own: space
    is folded onto a torus of about one cell per two particles, which brings far particles together as candidates and
    loses none; so it is along an axis that is not periodic.

    Args:
        position: Real coordinates, shape (n, d).
        box: The space.
        reach: Largest distance of a listed pair, units of length, > 0; infinite where pairs are not listed.
    """
    n, d = position.shape
    if not np.isfinite(reach):
        return Grid((), (), 0)
    if isinstance(box, PeriodicBox):
        height = heights(np.asarray(box.matrix))
        # more cells than particles would only cost memory
        most = 2 * n ** (1 / d) + 3
        folded = _folded_cells(n, d)
        cells = tuple(
            max(1, int(min(h // reach if h >= 3 * reach else 2 * h // reach, most))) if repeats else folded
            for h, repeats in zip(height, box.periodic, strict=True)
        )
        layers = tuple(
            math.ceil(reach * m / h) if repeats else 1
            for m, h, repeats in zip(cells, height, box.periodic, strict=True)
        )
        wide = bool((height[list(box.periodic)] >= 2 * reach).all())
    else:
        cells, layers, wide = (_folded_cells(n, d),) * d, (1,) * d, True
    if n <= SMALL and wide:
        return Grid((), (), max(1, n * (n - 1) // 2))
    coordinates = _cell_coordinates(np.asarray(position), box, cells, reach)[0]
    counts = np.bincount(np.ravel_multi_index(tuple(coordinates), cells), minlength=math.prod(cells)).reshape(cells)
    n_found = np.sum(counts * (counts - 1) // 2) + sum(
        np.sum(counts * np.roll(counts, offset, range(d))) for offset in _half_stencil(layers)
    )
    return Grid(cells, layers, math.ceil(standard_capacity(1.05 * n_found / n) * n))


def _folded_cells(n: int, d: int) -> int:
    """Return the cells along an axis that is folded onto a circle: about one cell per two particles."""
    return max(3, math.ceil((n / 2) ** (1 / d)))


def compiled_pairs(
    position: Position,
    box: Box,
    reach: Scalar | float,
    within: Callable[[PairList], Float[Array, " c"]],
    *,
    grid: Grid,
    capacity: int,
) -> tuple[PairList, Int[Array, ""], Bool[Array, ""]]:
    """List pairs inside compiled code, without leaving the device.

    Args:
        position: Real coordinates, shape (n, d).
        box: The space.
        reach: Largest of all distances ``within``, units of length.
        within: Largest distance at which each candidate pair is listed, units of length.
        grid: The cells, as ``grid_for`` chose them for this box and reach.
        capacity: Number of entries of the list, static.

    Returns:
        The list, neighbours in space close together; how many pairs there are, to be compared with the capacity; and
        whether the grid had no room for all candidates. A list that lacks pairs must not be used.
    """
    if grid.cells:
        candidates, lacking = _cell_candidates(position, box, grid, reach)
    else:
        candidates, lacking = _all_candidates(len(position)), jnp.zeros((), bool)
    coordinates = tuple(position.T)
    separation = tuple(x[candidates.i] - x[candidates.j] for x in coordinates)
    numbered = numbered_pairs(candidates.i, candidates.j, len(coordinates))
    if candidates.shift is None:
        separation = box.nearest(separation)
    else:
        shifts = pair_shifts(box, numbered._replace(shift=jnp.stack(candidates.shift)))
        separation = tuple(a - s for a, s in zip(separation, shifts, strict=True))
    kept = (sum(c * c for c in separation) < within(numbered) ** 2) & candidates.mask
    counts = _running_sum(kept.astype(jnp.int32))
    number = jnp.arange(len(counts), dtype=jnp.int32)
    chosen = jnp.zeros(capacity, jnp.int32).at[jnp.where(kept, counts - 1, capacity)].set(number, mode="drop")
    mask = jnp.arange(capacity) < counts[-1]
    i, j = (jnp.where(mask, jnp.asarray(index)[chosen], 0) for index in (candidates.i, candidates.j))
    if candidates.shift is None:
        counted = box.images(tuple(x[i] - x[j] for x in coordinates))
    else:
        counted = tuple(jnp.where(mask, s[chosen], 0) for s in candidates.shift)
    return PairList(i, j, mask, jnp.stack(counted).astype(jnp.int32)), counts[-1], lacking


def spatial_order(position: Position | np.ndarray, box: Box, reach: float) -> np.ndarray:
    """Return an order of the particles that keeps neighbours in space together in memory, shape (n,).

    Args:
        position: Real coordinates, shape (n, d).
        box: The space.
        reach: Width of the cells by which they are sorted, units of length.
    """
    cells = grid_for(position, box, reach).cells
    if not cells:
        return np.arange(len(position))
    coordinates = _cell_coordinates(np.asarray(position), box, cells, reach)[0]
    return np.argsort(np.ravel_multi_index(tuple(coordinates[::-1]), cells[::-1]), kind="stable")


class _Candidates(NamedTuple):
    """Pairs that may be close; ``shift`` is None where the nearest image is meant."""

    i: Int[Array | np.ndarray, " c"]
    j: Int[Array | np.ndarray, " c"]
    mask: Bool[Array | np.ndarray, " c"]
    shift: tuple[Int[Array, " c"], ...] | None


def _all_candidates(n: int) -> _Candidates:
    low, high = (np.append(index, 0) if n == 1 else index for index in np.triu_indices(n, k=1))
    low, high = low.astype(np.int32), high.astype(np.int32)
    return _Candidates(low, high, np.full(len(low), n > 1), None)


def _cell_coordinates(
    position: Position | np.ndarray, box: Box, cells: tuple[int, ...], reach: Scalar | float
) -> tuple[list[Any], list[Any]]:
    """Return every particle's cell and its box along every axis, in NumPy where the positions are."""
    xp: Any = np if isinstance(position, np.ndarray) else jnp
    if isinstance(box, PeriodicBox):
        inverse = np.linalg.inv(np.asarray(box.matrix)) if xp is np else box.inverse
        fractional = (position @ inverse.T).T
        boxes = [
            xp.floor(x) if repeats else xp.zeros_like(x) for x, repeats in zip(fractional, box.periodic, strict=True)
        ]
        height = 1.0 / xp.sqrt(xp.sum(inverse**2, axis=1))
        inside = [
            xp.minimum(((x - b) * m).astype(xp.int32), m - 1)
            if repeats
            else xp.mod(xp.floor(x * h / reach), m).astype(xp.int32)
            for x, b, m, h, repeats in zip(fractional, boxes, cells, height, box.periodic, strict=True)
        ]
        return inside, [b.astype(xp.int32) for b in boxes]
    folded = [xp.mod(xp.floor(x / reach), m).astype(xp.int32) for x, m in zip(position.T, cells, strict=True)]
    return folded, [xp.zeros_like(c) for c in folded]


def _half_stencil(layers: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Return one of every pair of opposite neighbouring cells: 4 in 2D, 13 in 3D for one layer."""
    every = itertools.product(*(range(-w, w + 1) for w in layers))
    return [offset for offset in every if offset > (0,) * len(layers)]


def _cell_candidates(
    position: Position, box: Box, grid: Grid, reach: Scalar | float
) -> tuple[_Candidates, Bool[Array, ""]]:
    """Return all pairs of particles in the same or in neighbouring cells, and whether there was no room for them."""
    n, d = position.shape
    cells, (here, boxes) = grid.cells, _cell_coordinates(position, box, grid.cells, reach)
    strides = [math.prod(cells[:axis]) for axis in range(d)]  # the first axis runs fastest
    label = sum(c.astype(jnp.int64) * stride for c, stride in zip(here, strides, strict=True))
    packed = jnp.sort(label * n + jnp.arange(n))  # one key: five times faster than an argsort
    order, label = (packed % n).astype(jnp.int32), (packed // n).astype(jnp.int32)
    starts = jnp.searchsorted(label, jnp.arange(math.prod(cells) + 1, dtype=jnp.int32)).astype(jnp.int32)
    here = [(label // stride) % m for stride, m in zip(strides, cells, strict=True)]
    stencil = jnp.asarray([(0,) * d, *_half_stencil(grid.layers)], jnp.int32)
    n_ranges = len(stencil)
    beside = [c[:, None] + stencil[:, axis] for axis, c in enumerate(here)]  # cells of the box and of its images
    there = sum(c % m * stride for c, m, stride in zip(beside, cells, strides, strict=True))
    # particle p has a range of partners for every cell, of its own the later ones; candidate k belongs to the range in
    # which it falls
    firsts = starts[there].at[:, 0].set(jnp.arange(1, n + 1, dtype=jnp.int32)).ravel()
    lengths = starts[there + 1].ravel() - firsts
    ends = _running_sum(lengths)
    steps = jnp.zeros(grid.n_candidates, jnp.int32).at[ends[:-1]].add(1, mode="drop")
    owner = _running_sum(steps)
    k = jnp.arange(grid.n_candidates, dtype=jnp.int32)
    mask = k < ends[-1]
    p = jnp.where(mask, owner // n_ranges, 0)
    q = jnp.where(mask, k - (ends - lengths - firsts)[owner], 0)
    lacking = ends[-1] > grid.n_candidates
    if grid.sees_nearest or not isinstance(box, PeriodicBox):
        return _Candidates(order[p], order[q], mask, None), lacking
    # a partner in a cell beyond the border is an image; both particles may lie outside the box themselves
    which = jnp.where(mask, owner % n_ranges, 0)
    shift = tuple(
        b[order[p]] - b[order[q]] + (c[p] + stencil[which, axis]) // m * box.periodic[axis]
        for axis, (b, c, m) in enumerate(zip(boxes, here, cells, strict=True))
    )
    return _Candidates(order[p], order[q], mask, shift), lacking


def _running_sum(values: Int[Array, " m"]) -> Int[Array, " m"]:
    """Return the cumulative sum: on a CPU rows are added as vectors, three times faster than ``jnp.cumsum``."""

    def by_rows(values: Int[Array, " m"]) -> Int[Array, " m"]:
        height = max(1, min(128, len(values) // 512))
        columns = jnp.pad(values, (0, -len(values) % height)).reshape(-1, height).T
        totals, sums = jax.lax.scan(lambda c, row: (c + row,) * 2, jnp.zeros_like(columns[0]), columns)
        return (sums + (jnp.cumsum(totals) - totals)).T.ravel()[: len(values)]

    return jax.lax.platform_dependent(values, cpu=by_rows, default=jnp.cumsum)
