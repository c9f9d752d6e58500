"""Sparse direct factors: MKL's Pardiso, or SciPy's SuperLU where there is no MKL."""

from __future__ import annotations

import dataclasses

import numpy as np
import scipy.sparse as sp
import scipy.sparse.linalg as spla

from mdsens.errors import NumericalError
from mdsens.linear import pardiso
from mdsens.linear.base import SHIFT, Factor, refuse_nonfinite
from mdsens.linear.pairs import whole


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


def sparse_factor(
    upper: sp.csr_array, like: Factor | None = None, *, definite: bool = True, most_numbers: float = float("inf")
) -> SupernodalFactor | SparseLU:
    """Factor H + shift with Pardiso where MKL is installed, else with SuperLU.

    Args:
        upper: Upper triangle of H, every diagonal entry stored, indices sorted, shape (m, m).
        like: An earlier factor of a matrix with about the same pattern: its fill-reducing order is used again, which
            saves most of the analysis and, where a few entries come or go, costs next to no fill.
        definite: Whether the matrix is expected to have no negative eigenvalue; saves a failed attempt if not.
        most_numbers: Most numbers that Pardiso's factor may hold; SuperLU does not know beforehand.

    Raises:
        TooLargeError: When it would hold more, as the analysis of its pattern tells.
        NumericalError: When the matrix holds a non-finite number or stays singular.
    """
    if not pardiso.available():
        return sparse_lu(whole(upper))
    norm = float(_symmetric_product(abs(upper), np.ones(upper.shape[0])).max(initial=0.0))
    refuse_nonfinite(norm)
    shift = SHIFT * (norm or 1.0)
    order = None
    if isinstance(like, SupernodalFactor) and like.upper.shape == upper.shape:
        order = like.factor.order
    shifted = upper.copy()
    shifted.data[upper.indptr[:-1]] += shift  # the diagonal comes first in every row
    try:
        factor = pardiso.Supernodal(shifted, order, definite=definite, most_numbers=most_numbers)
    except ArithmeticError as error:
        raise NumericalError(f"the shifted Hessian is exactly singular ({error}): raise the shift.") from error
    return SupernodalFactor(np.arange(upper.shape[0]), shift, norm, factor.n_negative, upper, factor)


def _symmetric_product(upper: sp.csr_array, columns: np.ndarray) -> np.ndarray:
    diagonal = upper.data[upper.indptr[:-1]]
    return np.asarray(upper @ columns + upper.T @ columns - (diagonal * columns.T).T)


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
    refuse_nonfinite(norm)
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
