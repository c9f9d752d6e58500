r"""The linear response of a relaxed state, factored once: :math:`y = H^{+} b` for any number of right-hand sides.

:math:`H^{+}` is the pseudo-inverse of the Hessian of the backbone: rigid translations (rotations of a free cluster),
rattlers and any floppy modes are left out exactly, by projection from both sides, never by lifting the diagonal. The
answer is the one of minimum norm: zero mean displacement over the backbone, zero rows for rattlers.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from mdsens.contacts import Network
from mdsens.energy import State
from mdsens.errors import NumericalError
from mdsens.linear import ZERO, Factor
from mdsens.response.border import Border
from mdsens.response.null_space import ZeroModes, project_out
from mdsens.rounding import UNIT

_MOST_REFINEMENTS = 5
WORST_RESIDUAL = 1e-6  # relative residual with which an answer is still given
SOLVED = 1e-14  # relative residual at which refinement has nothing left to gain
_LOADED = 30.0  # times its rounding: a load of a floppy mode that is none


@dataclasses.dataclass(frozen=True)
class LinearResponse:
    """A factored Hessian with its null space and the border of the free strains.

    Attributes:
        state: The state, its pairs restricted to the backbone's contacts; it knows what its box may do.
        network: Contacts, backbone, rattlers.
        max_force: Largest force of the state, units of energy per length.
        zero_modes: Number and kind of the zero modes left out.
        smallest_eigenvalue: Smallest non-zero eigenvalue of the backbone Hessian, units of energy per length squared.
        at_any_point: Whether the state was not required to be stationary.
        factor: The backbone Hessian, shape (m, m), and its factor.
        unknowns: Numbers of the degrees of freedom that respond, in the factor's order, shape (m,).
        modes: All zero modes in the same order, orthonormal columns, shape (m, k).
        border: What the free strains add; no entries at fixed box.
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
    border: Border

    @property
    def fixed(self) -> LinearResponse:
        """The response of the same state with its box held."""
        state = self.state.under(None)
        return dataclasses.replace(self, state=state, border=Border.none(*state.position.shape))

    @property
    def norm(self) -> float:
        """Largest absolute row sum of the Hessian, an upper bound of its largest eigenvalue."""
        return self.factor.norm

    @property
    def floppy(self) -> np.ndarray:
        """The zero modes that no symmetry explains, orthonormal columns in the factor's order, shape (m, f)."""
        return self.modes[:, self.modes.shape[1] - self.zero_modes.floppy :]

    def load(self, fields: np.ndarray) -> np.ndarray:
        """Return the norm of the part of fields, shape (k, n, d), along floppy modes, shape (k,)."""
        along = self.floppy.T @ self.columns(fields)
        return np.asarray(np.linalg.norm(along, axis=0))

    @property
    def method(self) -> str:
        """The linear solver, in words."""
        border = f", bordered by {len(self.border.strains)} strains" if len(self.border.strains) else ""
        return f"{self.factor.method}, shift {self.factor.shift:.1e}, projected, refined{border}"

    def solve(self, rhs: np.ndarray, rtol: float | np.ndarray = SOLVED) -> tuple[np.ndarray, np.ndarray]:
        r"""Return :math:`H^{+} b` for every right-hand side.

        The factor of :math:`H + \mu` is refined iteratively until the residual is as small as asked for or stops
        falling, so that the shift leaves no trace: each refinement multiplies the error by :math:`\mu/(\lambda + \mu)`.

        Args:
            rhs: Right-hand sides, shape (k, n, d), units of force.
            rtol: Relative residual to reach, one number or shape (k,).

        Returns:
            Solutions, shape (k, n, d), and relative residuals |P(b - H y)|/|P b|, shape (k,).
        """
        wanted = self.reduced(rhs)
        solution, residual = np.zeros_like(wanted), wanted.copy()
        size = np.linalg.norm(wanted, axis=0)
        norm, active = size.copy(), np.flatnonzero(size > 0)
        goal = rtol * norm
        for _ in range(_MOST_REFINEMENTS):
            if not active.size:
                break
            step = project_out(self.modes, self.factor.solve(residual[:, active]))
            candidate = solution[:, active] + step
            left = project_out(self.modes, wanted[:, active] - self.factor.product(candidate))
            left_size = np.linalg.norm(left, axis=0)
            better = left_size < size[active]
            active, left_size = active[better], left_size[better]
            solution[:, active], residual[:, active], size[active] = candidate[:, better], left[:, better], left_size
            active = active[left_size > goal[active]]
        return self.fields(solution), size / np.where(norm > 0, norm, 1.0)

    def solve_joint(
        self, fields: np.ndarray, loads: np.ndarray, rtol: float | np.ndarray = SOLVED
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Solve for positions and free strains together.

        Args:
            fields: Right-hand sides of the particles, shape (k, n, d), units of force.
            loads: Right-hand sides of the strains, shape (k, s), units of energy.
            rtol: Relative residual to reach, one number or shape (k,).

        Returns:
            Displacements beyond following the box, shape (k, n, d); strain components, shape (k, s); relative
            residuals of the solves at fixed box, shape (k,).
        """
        found, residual = self.solve(fields, rtol)
        return *self.border.closed(found, fields, loads), residual

    def without_zero_modes(self, field: np.ndarray) -> np.ndarray:
        """Return a field, shape (n, d), without its part along translations, rotations and floppy modes."""
        flat = field.ravel().copy()
        flat[self.unknowns] = project_out(self.modes, flat[self.unknowns])
        return flat.reshape(field.shape)

    def reduced(self, fields: np.ndarray) -> np.ndarray:
        """Return fields of shape (k, n, d) as columns on the unknowns, shape (m, k), without zero modes."""
        return project_out(self.modes, self.columns(fields))

    def columns(self, fields: np.ndarray) -> np.ndarray:
        """Return fields of shape (k, n, d) as columns on the unknowns, shape (m, k)."""
        return fields.reshape(len(fields), -1)[:, self.unknowns].T

    def fields(self, columns: np.ndarray) -> np.ndarray:
        """Return columns on the unknowns, shape (m, k), as fields of shape (k, n, d); what does not respond is zero."""
        shape = self.state.position.shape
        flat = np.zeros((columns.shape[1], shape[0] * shape[1]))
        flat[:, self.unknowns] = columns.T
        return flat.reshape(-1, *shape)


def accepted(residual: np.ndarray) -> np.ndarray:
    """Return the relative residuals of linear solves if all of them are good.

    Raises:
        NumericalError: When one is not finite or above 1e-6.
    """
    if not np.isfinite(residual).all():
        raise NumericalError(
            "a derivative of the law or of the observable is not finite at this state: it has a kink or a pole there."
        )
    if not np.all(residual <= WORST_RESIDUAL):
        raise NumericalError(
            f"the linear solve left a relative residual of {residual.max():.1e} (at most {WORST_RESIDUAL:.0e} is "
            "accepted): the state is floppy or marginal; relax further or away from the transition."
        )
    return residual


def is_loaded(load: Any, slope: Any, drift: Any) -> Any:
    """Return which loads of floppy modes rounding does not explain; arguments of ``refuse_loaded``, maybe traced."""
    return load > _LOADED * (drift + UNIT * slope)


def refuse_loaded(load: np.ndarray, slope: np.ndarray, drift: np.ndarray, what: str) -> None:
    r"""Refuse to leave out floppy modes that the right-hand side loads.

    Where a mode v costs nothing, :math:`v\cdot U_{xp}` vanishes: the gradient is zero all along it, whatever p is. A
    load beyond rounding tells of a soft mode, not a floppy one, whose response, load over stiffness, would be missing.

    Args:
        load: Norm of the part of every right-hand side along floppy modes, shape (k,).
        slope: Norm of the right-hand sides, shape (k,).
        drift: How much they change within the rounding of positions and along the remaining step, shape (k,).
        what: What they belong to, for the message.

    Raises:
        NumericalError: When one exceeds what rounding explains.
    """
    loaded = is_loaded(load, slope, drift)
    if loaded.any():
        worst = float(np.max(load[loaded] / slope[loaded]))
        raise NumericalError(
            f"{what} loads a mode softer than {ZERO:.0e} of the stiffest (by {worst:.1e} of the whole load), which "
            "counts as floppy: its response would be missing. Bring the stiffnesses of the system closer together, or "
            "remove what holds so weakly."
        )


def norms(fields: np.ndarray) -> np.ndarray:
    """Return the 2-norm of every field, shape (k,), of an array of shape (k, n, d)."""
    return np.asarray(np.linalg.norm(fields.reshape(len(fields), -1), axis=1))
