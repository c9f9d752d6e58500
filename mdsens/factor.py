r"""Direct factors of a symmetric matrix: banded Cholesky for small ones, MKL's Pardiso or SuperLU for others.

Both factor :math:`H + \mu` with a shift far below the smallest non-zero eigenvalue, because translations (and loose
rattlers) make H singular; whoever solves refines with the product :math:`H v`, so that the shift leaves no trace.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod

import numpy as np
import scipy.sparse as sp
import scipy.sparse.linalg as spla
from scipy.linalg import blas, lapack
from scipy.sparse.csgraph import reverse_cuthill_mckee

from mdsens import pardiso
from mdsens.errors import NumericalError

SHIFT = 1e-10  # of the largest eigenvalue: makes the factor exist, biases nothing once refined (measured: 6e-12)
SMALL = 600  # unknowns: up to here a band is factored faster than a sparse matrix


@dataclasses.dataclass(frozen=True)
class PairBlocks:
    """The Hessian of a pair law, pair by pair.

    Attributes:
        blocks: K of every pair that has stiffness, shape (m, d, d), units of energy per length squared.
        i: Number of its first particle, counted among the kept ones, shape (m,).
        j: Number of its second particle, shape (m,).
        n_particles: Number of kept particles.
    """

    blocks: np.ndarray
    i: np.ndarray
    j: np.ndarray
    n_particles: int


@dataclasses.dataclass(frozen=True)
class Factor(ABC):
    r"""A symmetric matrix H and a direct factor of :math:`H + \mu`, both in an order of the factor's choice.

    Attributes:
        order: Which unknown stands where in the columns given and returned, shape (m,).
        shift: :math:`\mu`, units of the matrix.
        norm: Largest absolute row sum of H, an upper bound of its largest eigenvalue.
        n_negative: Number of negative eigenvalues of :math:`H + \mu`.
    """

    order: np.ndarray
    shift: float
    norm: float
    n_negative: int

    @property
    def size(self) -> int:
        """Number of unknowns m."""
        return len(self.order)

    @property
    @abstractmethod
    def method(self) -> str:
        """How the matrix was factored, in words."""

    @abstractmethod
    def product(self, columns: np.ndarray) -> np.ndarray:
        """Return H times columns, shape (m, k), in this factor's order."""

    @abstractmethod
    def solve(self, columns: np.ndarray) -> np.ndarray:
        r"""Return :math:`(H + \mu)^{-1}` times columns, shape (m, k)."""


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


@dataclasses.dataclass(frozen=True)
class SparseLU(Factor):
    """SuperLU's factor in symmetric mode, pivots taken from the diagonal.

    Attributes:
        matrix: H, with every diagonal entry stored.
        lu: The factor.
    """

    matrix: sp.csc_array
    lu: spla.SuperLU

    @property
    def method(self) -> str:
        """How the matrix was factored, in words."""
        return "sparse LU (SuperLU, symmetric mode)"

    def product(self, columns: np.ndarray) -> np.ndarray:
        """Return H times columns."""
        return np.asarray(self.matrix @ columns)

    def solve(self, columns: np.ndarray) -> np.ndarray:
        """Return the shifted inverse times columns."""
        return self.lu.solve(np.ascontiguousarray(columns))


@dataclasses.dataclass(frozen=True)
class SupernodalFactor(Factor):
    """Pardiso's factor: Cholesky, or L D L^T where the matrix has negative eigenvalues.

    Attributes:
        upper: Upper triangle of H, every diagonal entry stored.
        factor: The factor inside MKL.
    """

    upper: sp.csr_array
    factor: pardiso.Supernodal

    @property
    def method(self) -> str:
        """How the matrix was factored, in words."""
        return f"sparse {'Cholesky' if self.factor.definite else 'L D L^T'} (MKL Pardiso, nested dissection)"

    def product(self, columns: np.ndarray) -> np.ndarray:
        """Return H times columns."""
        return _symmetric_product(self.upper, columns)

    def solve(self, columns: np.ndarray) -> np.ndarray:
        """Return the shifted inverse times columns."""
        return self.factor.solve(columns)


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


def upper_triangle(pairs: PairBlocks) -> sp.csr_array:
    """Return the upper triangle of a Hessian given by its pairs, every diagonal entry stored, indices sorted."""
    n, d = pairs.n_particles, pairs.blocks.shape[-1]
    low, high = np.minimum(pairs.i, pairs.j), np.maximum(pairs.i, pairs.j)
    key = low.astype(np.int64) * n + high
    order = np.arange(len(key)) if (key[1:] > key[:-1]).all() else np.argsort(key, kind="stable")
    ends = np.cumsum(np.bincount(low, minlength=n) + 1)
    starts = np.concatenate([[0], ends[:-1]])
    blocks = np.empty((len(key) + n, d, d))
    columns = np.empty(len(key) + n, np.int32)
    diagonal = np.zeros(len(columns), bool)
    diagonal[starts] = True
    blocks[~diagonal], columns[~diagonal] = -pairs.blocks[order], high[order]
    columns[starts] = np.arange(n)
    for a, b in np.ndindex(d, d):
        values = pairs.blocks[:, a, b]
        blocks[starts, a, b] = np.bincount(low, values, minlength=n) + np.bincount(high, values, minlength=n)
    rows = sp.csr_array(sp.bsr_array((blocks, columns, np.append(starts, ends[-1:])), shape=(n * d, n * d)))
    below = rows.indices < np.repeat(np.arange(n * d), np.diff(rows.indptr))  # inside the diagonal blocks
    dropped = np.concatenate([[0], np.cumsum(np.arange(n * d) % d)])
    return sp.csr_array((rows.data[~below], rows.indices[~below], rows.indptr - dropped), shape=rows.shape)


