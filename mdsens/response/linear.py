r"""The linear response of a relaxed state, factored once: :math:`y = H^{+} b` for any number of right-hand sides.

:math:`H^{+}` is the pseudo-inverse of the Hessian of the backbone: rigid translations (rotations of a free cluster),
rattlers and any floppy modes are left out exactly, by projection from both sides, never by lifting the diagonal. The
answer is the one of minimum norm: zero mean displacement over the backbone, zero rows for rattlers.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from mdsens.backbone import Network
from mdsens.derivatives import drifts, slopes_and_forces
from mdsens.energy import State
from mdsens.factor import Factor
from mdsens.parameters import Parameters
from mdsens.response.null_space import ZeroModes, project_out

_MOST_REFINEMENTS = 5
_ROUNDING = 1e-14  # relative residual at which refinement has nothing left to gain


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
class LinearResponse:
    """A factored Hessian with its null space.

    Attributes:
        state: The state, its pairs restricted to the backbone's contacts.
        network: Contacts, backbone, rattlers.
        max_force: Largest force of the state, units of energy per length.
        zero_modes: Number and kind of the zero modes left out.
        smallest_eigenvalue: Smallest non-zero eigenvalue of the backbone Hessian, units of energy per length squared.
        at_any_point: Whether the state was not required to be stationary.
        factor: The backbone Hessian, shape (m, m), and its factor.
        unknowns: Numbers of the degrees of freedom that respond, in the factor's order, shape (m,).
        modes: All zero modes in the same order, orthonormal columns, shape (m, k).
    """

    state: State
    network: Network
    max_force: float
    zero_modes: ZeroModes
    smallest_eigenvalue: float
    at_any_point: bool
    factor: Factor
    unknowns: np.ndarray
    modes: np.ndarray

    @property
    def norm(self) -> float:
        """Largest absolute row sum of the Hessian, an upper bound of its largest eigenvalue."""
        return self.factor.norm

    @property
    def method(self) -> str:
        """The linear solver, in words."""
        return f"{self.factor.method}, shift {self.factor.shift:.1e}, projected, refined"

    def solve(self, rhs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        r"""Return :math:`H^{+} b` for every right-hand side.

        The factor of :math:`H + \mu` is refined iteratively until the residual stops falling, so that the shift
        leaves no trace: each refinement multiplies the error by :math:`\mu/(\lambda + \mu)`.

        Args:
            rhs: Right-hand sides, shape (k, n, d), units of force.

        Returns:
            Solutions, shape (k, n, d), and relative residuals |P(b - H y)|/|P b|, shape (k,).
        """
        wanted = self._reduced(rhs)
        solution, residual = np.zeros_like(wanted), wanted
        norm = size = np.linalg.norm(wanted, axis=0)
        for _ in range(_MOST_REFINEMENTS):
            candidate = solution + project_out(self.modes, self.factor.solve(residual))
            left = project_out(self.modes, wanted - self.factor.product(candidate))
            left_size = np.linalg.norm(left, axis=0)
            better = left_size < size
            if better.all():
                solution, residual, size = candidate, left, left_size
            else:
                solution, residual = np.where(better, candidate, solution), np.where(better, left, residual)
                size = np.minimum(size, left_size)
            if not better.any() or (size <= _ROUNDING * norm).all():
                break
        full = np.zeros((len(rhs), rhs[0].size))
        full[:, self.unknowns] = solution.T
        return full.reshape(rhs.shape), size / np.where(norm > 0, norm, 1.0)

    def _reduced(self, fields: np.ndarray) -> np.ndarray:
        """Return fields of shape (k, n, d) as columns on the unknowns, shape (m, k), without zero modes."""
        return project_out(self.modes, fields.reshape(len(fields), -1)[:, self.unknowns].T)

    def forward(self, tangents: Parameters) -> Forward:
        """Return the response to parameter directions (leading axis of every leaf)."""
        slopes, force = (np.asarray(part) for part in slopes_and_forces(self.state, tangents))
        solutions, residuals = self.solve(np.concatenate([-slopes, force[None]]))
        values, step = solutions[:-1], solutions[-1]
        drift, slope_drift, hessian_drift = (np.asarray(part) for part in drifts(self.state, tangents, values, step))
        # an estimate needs no refinement: the shift changes it by parts in a million at most
        change = np.linalg.norm(project_out(self.modes, self.factor.solve(self._reduced(drift))), axis=0)
        return Forward(values, residuals[:-1], norms(slopes), change, norms(slope_drift), float(hessian_drift))


def norms(fields: np.ndarray) -> np.ndarray:
    """Return the 2-norm of every field, shape (k,), of an array of shape (k, n, d)."""
    return np.asarray(np.linalg.norm(fields.reshape(len(fields), -1), axis=1))
