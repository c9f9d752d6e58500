"""What a factored symmetric matrix offers."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod

import numpy as np

from mdsens.errors import NumericalError

SHIFT = 1e-10  # of the largest eigenvalue: makes the factor exist, biases nothing once refined (measured: 6e-12)
ZERO = 1e-9  # of the matrix norm: an eigenvalue below it counts as zero


class TooLargeError(Exception):
    """A factor would hold more numbers than allowed."""


def refuse_nonfinite(norm: float) -> None:
    """Raise a NumericalError unless a matrix norm is finite."""
    if not np.isfinite(norm):
        raise NumericalError(
            "the Hessian holds infinite or NaN entries: particles overlap completely or a parameter is wrong."
        )


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
