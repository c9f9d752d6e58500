r"""The linear response of a relaxed state, factored once: :math:`y = H^{+} b` for any number of right-hand sides.

:math:`H^{+}` is the pseudo-inverse of the Hessian of the backbone: rigid translations (rotations of a free cluster),
rattlers and any floppy modes are left out exactly, by projection from both sides, never by lifting the diagonal. The
answer is the one of minimum norm: zero mean displacement over the backbone, zero rows for rattlers.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp
from jaxtyping import Array

from mdsens.contacts import Network
from mdsens.energy import PairPotential, State, free_forces
from mdsens.energy.parameters import Parameters
from mdsens.energy.paths import Selection
from mdsens.errors import NumericalError
from mdsens.hessian.derivatives import (
    border_drift,
    dense_forward,
    drifts,
    drifts_by_differences,
    mixed,
    slopes_and_forces,
)
from mdsens.hessian.mixed import mixed_matrix, sparse_drifts
from mdsens.linear import ZERO, Factor, Spectrum
from mdsens.response.border import Border
from mdsens.response.null_space import ZeroModes, project_out
from mdsens.rounding import UNIT, position_rounding

CHUNK = 64  # parameter entries whose dense columns are held at a time
_MOST_REFINEMENTS = 5
WORST_RESIDUAL = 1e-6  # relative residual with which an answer is still given
_ROUNDING = 1e-14  # relative residual at which refinement has nothing left to gain
_LOADED = 30.0  # times its rounding: a load of a floppy mode that is none
_ESTIMATE = 1e-3  # and the one that is enough for an estimate of an error
_forces = jax.jit(free_forces)


@dataclasses.dataclass(frozen=True)
class Forward:
    """The response to k parameter directions, and what its certificate is made of.

    Attributes:
        values: What particles move beyond following the box (dx/dp at fixed box), shape (k, n, d).
        components: Components of the free strains, shape (k, s).
        residual: Relative residual of every solve, shape (k,).
        slope: Norm of U_xp, shape (k,).
        change: Norm of the first-order change of real positions under the remaining Newton step and the rounding of
            positions, and of what the solve left, shape (k,).
        slope_drift: Norm of the change of U_xp along that step, shape (k,).
        bound: Upper bound of that change, from norms alone, shape (k,).
        load: Norm of U_xp's part along floppy modes, shape (k,).
    """

    values: np.ndarray
    components: np.ndarray
    residual: np.ndarray
    slope: np.ndarray
    change: np.ndarray
    slope_drift: np.ndarray
    bound: np.ndarray
    load: np.ndarray


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
        along = self.floppy.T @ self._columns(fields)
        return np.asarray(np.linalg.norm(along, axis=0))

    @property
    def method(self) -> str:
        """The linear solver, in words."""
        border = f", bordered by {len(self.border.strains)} strains" if len(self.border.strains) else ""
        return f"{self.factor.method}, shift {self.factor.shift:.1e}, projected, refined{border}"

    def solve(self, rhs: np.ndarray, rtol: float | np.ndarray = _ROUNDING) -> tuple[np.ndarray, np.ndarray]:
        r"""Return :math:`H^{+} b` for every right-hand side.

        The factor of :math:`H + \mu` is refined iteratively until the residual is as small as asked for or stops
        falling, so that the shift leaves no trace: each refinement multiplies the error by :math:`\mu/(\lambda + \mu)`.

        Args:
            rhs: Right-hand sides, shape (k, n, d), units of force.
            rtol: Relative residual to reach, one number or shape (k,).

        Returns:
            Solutions, shape (k, n, d), and relative residuals |P(b - H y)|/|P b|, shape (k,).
        """
        wanted = self._reduced(rhs)
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
        full = np.zeros((len(rhs), rhs[0].size))
        full[:, self.unknowns] = solution.T
        return full.reshape(rhs.shape), size / np.where(norm > 0, norm, 1.0)

    def solve_joint(
        self, fields: np.ndarray, loads: np.ndarray, rtol: float | np.ndarray = _ROUNDING
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

    def _reduced(self, fields: np.ndarray) -> np.ndarray:
        """Return fields of shape (k, n, d) as columns on the unknowns, shape (m, k), without zero modes."""
        return project_out(self.modes, self._columns(fields))

    def _columns(self, fields: np.ndarray) -> np.ndarray:
        return fields.reshape(len(fields), -1)[:, self.unknowns].T

    def forward(self, selection: Selection) -> Forward:
        """Return the response to the selected parameter entries.

        Many entries of a pair law (one per particle, say) share sparse matrices of second derivatives; others are
        differentiated along their directions. Either way intermediate results are of a few dozen entries at a time.
        """
        if has_sparse_slopes(self.state, selection):
            parts = self._by_matrices(selection)
        elif isinstance(self.factor, Spectrum) and not len(self.border.strains):
            parts = self._in_one_call(selection, self.factor)
        else:
            parts = self._by_directions(selection)
        found = _joined(parts, len(selection.paths))
        return found if np.isfinite(found.change).all() else self._by_differences(found, selection)

    def _by_differences(self, found: Forward, selection: Selection) -> Forward:
        """Return the response with changes from states nearby: the energy's third derivatives are not numbers."""
        if len(self.border.strains):
            return found
        step = self.solve(np.asarray(_forces(self.state))[None], _ESTIMATE)[0][0]
        change, slope_drift = np.empty_like(found.change), np.empty_like(found.slope_drift)
        for rows in chunks(len(selection.paths)):
            tangents = selection.part(rows).tangents
            drift, slope_drifts = drifts_by_differences(self.state, tangents, found.values[rows], jnp.asarray(step))
            change[rows], slope_drift[rows] = self._change(drift), norms(slope_drifts)
        return dataclasses.replace(found, change=change, slope_drift=slope_drift)

    def _in_one_call(self, selection: Selection, spectrum: Spectrum) -> Iterator[Forward]:
        kept = ~spectrum.zero
        solver = (self.unknowns, spectrum.matrix, spectrum.vectors[:, kept], spectrum.values[kept])
        for rows in chunks(len(selection.paths)):
            found = dense_forward(self.state, selection.part(rows).tangents, *solver)
            values, residual, slope, change, slope_drift, hessian_drift = (np.asarray(part) for part in found)
            bound, load = self._bound(slope, slope_drift, hessian_drift), self._load_of(selection.part(rows).tangents)
            yield Forward(values, np.zeros((len(values), 0)), residual, slope, change, slope_drift, bound, load)

    def _load_of(self, tangents: Parameters) -> np.ndarray:
        if not self.zero_modes.floppy:
            return np.zeros(len(jax.tree.leaves(tangents)[0]))
        return self.load(np.asarray(mixed(self.state, tangents)))

    def _by_directions(self, selection: Selection) -> Iterator[Forward]:
        for rows in chunks(len(selection.paths)):
            tangents = selection.part(rows).tangents
            slopes, loads, force, push = (np.asarray(part) for part in slopes_and_forces(self.state, tangents))
            accuracy = np.append(np.full(len(slopes), _ROUNDING), _ESTIMATE)
            moved, components, residuals = self.solve_joint(
                np.concatenate([-slopes, force[None]]), np.concatenate([-loads, push[None]]), accuracy
            )
            values, step = moved[:-1], moved[-1] + position_rounding(np.asarray(self.state.position))
            parts, strain_step = components[:-1], components[-1] + UNIT
            drift, load_drift, slope_drift, load_slope_drift, hessian_drift = (
                np.asarray(part) for part in drifts(self.state, tangents, values, parts, step, strain_step)
            )
            change, slope = self._change(drift, load_drift), norms(slopes)
            if len(parts[0]):
                bound = self._joint_bound(
                    (slope, np.linalg.norm(loads, axis=1)),
                    (norms(slope_drift), np.linalg.norm(load_slope_drift, axis=1)),
                    (float(hessian_drift), *border_drift_norms(self.state, step, strain_step)),
                )
            else:
                bound = self._bound(slope, norms(slope_drift), hessian_drift)
            sizes = (slope, change, norms(slope_drift), bound)
            yield Forward(values, parts, residuals[:-1], *sizes, self.load(slopes))

    def _by_matrices(self, selection: Selection) -> Iterator[Forward]:
        shape, directions = self.state.position.shape, selection.directions.T
        step = self.solve(np.asarray(_forces(self.state))[None], _ESTIMATE)[0][0]
        step = step + position_rounding(np.asarray(self.state.position))
        drift = sparse_drifts(self.state, jnp.asarray(step))
        slopes = sp.csc_array(mixed_matrix(self.state) @ directions)
        slope_drifts = sp.csc_array(drift.by_parameter @ directions)
        hessian_drift = float(abs(drift.by_position).sum(axis=0).max())
        for rows in chunks(len(selection.paths)):
            slope, slope_drift = slopes[:, rows].toarray(), slope_drifts[:, rows].toarray()
            values, residuals = self.solve(-slope.T.reshape(-1, *shape))
            drifted = drift.by_position @ values.reshape(len(values), -1).T + slope_drift
            drifted[self.unknowns] += slope[self.unknowns] + self.factor.product(self._columns(values))
            sizes = norms(slope.T), self._change(drifted.T.reshape(-1, *shape)), norms(slope_drift.T)
            bound, load = self._bound(sizes[0], sizes[2], hessian_drift), self.load(slope.T.reshape(-1, *shape))
            yield Forward(values, np.zeros((len(values), 0)), residuals, *sizes, bound, load)

    def _change(self, drift: np.ndarray, load_drift: np.ndarray | None = None) -> np.ndarray:
        """Return the norm of real displacements under right-hand sides of positions and strains, shape (k,)."""
        # an estimate needs no refinement: the shift changes it by parts in a million at most
        reduced = self._reduced(drift)
        if self.modes.shape[1] < len(self.unknowns):
            found = project_out(self.modes, self.factor.solve(reduced))
        else:  # every motion is a zero mode, as in a cell of one atom
            found = np.zeros_like(reduced)
        if load_drift is None or not len(self.border.strains):
            return np.asarray(np.linalg.norm(found, axis=0))
        full = np.zeros((len(drift), drift[0].size))
        full[:, self.unknowns] = found.T
        joint = self.border.closed(full.reshape(drift.shape), drift, load_drift)
        return norms(self.border.followed(*joint, np.asarray(self.state.position)))

    def _bound(self, slope: np.ndarray, slope_drift: np.ndarray, hessian_drift: float | np.ndarray) -> np.ndarray:
        """Bound the change of dx/dp at fixed box by the norms of U_xp, of its change and of the Hessian's."""
        stiffness = abs(self.smallest_eigenvalue)
        return np.asarray((slope_drift + hessian_drift * slope / stiffness) / stiffness)

    def _joint_bound(
        self,
        slopes: tuple[np.ndarray, np.ndarray],
        drift: tuple[np.ndarray, np.ndarray],
        by: tuple[float, float, float],
    ) -> np.ndarray:
        """The same of real positions where the box relaxes: slopes of positions and strains, parts of K's change."""
        stiffness, (hessian, coupling, curvature) = abs(self.smallest_eigenvalue), by
        moved, components = self.border.reach(*slopes, stiffness)
        field = drift[0] + hessian * moved + coupling * components
        load = drift[1] + coupling * moved + curvature * components
        return self.border.real(*self.border.reach(field, load, stiffness), np.asarray(self.state.position))


