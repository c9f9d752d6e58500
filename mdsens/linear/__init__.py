r"""Direct factors of a symmetric matrix: a spectrum or a band for small ones, MKL's Pardiso or SuperLU for others.

All but the spectrum factor :math:`H + \mu` with a shift far below the smallest non-zero eigenvalue, because
translations (and loose rattlers) make H singular; whoever solves refines with the product :math:`H v`, so that the
shift leaves no trace.
"""

from mdsens.linear.banded import BandedCholesky, banded_cholesky
from mdsens.linear.base import SHIFT, ZERO, Factor
from mdsens.linear.pairs import PairBlocks, assemble, merged, upper_triangle, whole
from mdsens.linear.sparse import SparseLU, SupernodalFactor, sparse_factor, sparse_lu
from mdsens.linear.spectrum import Spectrum, dense_matrix, spectrum

__all__ = [
    "SHIFT",
    "ZERO",
    "BandedCholesky",
    "Factor",
    "PairBlocks",
    "SparseLU",
    "Spectrum",
    "SupernodalFactor",
    "assemble",
    "banded_cholesky",
    "dense_matrix",
    "merged",
    "sparse_factor",
    "sparse_lu",
    "spectrum",
    "upper_triangle",
    "whole",
]
