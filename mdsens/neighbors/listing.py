"""Pairs listed by cells in machine code, in boxes of any size and skew, periodic along any axes, and in free space."""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import types as nb

from mdsens.machine.compiling import COUNTS, FIELD, compiled
from mdsens.neighbors.pairs import PairList, padded_pairs
from mdsens.types import Box, PeriodicBox, Position

_AXES = 3  # of space as the loops see it: discs have a third coordinate, zero


class Listing(NamedTuple):
    """Every pair (i, j, S) within reach once, i <= j in lexicographic order, the pairs of every i together.

    Attributes:
        starts: Where the pairs of every particle start, shape (n + 1,).
        partner: Second particles, shape (m,).
        shift: Image counts S, shape (m, d).
        offset: B S, shape (m, d), units of length.
    """

    starts: np.ndarray
    partner: np.ndarray
    shift: np.ndarray
    offset: np.ndarray

    @classmethod
    def of(cls, pairs: PairList, box: Box, n_particles: int) -> Listing:
        """Return the pairs of a list, whatever their order."""
        mask = np.asarray(pairs.mask)
        first = np.asarray(pairs.i)[mask]
        order = np.argsort(first, kind="stable")
        starts = np.searchsorted(first[order], np.arange(n_particles + 1)).astype(np.int32)
        shift = np.array(np.asarray(pairs.shift).T[mask][order], dtype=np.int32, order="C")
        partner = np.array(np.asarray(pairs.j)[mask][order], dtype=np.int32)
        return cls(starts, partner, shift, offsets(shift, box))

    @property
    def n_pairs(self) -> int:
        """Number of pairs."""
        return len(self.partner)

    @property
    def first(self) -> np.ndarray:
        """First particles, shape (m,)."""
        return np.repeat(np.arange(len(self.starts) - 1, dtype=np.int32), np.diff(self.starts))

    def padded(self, capacity: int) -> PairList:
        """Return the pairs as a list with room for ``capacity``."""
        return padded_pairs(self.first, self.partner, self.shift.T, capacity)


class Cell(NamedTuple):
    """A box as the lister sees it: three axes, of which discs do not use the last.

    Attributes:
        matrix: Lattice vectors as columns, shape (3, 3), units of length.
        inverse: Its inverse.
        repeats: 1 for periodic axes, shape (3,).
    """

    matrix: np.ndarray
    inverse: np.ndarray
    repeats: np.ndarray

    @classmethod
    def of(cls, box: Box) -> Cell:
        """Return the cell of a box; axes of length one that do not repeat for a free system."""
        d, matrix, repeats = box.dimension, np.eye(_AXES), np.zeros(_AXES, dtype=np.int32)
        if isinstance(box, PeriodicBox):
            matrix[:d, :d], repeats[:d] = box.matrix, box.periodic
        return cls(matrix, np.array(np.linalg.inv(matrix), order="C"), repeats)


def listed(position: Position | np.ndarray, cell: Cell, kind: np.ndarray, reach: np.ndarray) -> Listing:
    """List the pairs closer than their reach.

    Args:
        position: Real coordinates, shape (n, d); where one is not finite nothing is listed.
        cell: The space.
        kind: Of every particle, shape (n,).
        reach: Largest distance of a listed pair of two kinds, shape (kinds, kinds), units of length.
    """
    position = np.array(position, dtype=float, order="C")
    starts, partner, shift, offset = _listed(position, *cell, kind, reach)
    return Listing(starts, partner, shift, offset)


def offsets(shift: np.ndarray, box: Box) -> np.ndarray:
    """Return B S of every pair, shape (m, d)."""
    if not isinstance(box, PeriodicBox):
        return np.zeros(shift.shape)
    return np.array(shift @ np.asarray(box.matrix).T, order="C")


_PLACES = nb.int32[:, ::1]


@compiled(nb.Tuple((COUNTS, COUNTS, FIELD))(FIELD, _PLACES, COUNTS))
def _by_cell(x, inside, cells):
    """Return where every cell's particles start, the particles sorted by cell, and their positions in that order."""
    n, stride = len(x), nb.int64(cells[0])
    first = np.zeros(stride * cells[1] * cells[2] + 1, np.int32)
    label, member, there = np.empty(n, np.int64), np.empty(n, np.int32), np.empty((n, 3))
    for i in range(n):
        label[i] = inside[i, 0] + inside[i, 1] * stride + inside[i, 2] * stride * cells[1]
        first[label[i] + 1] += 1
    for k in range(len(first) - 1):
        first[k + 1] += first[k]
    filled = first[:-1].copy()
    for i in range(n):
        at = filled[label[i]]
        filled[label[i]] += 1
        member[at] = i
        there[at, 0], there[at, 1], there[at, 2] = x[i, 0], x[i, 1], x[i, 2]
    return first, member, there


