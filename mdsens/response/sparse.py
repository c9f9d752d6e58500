"""Sparse direct response: a shifted, refined LU factor of the backbone Hessian, for systems of any size."""

from __future__ import annotations

import dataclasses

import numpy as np
import scipy.sparse as sp

from mdsens.backbone import Network
from mdsens.derivatives import drifts, slopes_and_forces
from mdsens.energy import PairPotential, State
from mdsens.errors import NumericalError
from mdsens.hessian import Factor, factorise, hessian
from mdsens.parameters import Parameters
from mdsens.response.linear import Forward, LinearResponse, norms
from mdsens.response.null_space import ZeroModes, known_zero_modes, project_out, spectrum_edge
from mdsens.results import Verdict

_MOST_REFINEMENTS = 5
_ROUNDING = 1e-14  # relative residual at which refinement has nothing left to gain
_SYMMETRIC = 1e-6  # of the matrix norm: a motion that changes the gradient by less is a symmetry


@dataclasses.dataclass(frozen=True)
class SparseResponse(LinearResponse):
    """A response with a sparse factor.

    Attributes:
        unknowns: Numbers of the degrees of freedom that respond, shape (m,).
        matrix: Their Hessian, shape (m, m).
        factor: Factor of the shifted matrix.
        modes: All zero modes, orthonormal columns, shape (m, k).
    """

    unknowns: np.ndarray
    matrix: sp.csc_array
    factor: Factor
    modes: np.ndarray

    @property
    def method(self) -> str:
        """The linear solver, in words."""
        return f"sparse direct (SuperLU, symmetric mode), shift {self.factor.shift:.1e}, projected, refined"

    def solve(self, rhs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        r"""Solve as ``LinearResponse.solve`` says.

        The factor of :math:`H + \mu` is refined iteratively until the residual stops falling, so that the shift
        leaves no trace: each refinement multiplies the error by :math:`\mu/(\lambda + \mu)`.
        """
        k = len(rhs)
        wanted = project_out(self.modes, rhs.reshape(k, -1)[:, self.unknowns].T)
        solution = np.zeros_like(wanted)
        residual, norm = wanted, np.linalg.norm(wanted, axis=0)
        for _ in range(_MOST_REFINEMENTS):
            candidate = solution + project_out(self.modes, self.factor.solve(residual))
            left = project_out(self.modes, wanted - self.matrix @ candidate)
            better = np.linalg.norm(left, axis=0) < np.linalg.norm(residual, axis=0)
            solution, residual = np.where(better, candidate, solution), np.where(better, left, residual)
            if not better.any() or np.all(np.linalg.norm(residual, axis=0) <= _ROUNDING * norm):
                break
        full = np.zeros((k, rhs[0].size))
        full[:, self.unknowns] = solution.T
        return full.reshape(rhs.shape), np.linalg.norm(residual, axis=0) / np.where(norm > 0, norm, 1.0)

    def forward(self, tangents: Parameters) -> Forward:
        """Respond as ``LinearResponse.forward`` says."""
        slopes, force = (np.asarray(part) for part in slopes_and_forces(self.state, tangents))
        solutions, residuals = self.solve(np.concatenate([-slopes, force[None]]))
        values, step = solutions[:-1], solutions[-1]
        drift, slope_drift, hessian_drift = (np.asarray(part) for part in drifts(self.state, tangents, values, step))
        change, _ = self.solve(-drift)
        return Forward(values, residuals[:-1], norms(slopes), norms(change), norms(slope_drift), float(hessian_drift))


def sparse_response(state: State, network: Network, largest: float, *, at_any_point: bool) -> SparseResponse:
    """Assemble and factor the backbone Hessian of a state whose pairs are the backbone's contacts.

    Raises:
        NumericalError: When the Hessian has a negative eigenvalue and ``at_any_point`` is not set.
    """
    active = np.flatnonzero(network.backbone)
    d = state.configuration.dimension
    unknowns = (active[:, None] * d + np.arange(d)).ravel()
    matrix = hessian(state, network.backbone)
    factor = factorise(matrix)
    if factor.n_negative and not at_any_point:
        raise NumericalError(f"no sensitivity: {Verdict.SADDLE.sentence}")
    known, n_translations, n_rotations = known_zero_modes(np.asarray(state.position)[active], state.configuration.box)
    if not isinstance(state.potential, PairPotential):
        # an external field breaks symmetries; what it leaves must still annihilate the Hessian
        free = np.linalg.norm(matrix @ known, axis=0) <= _SYMMETRIC * factor.norm
        n_translations, n_rotations = int(free[:n_translations].sum()), int(free[n_translations:].sum())
        known = known[:, free]
    smallest, floppy = spectrum_edge(matrix, factor, known)
    return SparseResponse(
        state=state,
        network=network,
        max_force=largest,
        zero_modes=ZeroModes(n_translations, n_rotations, network.n_rattlers, floppy.shape[1]),
        smallest_eigenvalue=smallest,
        norm=factor.norm,
        at_any_point=at_any_point,
        unknowns=unknowns,
        matrix=matrix,
        factor=factor,
        modes=np.hstack([known, floppy]),
    )