def assemble(pairs: PairBlocks) -> sp.csc_array:
    """Return the sparse matrix of a Hessian given by its pairs, every diagonal entry stored."""
    return whole(upper_triangle(pairs))


def whole(upper: sp.csr_array) -> sp.csc_array:
    """Return a symmetric matrix from its upper triangle."""
    return sp.csc_array(upper + sp.triu(upper, k=1).T)


def sparse_factor(
    upper: sp.csr_array, like: Factor | None = None, *, definite: bool = True
) -> SupernodalFactor | SparseLU:
    """Factor H + shift with Pardiso where MKL is installed, else with SuperLU.

    Args:
        upper: Upper triangle of H, every diagonal entry stored, indices sorted, shape (m, m).
        like: An earlier factor; if its matrix has the same pattern, its fill-reducing order is used again.
        definite: Whether the matrix is expected to have no negative eigenvalue; saves a failed attempt if not.

    Raises:
        NumericalError: When the matrix holds a non-finite number or stays singular.
    """
    if not pardiso.available():
        return sparse_lu(whole(upper))
    norm = float(_symmetric_product(abs(upper), np.ones(upper.shape[0])).max(initial=0.0))
    _refuse_nonfinite(norm)
    shift = SHIFT * (norm or 1.0)
    order = None
    if isinstance(like, SupernodalFactor) and _same_pattern(like.upper, upper):
        order = like.factor.order
    shifted = upper.copy()
    shifted.data[upper.indptr[:-1]] += shift  # the diagonal comes first in every row
    try:
        factor = pardiso.Supernodal(shifted, order, definite=definite)
    except ArithmeticError as error:
        raise NumericalError(f"the shifted Hessian is exactly singular ({error}): raise the shift.") from error
    return SupernodalFactor(np.arange(upper.shape[0]), shift, norm, factor.n_negative, upper, factor)


def _same_pattern(a: sp.csr_array, b: sp.csr_array) -> bool:
    return np.array_equal(a.indptr, b.indptr) and np.array_equal(a.indices, b.indices)


def _symmetric_product(upper: sp.csr_array, columns: np.ndarray) -> np.ndarray:
    diagonal = upper.data[upper.indptr[:-1]]
    return np.asarray(upper @ columns + upper.T @ columns - (diagonal * columns.T).T)


def _refuse_nonfinite(norm: float) -> None:
    if not np.isfinite(norm):
        raise NumericalError(
            "the Hessian holds infinite or NaN entries: particles overlap completely or a parameter is wrong."
        )


def sparse_lu(matrix: sp.csc_array, *, relative_shift: float = SHIFT) -> SparseLU:
    """Factor H + shift with the pivots taken from the diagonal, shift = relative_shift x max row sum.

    Args:
        matrix: Symmetric sparse matrix, shape (m, m), every diagonal entry stored.
        relative_shift: Shift in units of the matrix norm, > 0 for singular matrices.

    Raises:
        NumericalError: When the matrix holds a non-finite number or stays singular.
        ValueError: When a diagonal entry is not stored.
    """
    columns = np.repeat(np.arange(matrix.shape[1]), np.diff(matrix.indptr))
    norm = float(np.bincount(columns, np.abs(matrix.data), minlength=1).max())
    _refuse_nonfinite(norm)
    shift = relative_shift * (norm or 1.0)
    diagonal = matrix.indices == columns
    if np.count_nonzero(diagonal) < matrix.shape[0]:
        raise ValueError("every diagonal entry of the matrix must be stored: add explicit zeros where there are none.")
    data = np.where(diagonal, matrix.data + shift, matrix.data)
    shifted = sp.csc_array((data, matrix.indices, matrix.indptr), shape=matrix.shape)
    try:
        lu = spla.splu(shifted, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True})
    except RuntimeError as error:
        raise NumericalError(f"the shifted Hessian is exactly singular ({error}): raise the shift.") from error
    return SparseLU(np.arange(matrix.shape[0]), shift, norm, _count_negative(lu, shifted), matrix, lu)


def _count_negative(lu: spla.SuperLU, matrix: sp.csc_array) -> int:
    """Count negative pivots: by Sylvester's law as many as there are negative eigenvalues."""
    if np.array_equal(lu.perm_r, lu.perm_c):
        return int(np.sum(lu.U.diagonal() < 0))
    # a zero pivot made SuperLU leave the diagonal, so the pivots no longer show the inertia
    return int(np.sum(np.linalg.eigvalsh(matrix.toarray()) < 0))