@compiled(_PLACES(COUNTS))
def _half_of_neighbors(layers):
    """Return the steps to neighbouring cells, of two opposite ones one; the first leads to the cell itself."""
    steps, count = np.empty(((layers[2] + 1) * (2 * layers[1] + 1) * (2 * layers[0] + 1), 3), np.int32), 0
    for k2 in range(layers[2] + 1):
        for k1 in range(-layers[1] if k2 > 0 else 0, layers[1] + 1):
            for k0 in range(-layers[0] if k2 > 0 or k1 > 0 else 0, layers[0] + 1):
                steps[count, 0], steps[count, 1], steps[count, 2] = k0, k1, k2
                count += 1
    return steps[:count]


@compiled(nb.UniTuple(nb.int64, 2)(nb.int64, nb.int64, nb.int64))
def _wrapped(place, n_cells, repeats):
    """Return the cell at a place along an axis and which image of it that is; cell -1 where there is none."""
    if 0 <= place < n_cells:
        return place, 0
    if repeats == 0:
        return -1, 0
    image = place // n_cells
    return place - image * n_cells, image


@compiled(nb.boolean(COUNTS, COUNTS))
def _before(a, b):
    for c in range(len(a)):
        if a[c] != b[c]:
            return a[c] < b[c]
    return False


@compiled(nb.Tuple((COUNTS, COUNTS, _PLACES))(COUNTS, COUNTS, _PLACES, nb.int64))
def _in_order(low, high, counts, n):
    """Put pairs together by their first particle, i <= j, in order of (j, S)."""
    starts = np.zeros(n + 2, np.int32)
    for m in range(len(low)):
        s0, s1, s2 = counts[m, 0], counts[m, 1], counts[m, 2]
        lead = s0 if s0 != 0 else s1 if s1 != 0 else s2
        if low[m] > high[m] or (low[m] == high[m] and lead < 0):
            low[m], high[m] = high[m], low[m]
            counts[m, 0], counts[m, 1], counts[m, 2] = -s0, -s1, -s2
        starts[low[m] + 2] += 1
    for i in range(n):
        starts[i + 2] += starts[i + 1]
    partner, shift, begins = np.empty(len(low), np.int32), np.empty((len(low), 3), np.int32), starts[1:].copy()
    for m in range(len(low)):
        a, b = low[m], high[m]
        new = starts[a + 1]
        starts[a + 1] += 1
        while new > begins[a] and partner[new - 1] >= b:
            if partner[new - 1] == b and not _before(counts[m], shift[new - 1]):
                break
            partner[new] = partner[new - 1]
            shift[new, 0], shift[new, 1], shift[new, 2] = shift[new - 1, 0], shift[new - 1, 1], shift[new - 1, 2]
            new -= 1
        partner[new] = b
        shift[new, 0], shift[new, 1], shift[new, 2] = counts[m, 0], counts[m, 1], counts[m, 2]
    return starts[: n + 1].copy(), partner, shift


@compiled(
    nb.Tuple((COUNTS, COUNTS, _PLACES))(FIELD, _PLACES, _PLACES, FIELD, COUNTS, COUNTS, COUNTS, COUNTS, FIELD, nb.int64)
)
def _pairs_within(x, boxes, inside, matrix, cells, layers, repeats, kind, reach, room):
    """Return starts, partners and image counts; where there is no room for all, only the counts' number is right."""
    first, member, there = _by_cell(x, inside, cells)
    steps = _half_of_neighbors(layers)
    stride1 = nb.int64(cells[0])
    stride2 = stride1 * cells[1]
    low, high, counts = np.empty(room, np.int32), np.empty(room, np.int32), np.empty((room, 3), np.int32)
    count = 0
    for here in range(len(first) - 1):
        if first[here] == first[here + 1]:
            continue
        p0, p1, p2 = here % stride1, here // stride1 % cells[1], here // stride2
        for k in range(len(steps)):
            t0, c0 = _wrapped(p0 + steps[k, 0], cells[0], repeats[0])
            t1, c1 = _wrapped(p1 + steps[k, 1], cells[1], repeats[1])
            t2, c2 = _wrapped(p2 + steps[k, 2], cells[2], repeats[2])
            if t0 < 0 or t1 < 0 or t2 < 0:
                continue
            beside = t0 + t1 * stride1 + t2 * stride2
            y0 = matrix[0, 0] * c0 + matrix[0, 1] * c1 + matrix[0, 2] * c2
            y1 = matrix[1, 0] * c0 + matrix[1, 1] * c1 + matrix[1, 2] * c2
            y2 = matrix[2, 0] * c0 + matrix[2, 1] * c1 + matrix[2, 2] * c2
            for at in range(first[here], first[here + 1]):
                i = member[at]
                x0, x1, x2, own = there[at, 0] - y0, there[at, 1] - y1, there[at, 2] - y2, kind[i]
                for to in range(at + 1 if k == 0 else first[beside], first[beside + 1]):
                    d0, d1, d2 = x0 - there[to, 0], x1 - there[to, 1], x2 - there[to, 2]
                    j = member[to]
                    within = reach[own, kind[j]]
                    if d0 * d0 + d1 * d1 + d2 * d2 >= within * within:
                        continue
                    if count < room:
                        low[count], high[count] = i, j
                        counts[count, 0] = boxes[i, 0] - boxes[j, 0] + c0
                        counts[count, 1] = boxes[i, 1] - boxes[j, 1] + c1
                        counts[count, 2] = boxes[i, 2] - boxes[j, 2] + c2
                    count += 1
    if count > room:
        return np.empty(0, np.int32), np.empty(0, np.int32), np.empty((count, 3), np.int32)
    return _in_order(low[:count], high[:count], counts[:count], len(kind))


