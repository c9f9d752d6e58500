"""LAPACK's banded Cholesky factor, for matrices of a few hundred unknowns."""

from __future__ import annotations

import dataclasses

import numpy as np
import scipy.sparse as sp
from scipy.linalg import blas, lapack
from scipy.sparse.csgraph import reverse_cuthill_mckee

from mdsens.linear.base import SHIFT, Factor
from mdsens.linear.pairs import PairBlocks


@dataclasses.dataclass(frozen=True)
class BandedCholesky(Factor):
    """LAPACK's Cholesky factor of the matrix in an order that keeps neighbours together.

    Attributes:
        band: Lower band of the ordered matrix, band[r, c] = H[c + r, c], shape (b + 1, m).
        lower: Lower band of the factor, same shape.
    """

    band: np.ndarray
    lower: np.ndarray

    @property
    def method(self) -> str:
        """How the matrix was factored, in words."""
        return "banded Cholesky"

    def product(self, columns: np.ndarray) -> np.ndarray:
        """Return H times columns."""
        width = len(self.band) - 1
        images = [blas.dsbmv(width, 1.0, self.band, column, lower=1) for column in columns.T]
        return np.stack(images, axis=1)

    def solve(self, columns: np.ndarray) -> np.ndarray:
        """Return the shifted inverse times columns."""
        return np.asarray(lapack.dpbtrs(self.lower, columns, lower=1)[0])


def banded_cholesky(pairs: PairBlocks) -> BandedCholesky | None:
    """Factor H + shift as a band, or return None where it is not positive definite or holds a non-finite number."""
    n, d = pairs.n_particles, pairs.blocks.shape[-1]
    order = _neighbours_together(pairs)
    rank = np.empty(n, np.intp)
    rank[order] = np.arange(n)
    band = _band(pairs, rank[pairs.i], rank[pairs.j])
    norm = float(blas.dsbmv(len(band) - 1, 1.0, np.abs(band), np.ones(n * d), lower=1).max())
    shift = SHIFT * (norm or 1.0)
    shifted = band.copy(order="F")
    shifted[0] += shift
    lower, failed = lapack.dpbtrf(shifted, lower=1, overwrite_ab=1)
    if failed or not np.isfinite(norm):
        return None
    unknowns = (order[:, None] * d + np.arange(d)).ravel()
    return BandedCholesky(unknowns, shift, norm, 0, band, lower)


def _neighbours_together(pairs: PairBlocks) -> np.ndarray:
    """Return the reverse Cuthill-McKee order of the particles."""
    row, column = np.concatenate([pairs.i, pairs.j]), np.concatenate([pairs.j, pairs.i])
    by_row = np.argsort(row, kind="stable")
    starts = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=pairs.n_particles))])
    graph = sp.csr_array((np.ones(len(row)), column[by_row], starts), shape=(pairs.n_particles, pairs.n_particles))
    return reverse_cuthill_mckee(graph, symmetric_mode=True)


def _band(pairs: PairBlocks, i: np.ndarray, j: np.ndarray) -> np.ndarray:
    """Add every pair's four blocks to a lower band in which its particles have the numbers i and j."""
    n, d = pairs.n_particles, pairs.blocks.shape[-1]
    low, high = np.minimum(i, j), np.maximum(i, j)
    height = d * (int((high - low).max(initial=0)) + 1)
    below, column = np.tril_indices(d)
    every = np.arange(d)
    on_diagonal = (d * np.concatenate([i, j])[:, None] + column) * height + (below - column)
    off_diagonal = (d * low[:, None, None] + every) * height + d * (high - low)[:, None, None] + every[:, None] - every
    places = np.concatenate([on_diagonal.ravel(), off_diagonal.ravel()])
    triangle = pairs.blocks[:, below, column].ravel()
    values = np.concatenate([triangle, triangle, -pairs.blocks.ravel()])
    return np.bincount(places, values, minlength=height * d * n).reshape(d * n, height).T
