"""Lists of interacting pairs: all pairs or jax-md neighbour lists, one format for both.

A pair list holds every unordered pair once, padded to a fixed capacity so that compiled code is reused. This is the
only module that touches jax-md's neighbour lists.
"""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int
from scipy.spatial import KDTree

from mdsens.errors import NumericalError, UserError
from mdsens.types import Box, PeriodicBox, Position, Scalar

SMALL = 300  # particles: up to here all candidate pairs are tested inside compiled code


class PairList(NamedTuple):
    """Unordered pairs (i, j), each at most once, padded with masked entries i = j = 0.

    Attributes:
        i: First particle of every pair, shape (m,).
        j: Second particle, same shape.
        mask: True for real pairs, False for padding, same shape.

    Lists made on the host hold NumPy arrays, which compiled functions take faster than a copy to the device would be;
    a tuple, because it is made anew so often that a module's construction would be felt.
    """

    i: Int[Array | np.ndarray, " m"]
    j: Int[Array | np.ndarray, " m"]
    mask: Bool[Array | np.ndarray, " m"]


def all_pairs(n_particles: int) -> PairList:
    """Return the list of all n (n - 1)/2 pairs."""
    i, j = np.triu_indices(n_particles, k=1)
    return padded_pairs(i, j, len(i))


def padded_pairs(i: np.ndarray, j: np.ndarray, capacity: int) -> PairList:
    """Return a pair list padded to ``capacity`` entries (at least one, so that shapes are never empty)."""
    m, capacity = len(i), max(capacity, 1)
    padded = np.zeros((2, capacity), np.int32)
    padded[0, :m], padded[1, :m] = i, j
    mask = np.zeros(capacity, bool)
    mask[:m] = True
    return PairList(padded[0], padded[1], mask)


