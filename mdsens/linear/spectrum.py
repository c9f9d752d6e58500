"""All eigenvalues and eigenvectors, for matrices of a few dozen unknowns."""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy.linalg import lapack

from mdsens.errors import NumericalError
from mdsens.linear.base import SHIFT, ZERO, Factor, refuse_nonfinite
from mdsens.linear.pairs import PairBlocks


@dataclasses.dataclass(frozen=True)
class Spectrum(Factor):
    r"""A small matrix by its spectrum, :math:`H = V \Lambda V^T`; which needs no shift and leaves zero modes out.

    Attributes:
        matrix: H, shape (m, m).
        values: Eigenvalues in ascending order, shape (m,).
        vectors: Eigenvectors as columns, shape (m, m).
    """

    matrix: np.ndarray
    values: np.ndarray
    vectors: np.ndarray

    @property
    def method(self) -> str:
        """How the matrix was factored, in words."""
        return "dense spectrum"

    @property
    def zero(self) -> np.ndarray:
        """Which eigenvalues count as zero, shape (m,)."""
        return np.abs(self.values) < ZERO * self.norm

    def product(self, columns: np.ndarray) -> np.ndarray:
        """Return H times columns."""
        return self.matrix @ columns

    def solve(self, columns: np.ndarray) -> np.ndarray:
        """Return the pseudo-inverse times columns."""
        kept = self.vectors[:, ~self.zero]
        return kept @ ((kept.T @ columns) / self.values[~self.zero, None])


def spectrum(matrix: np.ndarray) -> Spectrum:
    """Diagonalise a symmetric matrix.

    Raises:
        NumericalError: When it holds a non-finite number.
    """
    norm = float(np.abs(matrix).sum(axis=0).max(initial=0.0))
    refuse_nonfinite(norm)
    values, vectors, failed = lapack.dsyevd(matrix, lower=1)
    if failed:
        raise NumericalError(f"LAPACK's dsyevd did not find the Hessian's spectrum (code {failed}).")
    n_negative = int(np.sum(values < -SHIFT * norm))
    return Spectrum(np.arange(len(matrix)), 0.0, norm, n_negative, matrix, values, vectors)


def dense_matrix(pairs: PairBlocks) -> np.ndarray:
    """Return the dense matrix of a Hessian given by its pairs, shape (m, m)."""
    n, d = pairs.n_particles, pairs.blocks.shape[-1]
    i, j, numbers = pairs.i, pairs.j, d * d * n * n
    begins = np.concatenate([i * n + i, j * n + j, i * n + j, j * n + i])
    places = begins[:, None] * d * d + np.arange(d * d)
    values = pairs.blocks.reshape(-1, d * d)
    flat = np.bincount(places.ravel(), np.concatenate([values, values, -values, -values]).ravel(), minlength=numbers)
    return flat.reshape(n, n, d, d).transpose(0, 2, 1, 3).reshape(n * d, n * d)
