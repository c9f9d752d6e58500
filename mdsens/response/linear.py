r"""The linear response of a relaxed state, factored once: :math:`y = H^{+} b` for any number of right-hand sides.

:math:`H^{+}` is the pseudo-inverse of the Hessian of the backbone: rigid translations (rotations of a free cluster),
rattlers and any floppy modes are left out exactly, by projection from both sides, never by lifting the diagonal. The
answer is the one of minimum norm: zero mean displacement over the backbone, zero rows for rattlers.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import scipy.sparse as sp

from mdsens.backbone import Network, contact_network, with_contacts
from mdsens.energy import PairPotential, State, forces, max_force
from mdsens.errors import NumericalError
from mdsens.hessian import Factor, factorise, hessian
from mdsens.relax import Relaxation
from mdsens.response.null_space import ZeroModes, known_zero_modes, project_out, spectrum_edge
from mdsens.results import Verdict

STATIONARITY = 1e-6  # epsilon/sigma: the largest force that still counts as a relaxed state
_MOST_REFINEMENTS = 5
_ROUNDING = 1e-14  # relative residual at which refinement has nothing left to gain
_SYMMETRIC = 1e-6  # of the matrix norm


@dataclasses.dataclass(frozen=True)
class LinearResponse:
    """A factored Hessian with its null space.

    Attributes:
        state: The state, its pairs restricted to the backbone's contacts.
        network: Contacts, backbone, rattlers.
        max_force: Largest force of the state, units of energy per length.
        unknowns: Numbers of the degrees of freedom that respond, shape (m,).
        matrix: Their Hessian, shape (m, m).
        factor: Factor of the shifted matrix.
        modes: All zero modes, orthonormal columns, shape (m, k).
        zero_modes: Their number and kind.
        smallest_eigenvalue: Smallest non-zero eigenvalue.
        at_any_point: Whether the state was not required to be stationary.
    """

    state: State
    network: Network
    max_force: float
    unknowns: np.ndarray
    matrix: sp.csc_array
    factor: Factor
    modes: np.ndarray
    zero_modes: ZeroModes
    smallest_eigenvalue: float
    at_any_point: bool

    @property
    def method(self) -> str:
        """The linear solver, in words."""
        return f"sparse direct (SuperLU, symmetric mode), shift {self.factor.shift:.1e}, projected, refined"

    def solve(self, rhs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        r"""Return :math:`H^{+} b` for every right-hand side.

        The factor of :math:`H + \mu` is refined iteratively until the residual stops falling, so that the shift leaves
        no trace: each refinement multiplies the error by :math:`\mu/(\lambda + \mu)`.

        Args:
            rhs: Right-hand sides, shape (k, n, d), units of force.

        Returns:
            Solutions, shape (k, n, d), and relative residuals |P(b - H y)|/|P b|, shape (k,).
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


def linear_response(
    relaxation: Relaxation, *, stationarity: float = STATIONARITY, at_any_point: bool = False
) -> LinearResponse:
    """Factor the Hessian of a relaxed state.

    Args:
        relaxation: The relaxed state with its verdict.
        stationarity: Largest force that still counts as relaxed, units of epsilon/sigma.
        at_any_point: Take the state as it is, stationary or not; results are labelled so and are no derivatives of a
            relaxed state. Meant for figures of optimiser iterates.

    Returns:
        The response.

    Raises:
        NumericalError: When the state did not relax, is a saddle or is unjammed; it says the verdict's sentence.
    """
    if not at_any_point:
        _refuse(relaxation, stationarity)
    return _factored(relaxation.state, relaxation.network, relaxation.max_force, at_any_point=at_any_point)


def response_at(state: State) -> LinearResponse:
    """Factor the Hessian at any state, stationary or not, labelled ``at_any_point``; pairs must hold all in range."""
    return _factored(state, contact_network(state), float(max_force(forces(state))), at_any_point=True)


def _refuse(relaxation: Relaxation, stationarity: float) -> None:
    if relaxation.verdict in (Verdict.UNJAMMED, Verdict.SADDLE, Verdict.NONFINITE, Verdict.OVERFLOW):
        raise NumericalError(f"no sensitivity: {relaxation.verdict.sentence}")
    unit = relaxation.force_unit
    if not relaxation.max_force <= stationarity * unit:
        raise NumericalError(
            f"no sensitivity: the largest force {relaxation.max_force:.2e} exceeds the stationarity threshold "
            f"{stationarity * unit:.2e}: relax further (max_steps, max_force) or label the result (at_any_point=True)."
        )


def _factored(state: State, network: Network, largest: float, *, at_any_point: bool) -> LinearResponse:
    if not network.backbone.any():
        raise NumericalError(f"no sensitivity: {Verdict.UNJAMMED.sentence}")
    active = np.flatnonzero(network.backbone)
    d = state.configuration.dimension
    unknowns = (active[:, None] * d + np.arange(d)).ravel()
    loaded = with_contacts(state, network)
    matrix = hessian(loaded, network.backbone)
    factor = factorise(matrix)
    known, n_translations, n_rotations = known_zero_modes(np.asarray(state.position)[active], state.configuration.box)
    if not isinstance(state.potential, PairPotential):
        # an external field breaks symmetries; what it leaves must still annihilate the Hessian
        free = np.linalg.norm(matrix @ known, axis=0) <= _SYMMETRIC * factor.norm
        n_translations, n_rotations = int(free[:n_translations].sum()), int(free[n_translations:].sum())
        known = known[:, free]
    smallest, floppy = spectrum_edge(matrix, factor, known)
    if factor.n_negative and not at_any_point:
        raise NumericalError(f"no sensitivity: {Verdict.SADDLE.sentence}")
    return LinearResponse(
        state=loaded,
        network=network,
        max_force=largest,
        unknowns=unknowns,
        matrix=matrix,
        factor=factor,
        modes=np.hstack([known, floppy]),
        zero_modes=ZeroModes(n_translations, n_rotations, network.n_rattlers, floppy.shape[1]),
        smallest_eigenvalue=smallest,
        at_any_point=at_any_point,
    )