def neighbor_pairs(position: Position | np.ndarray, box: Box, reach: float, *, capacity: int = 0) -> PairList:
    """Return every pair of nearest images closer than ``reach``.

    The search runs on the host: SciPy's k-d tree for free and rectangular boxes (on a CPU 70 times faster than a list
    of jax-md's, which is compiled anew for every allocation), jax-md's cell list for the other parallelepipeds.

    Args:
        position: Real coordinates, shape (n, d).
        box: The space; when the reach exceeds half its smallest height, all pairs are returned (the nearest image still
            decides the distance).
        reach: Largest distance of a listed pair, units of length, > 0.
        capacity: Number of entries to pad to. A list that does not fit is allocated anew with at least a twentieth
            to spare, in a few standard sizes, so that lists never overflow silently and compiled code is mostly reused.

    Returns:
        The pair list.
    """
    pairs = _search(np.asarray(position), box, reach)
    n = len(position)
    if len(pairs) > capacity:
        capacity = min(math.ceil(standard_capacity(1.05 * len(pairs) / n) * n), max(1, n * (n - 1) // 2))
    return padded_pairs(pairs[:, 0], pairs[:, 1], capacity)


def in_order(pairs: PairList) -> PairList:
    """Return a list with i < j in lexicographic order, made on the host: two lists of the same pairs are then equal."""
    i, j = (np.asarray(index)[np.asarray(pairs.mask)] for index in (pairs.i, pairs.j))
    low, high = np.minimum(i, j), np.maximum(i, j)
    order = np.argsort(low.astype(np.int64) * (int(high.max(initial=0)) + 1) + high)
    return padded_pairs(low[order], high[order], len(pairs.mask))


class Grid(NamedTuple):
    """How candidate pairs are found inside compiled code; static, so that it is part of what is compiled.

    Attributes:
        cells: Number of cells per axis, each at least 3; empty where every pair is a candidate.
        n_candidates: Room for candidate pairs.
    """

    cells: tuple[int, ...]
    n_candidates: int


def grid_for(position: Position | np.ndarray, box: Box, reach: float) -> Grid:
    """Choose cells not smaller than ``reach``, with room for a twentieth more candidate pairs than there are now.

    A free system has no cells of its own: space is folded onto a torus of about one cell per two particles, which
    brings far particles together as candidates and loses none.

    Args:
        position: Real coordinates, shape (n, d).
        box: The space.
        reach: Largest distance of a listed pair, units of length, > 0.
    """
    n, d = position.shape
    if isinstance(box, PeriodicBox):
        heights = 1.0 / np.linalg.norm(np.linalg.inv(np.asarray(box.matrix)), axis=1)
        # more cells than particles would only cost memory
        cells = tuple(int(min(height // reach, 2 * n ** (1 / d) + 3)) for height in heights)
    else:
        cells = (max(3, math.ceil((n / 2) ** (1 / d))),) * d
    if n <= SMALL or min(cells) < 3:
        return Grid((), n * (n - 1) // 2)
    coordinates = _cell_coordinates(np.asarray(position), box, cells, reach)
    counts = np.bincount(np.ravel_multi_index(tuple(coordinates), cells), minlength=math.prod(cells)).reshape(cells)
    n_found = np.sum(counts * (counts - 1) // 2) + sum(
        np.sum(counts * np.roll(counts, offset, range(d))) for offset in _half_stencil(d)
    )
    return Grid(cells, math.ceil(standard_capacity(1.05 * n_found / n) * n))


def compiled_pairs(
    position: Position,
    box: Box,
    reach: Scalar | float,
    within: Callable[[PairList], Float[Array, " c"]],
    *,
    grid: Grid,
    capacity: int,
) -> tuple[PairList, Int[Array, ""], Bool[Array, ""]]:
    """List pairs inside compiled code, three times faster than a search on the host and without leaving the device.

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
        candidates, lacking = all_pairs(len(position)), jnp.zeros((), bool)
    separation = box.nearest(tuple(x[candidates.i] - x[candidates.j] for x in position.T))
    kept = (sum(c * c for c in separation) < within(candidates) ** 2) & candidates.mask
    counts = _running_sum(kept.astype(jnp.int32))
    number = jnp.arange(len(counts), dtype=jnp.int32)
    chosen = jnp.zeros(capacity, jnp.int32).at[jnp.where(kept, counts - 1, capacity)].set(number, mode="drop")
    mask = jnp.arange(capacity) < counts[-1]
    i, j = (jnp.where(mask, jnp.asarray(index)[chosen], 0) for index in (candidates.i, candidates.j))
    return PairList(i, j, mask), counts[-1], lacking


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
    coordinates = _cell_coordinates(np.asarray(position), box, cells, reach)
    return np.argsort(np.ravel_multi_index(tuple(coordinates[::-1]), cells[::-1]), kind="stable")


def _cell_coordinates(
    position: Position | np.ndarray, box: Box, cells: tuple[int, ...], reach: Scalar | float
) -> list[Any]:
    """Return the cell of every particle along every axis, in NumPy where the positions are."""
    xp: Any = np if isinstance(position, np.ndarray) else jnp
    if isinstance(box, PeriodicBox):
        inverse = np.linalg.inv(np.asarray(box.matrix)) if xp is np else box.inverse
        fractional = position @ inverse.T
        return [
            xp.minimum(((x - xp.floor(x)) * m).astype(xp.int32), m - 1)
            for x, m in zip(fractional.T, cells, strict=True)
        ]
    return [xp.mod(xp.floor(x / reach), m).astype(xp.int32) for x, m in zip(position.T, cells, strict=True)]


def _half_stencil(dimension: int) -> list[tuple[int, ...]]:
    """Return one of every pair of opposite neighbouring cells: 4 in 2D, 13 in 3D."""
    return [offset for offset in itertools.product((-1, 0, 1), repeat=dimension) if offset > (0,) * dimension]


def _cell_candidates(
    position: Position, box: Box, grid: Grid, reach: Scalar | float
) -> tuple[PairList, Bool[Array, ""]]:
    """Return all pairs of particles in the same or in neighbouring cells, and whether there was no room for them."""
    n, d = position.shape
    cells, here = grid.cells, _cell_coordinates(position, box, grid.cells, reach)
    strides = [math.prod(cells[:axis]) for axis in range(d)]  # the first axis runs fastest
    label = sum(c.astype(jnp.int64) * stride for c, stride in zip(here, strides, strict=True))
    packed = jnp.sort(label * n + jnp.arange(n))  # one key: five times faster than an argsort
    order, label = (packed % n).astype(jnp.int32), (packed // n).astype(jnp.int32)
    starts = jnp.searchsorted(label, jnp.arange(math.prod(cells) + 1, dtype=jnp.int32)).astype(jnp.int32)
    here = [(label // stride) % m for stride, m in zip(strides, cells, strict=True)]
    first, stop = [jnp.arange(1, n + 1, dtype=jnp.int32)], [starts[label + 1]]  # later ones of the own cell
    for offset in _half_stencil(d):
        there = sum((c + o) % m * stride for c, o, m, stride in zip(here, offset, cells, strides, strict=True))
        first.append(starts[there])
        stop.append(starts[there + 1])
    # particle p has a range of partners for every cell; candidate k belongs to the range in which it falls
    firsts = jnp.stack(first, axis=1).ravel()
    lengths = jnp.stack(stop, axis=1).ravel() - firsts
    ends = _running_sum(lengths)
    steps = jnp.zeros(grid.n_candidates, jnp.int32).at[ends[:-1]].add(1, mode="drop")
    owner = _running_sum(steps)
    k = jnp.arange(grid.n_candidates, dtype=jnp.int32)
    mask = k < ends[-1]
    p = jnp.where(mask, owner // len(first), 0)
    q = jnp.where(mask, k - (ends - lengths - firsts)[owner], 0)
    return PairList(order[p], order[q], mask), ends[-1] > grid.n_candidates


def _running_sum(values: Int[Array, " m"]) -> Int[Array, " m"]:
    """Return the cumulative sum: on a CPU rows are added as vectors, three times faster than ``jnp.cumsum``."""

    def by_rows(values: Int[Array, " m"]) -> Int[Array, " m"]:
        height = max(1, min(128, len(values) // 512))
        columns = jnp.pad(values, (0, -len(values) % height)).reshape(-1, height).T
        totals, sums = jax.lax.scan(lambda c, row: (c + row,) * 2, jnp.zeros_like(columns[0]), columns)
        return (sums + (jnp.cumsum(totals) - totals)).T.ravel()[: len(values)]

    return jax.lax.platform_dependent(values, cpu=by_rows, default=jnp.cumsum)


def jax_md_neighbors(
    position: Position, box: Box, pairs: PairList, cutoff: float, most: int, *, with_self: bool
) -> tuple[Any, Bool[Array, ""]]:
    """Return the pairs within the cutoff as a dense neighbour list of jax-md's, inside compiled code.

    Args:
        position: Real coordinates, shape (n, d).
        box: The space.
        pairs: Every pair within the cutoff; more do no harm.
        cutoff: Largest distance of a neighbour, units of length.
        most: Most neighbours of a particle, static.
        with_self: Whether every particle is its own neighbour besides.

    Returns:
        The neighbour list, and whether all neighbours found a place in it.
    """
    from jax_md import partition

    n = len(position)
    separation = box.nearest(tuple(x[pairs.i] - x[pairs.j] for x in jax.lax.stop_gradient(position).T))
    near = pairs.mask & (sum(c * c for c in separation) < cutoff**2)
    first = jnp.where(jnp.tile(near, 2), jnp.concatenate([pairs.i, pairs.j]), n)
    second = jnp.concatenate([pairs.j, pairs.i])
    order = jnp.argsort(first, stable=True)
    first, second = first[order], second[order]
    place = jnp.arange(len(first)) - jnp.searchsorted(first, first)  # the how-manieth neighbour of its particle
    table = jnp.full((n, most), n, jnp.int32).at[first, place].set(jnp.asarray(second, jnp.int32), mode="drop")
    if with_self:
        table = jnp.concatenate([jnp.arange(n, dtype=jnp.int32)[:, None], table], axis=1)
    neighbors = partition.NeighborList(
        idx=table,
        reference_position=position,
        error=partition.PartitionError(jnp.zeros((), jnp.uint8)),
        cell_list_capacity=None,
        max_occupancy=table.shape[1],
        format=partition.Dense,
        cell_size=None,
        cell_list_fn=None,
        update_fn=None,
    )
    return neighbors, ~jnp.any((first < n) & (place >= most))


def standard_capacity(least: float) -> float:
    """Return the smallest of 1, 1.25, ..., 2, 2.5, ..., 4, 5, 6, 7, 8, 10, ... (four steps per octave) >= ``least``."""
    unit = 2.0 ** (math.floor(math.log2(max(least, 1.0))) - 2)
    return math.ceil(max(least, 1.0) / unit) * unit


def smallest_height(box: PeriodicBox) -> float:
    """Return the smallest distance between opposite faces of the box, units of length."""
    matrix = np.asarray(box.matrix)
    if _is_diagonal(matrix):
        return float(matrix.diagonal().min())
    return float(1.0 / np.linalg.norm(np.linalg.inv(matrix), axis=1).max())


def _is_diagonal(matrix: np.ndarray) -> bool:
    return bool(np.count_nonzero(matrix) == np.count_nonzero(matrix.diagonal()))


def check_range(box: Box, cutoff: float) -> None:
    """Refuse a periodic box in which a particle could interact with two images of another.

    Raises:
        UserError: When the smallest height of the box is below twice the cutoff; the message gives both.
    """
    if isinstance(box, PeriodicBox):
        smallest = smallest_height(box)
        if smallest < 2 * cutoff:
            raise UserError(
                f"the box is too small: its smallest height is {smallest:.6g} but the interaction reaches {cutoff:.6g};"
                f" heights of at least {2 * cutoff:.6g} are needed: add particles or shorten the cutoff."
            )


def _search(position: np.ndarray, box: Box, reach: float) -> np.ndarray:
    """Return the pairs within reach, shape (m, 2), i < j, in lexicographic order."""
    n = len(position)
    if isinstance(box, PeriodicBox):
        matrix = np.asarray(box.matrix)
        if 2 * reach > smallest_height(box):
            pairs = np.stack(np.triu_indices(n, k=1), axis=1)
        elif _is_diagonal(matrix):
            edges = matrix.diagonal()
            wrapped = np.mod(position, edges)
            tree = KDTree(np.where(wrapped < edges, wrapped, 0.0), boxsize=edges)
            pairs = tree.query_pairs(reach, output_type="ndarray")
        else:
            pairs = _jax_md_search(position, matrix, reach)
    else:
        pairs = KDTree(position).query_pairs(reach, output_type="ndarray")
    low, high = np.minimum(pairs[:, 0], pairs[:, 1]), np.maximum(pairs[:, 0], pairs[:, 1])
    order = np.argsort(low * n + high)
    return np.stack([low[order], high[order]], axis=1)


def _jax_md_search(position: np.ndarray, matrix: np.ndarray, reach: float) -> np.ndarray:
    """List neighbours with jax-md, allocated for these positions (it cannot overflow), in fractional coordinates."""
    from jax_md import partition, space

    # cells much smaller than the spacing of the particles would not fit into memory
    n, d = position.shape
    searched = max(reach, 0.25 * smallest_height(PeriodicBox(matrix)) / n ** (1 / d))

    # jax-md wants an upper triangular box; fractional coordinates and distances do not see the rotation
    _, triangle = np.linalg.qr(matrix)
    upper = jnp.asarray(np.sign(np.diag(triangle))[:, None] * triangle)
    displacement, _ = space.periodic_general(upper, fractional_coordinates=True)
    functions = partition.neighbor_list(displacement, upper, searched, 0.0, fractional_coordinates=True)
    fractional = position @ np.linalg.inv(matrix).T
    with warnings.catch_warnings():
        # jax-md writes int64 indices into int32 arrays; they fit
        warnings.filterwarnings("ignore", message="scatter inputs have incompatible types", category=FutureWarning)
        found = functions.allocate(jnp.asarray(fractional - np.floor(fractional)))
    if bool(found.did_buffer_overflow):
        raise NumericalError(
            "jax-md's neighbour list overflowed on allocation: look for particles on top of each other."
        )
    neighbors = np.asarray(found.idx)  # one row per particle, padded with n; every pair occurs in two rows
    first = np.broadcast_to(np.arange(n)[:, None], neighbors.shape)
    once = (first < neighbors) & (neighbors < n)
    pairs = np.stack([first[once], neighbors[once]], axis=1)
    separation = fractional[pairs[:, 0]] - fractional[pairs[:, 1]]
    return pairs[np.linalg.norm((separation - np.round(separation)) @ matrix.T, axis=1) < reach]