def border_drift_norms(state: State, step: np.ndarray | Array, strain_step: np.ndarray | Array) -> tuple[float, float]:
    """Return the norms of the border's changes along a step: of the coupling, and of the strains' own curvature."""
    coupling, curvature = border_drift(state, jnp.asarray(step), jnp.asarray(strain_step))
    return float(jnp.linalg.norm(coupling.ravel())), float(jnp.linalg.norm(curvature.ravel()))


def has_sparse_slopes(state: State, selection: Selection) -> bool:
    """Return whether so many entries are wanted that sparse matrices of second derivatives pay."""
    return (
        len(selection.paths) > CHUNK
        and state.barostat is None  # strains would be full columns
        and isinstance(state.potential, PairPotential)
        and state.configuration.held is None  # so would positions that are parameters
    )


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


def chunks(n: int) -> Iterator[slice]:
    """Yield slices that take n things a few at a time."""
    return (slice(start, min(start + CHUNK, n)) for start in range(0, n, CHUNK))


def _joined(parts: Iterator[Forward], n: int) -> Forward:
    """Put the parts of n entries together, holding one part at a time besides the whole."""
    whole, done = next(parts), 0
    if len(whole.values) == n:
        return whole
    joined = {field.name: np.empty((n, *getattr(whole, field.name).shape[1:])) for field in dataclasses.fields(Forward)}
    for part in itertools.chain([whole], parts):
        rows = slice(done, done := done + len(part.values))
        for name, array in joined.items():
            array[rows] = getattr(part, name)
    return Forward(**joined)


def norms(fields: np.ndarray) -> np.ndarray:
    """Return the 2-norm of every field, shape (k,), of an array of shape (k, n, d)."""
    return np.asarray(np.linalg.norm(fields.reshape(len(fields), -1), axis=1))