@compiled(nb.Tuple((FIELD, _PLACES, _PLACES, COUNTS, COUNTS))(FIELD, FIELD, FIELD, COUNTS, nb.float64))
def _placed(position, matrix, inverse, repeats, longest):
    """Return positions within the box, which image of it they were in, and cells at least as wide as the reach.

    Returns:
        Positions, shape (n, 3); image counts; every particle's cell; numbers of cells; how many cells away partners
        may be, along every axis.
    """
    n, d = position.shape
    place, boxes, inside = np.zeros((n, 3)), np.zeros((n, 3), np.int32), np.zeros((n, 3), np.int32)
    cells, layers = np.ones(3, np.int32), np.zeros(3, np.int32)
    fractional = np.zeros((n, 3))
    most = 2.0 * n ** (1.0 / d) + 3.0  # more cells than particles would only cost memory
    for c in range(3):
        low, high = np.inf, -np.inf
        for i in range(n):
            at = 0.0
            for a in range(d):
                at += inverse[c, a] * position[i, a]
            if repeats[c]:
                whole = math.floor(at)
                boxes[i, c] = nb.int32(whole)
                at -= whole
            fractional[i, c] = at
            low, high = min(low, at), max(high, at)
        if repeats[c]:
            low, high = 0.0, 1.0
        width = high - low
        across = math.sqrt(inverse[c, 0] ** 2 + inverse[c, 1] ** 2 + inverse[c, 2] ** 2)
        extent = width / across
        cells[c] = nb.int32(max(min(math.floor(extent / longest), most), 1.0))
        if repeats[c] or cells[c] > 1:
            layers[c] = nb.int32(math.ceil(longest * cells[c] / (extent if extent > 0.0 else longest)))
        scale = cells[c] / (width if width > 0.0 else 1.0)
        for i in range(n):
            inside[i, c] = min(nb.int32((fractional[i, c] - low) * scale), cells[c] - 1)
    for i in range(n):
        for a in range(d):
            place[i, a] = position[i, a]
        for a in range(3):
            for c in range(3):
                place[i, a] -= matrix[a, c] * boxes[i, c]
    return place, boxes, inside, cells, layers


@compiled(nb.Tuple((COUNTS, COUNTS, _PLACES, FIELD))(FIELD, FIELD, FIELD, COUNTS, COUNTS, FIELD))
def _listed(position, matrix, inverse, repeats, kind, reach):
    """Return starts, partners, image counts and B S of all pairs; none where a position is not finite."""
    n, d = position.shape
    if not np.isfinite(position).all():
        return np.zeros(n + 1, np.int32), np.empty(0, np.int32), np.empty((0, d), np.int32), np.empty((0, d))
    place, boxes, inside, cells, layers = _placed(position, matrix, inverse, repeats, reach.max())
    system = (place, boxes, inside, matrix, cells, layers, repeats, kind, reach)
    starts, partner, images = _pairs_within(*system, 6 * n)
    if len(images) > len(partner):
        starts, partner, images = _pairs_within(*system, len(images))
    shift, offset = np.empty((len(partner), d), np.int32), np.empty((len(partner), d))
    for m in range(len(partner)):
        for a in range(d):
            shift[m, a] = images[m, a]
            offset[m, a] = 0.0
            for c in range(d):
                offset[m, a] += matrix[a, c] * images[m, c]
    return starts, partner, shift, offset
