"""Pairs listed by cells in machine code, in boxes of any size and skew, periodic along any axes, and in free space."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import types as nb

from mdsens.native.compiling import COUNTS, FIELD, compiled
from mdsens.neighbors import PairList, heights, padded_pairs
from mdsens.types import Box, PeriodicBox


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

    @property
    def n_pairs(self) -> int:
        """Number of pairs."""
        return len(self.partner)

    def padded(self, capacity: int) -> PairList:
        """Return the pairs as a list with room for ``capacity``."""
        first = np.repeat(np.arange(len(self.starts) - 1, dtype=np.int32), np.diff(self.starts))
        return padded_pairs(first, self.partner, self.shift.T, capacity)


def listed(position: np.ndarray, box: Box, kind: np.ndarray, reach: np.ndarray) -> Listing:
    """List the pairs closer than their reach.

    Args:
        position: Finite real coordinates, shape (n, d).
        box: The space.
        kind: Of every particle, shape (n,).
        reach: Largest distance of a listed pair of two kinds, shape (kinds, kinds), units of length.
    """
    position = np.array(position, dtype=float, order="C")
    n, d = position.shape
    longest = float(reach.max())
    if isinstance(box, PeriodicBox):
        matrix = np.array(box.matrix, dtype=float, order="C")
        repeats = np.array(box.periodic, dtype=np.int32)
    else:
        matrix, repeats = np.eye(d), np.zeros(d, dtype=np.int32)
    inverse = np.ascontiguousarray(np.linalg.inv(matrix))
    height = heights(matrix)
    fractional = position @ inverse.T
    low = np.where(repeats, 0.0, fractional.min(axis=0, initial=np.inf))
    extent = np.where(repeats, 1.0, np.maximum(fractional.max(axis=0, initial=-np.inf) - low, 0.0)) * height
    most = 2 * n ** (1 / d) + 3  # more cells than particles would only cost memory
    cells = np.array([max(1, int(min(e // longest, most))) for e in extent], dtype=np.int32)
    width = extent / cells
    layers = np.array(
        [math.ceil(longest / w) if r else min(m - 1, math.ceil(longest / w) if w else 0)
         for w, m, r in zip(width, cells, repeats, strict=True)],
        dtype=np.int32,
    )  # fmt: skip
    scale = np.where(extent > 0, cells / np.where(extent > 0, extent / height, 1.0), 0.0)
    guess = np.int64(8 * n)
    starts, partner, shift, offset = _listed(
        position, matrix, fractional, low, scale, cells, layers, repeats, kind, reach, guess
    )
    return Listing(starts, partner, shift, offset)


@compiled(
    nb.Tuple((COUNTS, COUNTS, nb.int32[:, ::1], FIELD))(
        FIELD, FIELD, FIELD, nb.float64[::1], nb.float64[::1], COUNTS, COUNTS, COUNTS, COUNTS, FIELD, nb.int64
    )
)
def _listed(position, matrix, fractional, low, scale, cells, layers, repeats, kind, reach, guess):  # type: ignore[no-untyped-def]
    n, d = position.shape
    label = np.zeros(n, np.int64)
    place = np.zeros((n, d), np.int32)
    boxes = np.zeros((n, d), np.int32)
    n_cells = 1
    for c in range(d):
        n_cells *= cells[c]
    for i in range(n):
        index = 0
        for c in range(d - 1, -1, -1):
            f = fractional[i, c] - low[c]
            if repeats[c]:
                boxes[i, c] = math.floor(f)
                f -= boxes[i, c]
            place[i, c] = min(int(f * scale[c]), cells[c] - 1)
            index = index * cells[c] + place[i, c]
        label[i] = index
    # particles sorted by cell
    first = np.zeros(n_cells + 1, np.int32)
    for i in range(n):
        first[label[i] + 1] += 1
    for k in range(n_cells):
        first[k + 1] += first[k]
    member = np.zeros(n, np.int32)
    filled = first[:-1].copy()
    for i in range(n):
        member[filled[label[i]]] = i
        filled[label[i]] += 1
    # the cells around a cell, and the images they are of
    n_around = 1
    for c in range(d):
        n_around *= 2 * layers[c] + 1
    around = np.zeros((n_around, d), np.int32)
    for k in range(n_around):
        rest = k
        for c in range(d):
            around[k, c] = rest % (2 * layers[c] + 1) - layers[c]
            rest //= 2 * layers[c] + 1
    starts = np.zeros(n + 1, np.int32)
    partner = np.zeros(guess, np.int32)
    shift = np.zeros((guess, d), np.int32)
    count, image, apart = 0, np.zeros(d, np.int32), np.zeros(d)
    for i in range(n):
        begin = count
        for k in range(n_around):
            index, inside = 0, True
            for c in range(d - 1, -1, -1):
                t = place[i, c] + around[k, c]
                image[c] = 0
                if t < 0 or t >= cells[c]:
                    if not repeats[c]:
                        inside = False
                        break
                    image[c] = t // cells[c]
                    t -= image[c] * cells[c]
                index = index * cells[c] + t
            if not inside:
                continue
            for at in range(first[index], first[index + 1]):
                j = member[at]
                if j < i:
                    continue
                if j == i:  # its own image, once
                    sign = 0
                    for c in range(d):
                        if image[c] != 0:
                            sign = image[c]
                            break
                    if sign <= 0:
                        continue
                square = 0.0
                for c in range(d):
                    apart[c] = position[i, c] - position[j, c]
                for b in range(d):
                    s = boxes[i, b] - boxes[j, b] + image[b]
                    if s != 0:
                        for c in range(d):
                            apart[c] -= matrix[c, b] * s
                for c in range(d):
                    square += apart[c] * apart[c]
                within = reach[kind[i], kind[j]]
                if square >= within * within:
                    continue
                if count == len(partner):
                    more, wider = np.zeros(2 * count + 8, np.int32), np.zeros((2 * count + 8, d), np.int32)
                    more[:count], wider[:count] = partner[:count], shift[:count]
                    partner, shift = more, wider
                # kept in order of (j, S)
                new = count
                while new > begin and partner[new - 1] >= j:
                    if partner[new - 1] == j:
                        before = True
                        for c in range(d):
                            s = boxes[i, c] - boxes[j, c] + image[c]
                            if shift[new - 1, c] != s:
                                before = shift[new - 1, c] < s
                                break
                        if before:
                            break
                    partner[new] = partner[new - 1]
                    for c in range(d):
                        shift[new, c] = shift[new - 1, c]
                    new -= 1
                partner[new] = j
                for c in range(d):
                    shift[new, c] = boxes[i, c] - boxes[j, c] + image[c]
                count += 1
        starts[i + 1] = count
    partner, shift = partner[:count].copy(), shift[:count].copy()
    offset = np.zeros((count, d))
    for m in range(count):
        for b in range(d):
            if shift[m, b] != 0:
                for c in range(d):
                    offset[m, c] += matrix[c, b] * shift[m, b]
    return starts, partner, shift, offset
