r"""The linear response of a relaxed state, factored once: :math:`y = H^{+} b` for any number of right-hand sides.

:math:`H^{+}` is the pseudo-inverse of the Hessian of the backbone: rigid translations (rotations of a free cluster),
rattlers and any floppy modes are left out exactly, by projection from both sides, never by lifting the diagonal. The
answer is the one of minimum norm: zero mean displacement over the backbone, zero rows for rattlers.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod

import numpy as np

from mdsens.backbone import Network
from mdsens.energy import State
from mdsens.parameters import Parameters
from mdsens.response.null_space import ZeroModes


@dataclasses.dataclass(frozen=True)
class Forward:
    """The response to k parameter directions, and what its certificate is made of.

    Attributes:
        values: dx/dp, shape (k, n, d).
        residual: Relative residual of every solve, shape (k,).
        slope: Norm of U_xp, shape (k,).
        change: Norm of the first-order change of dx/dp under the remaining Newton step, shape (k,).
        slope_drift: Norm of the change of U_xp along that step, shape (k,).
        hessian_drift: Bound of the norm of the change of the Hessian along that step.
    """

    values: np.ndarray
    residual: np.ndarray
    slope: np.ndarray
    change: np.ndarray
    slope_drift: np.ndarray
    hessian_drift: float


@dataclasses.dataclass(frozen=True)
class LinearResponse(ABC):
    """A factored Hessian with its null space.

    Attributes:
        state: The state, its pairs restricted to the backbone's contacts.
        network: Contacts, backbone, rattlers.
        max_force: Largest force of the state, units of energy per length.
        zero_modes: Number and kind of the zero modes left out.
        smallest_eigenvalue: Smallest non-zero eigenvalue of the backbone Hessian, units of energy per length squared.
        norm: Largest absolute row sum of that Hessian, an upper bound of its largest eigenvalue.
        at_any_point: Whether the state was not required to be stationary.
    """

    state: State
    network: Network
    max_force: float
    zero_modes: ZeroModes
    smallest_eigenvalue: float
    norm: float
    at_any_point: bool

    @property
    @abstractmethod
    def method(self) -> str:
        """The linear solver, in words."""

    @abstractmethod
    def solve(self, rhs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        r"""Return :math:`H^{+} b` for every right-hand side.

        Args:
            rhs: Right-hand sides, shape (k, n, d), units of force.

        Returns:
            Solutions, shape (k, n, d), and relative residuals |P(b - H y)|/|P b|, shape (k,).
        """

    @abstractmethod
    def forward(self, tangents: Parameters) -> Forward:
        """Return the response to parameter directions (leading axis of every leaf)."""


def norms(fields: np.ndarray) -> np.ndarray:
    """Return the 2-norm of every field, shape (k,), of an array of shape (k, n, d)."""
    return np.asarray(np.linalg.norm(fields.reshape(len(fields), -1), axis=1))
