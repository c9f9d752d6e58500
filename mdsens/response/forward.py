"""The response to many parameter entries at once, with the numbers that its certificate is made of."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp
from jaxtyping import Array

from mdsens.energy import PairPotential, State, free_forces
from mdsens.energy.parameters import Parameters
from mdsens.energy.paths import Selection
from mdsens.hessian.derivatives import (
    border_drift,
    dense_forward,
    drifts,
    drifts_by_differences,
    mixed,
    slopes_and_forces,
)
from mdsens.hessian.mixed import mixed_matrix, sparse_drifts
from mdsens.linear import Spectrum
from mdsens.response.linear import SOLVED, LinearResponse, norms
from mdsens.response.null_space import project_out
from mdsens.rounding import UNIT, position_rounding

CHUNK = 64  # parameter entries whose dense columns are held at a time
_ESTIMATE = 1e-3  # relative residual that is enough for an estimate of an error
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


def forward_response(response: LinearResponse, selection: Selection) -> Forward:
    """Return the response to the selected parameter entries.

    Many entries of a pair law (one per particle, say) share sparse matrices of second derivatives; others are
    differentiated along their directions. Either way intermediate results are of a few dozen entries at a time.
    """
    if has_sparse_slopes(response.state, selection):
        parts = _by_matrices(response, selection)
    elif isinstance(response.factor, Spectrum) and not len(response.border.strains):
        parts = _in_one_call(response, selection, response.factor)
    else:
        parts = _by_directions(response, selection)
    found = _joined(parts, len(selection.paths))
    return found if np.isfinite(found.change).all() else _by_differences(response, found, selection)


def _by_differences(response: LinearResponse, found: Forward, selection: Selection) -> Forward:
    """Return the response with changes from states nearby: the energy's third derivatives are not numbers."""
    if len(response.border.strains):
        return found
    step = _remaining_step(response)
    change, slope_drift = np.empty_like(found.change), np.empty_like(found.slope_drift)
    for rows in chunks(len(selection.paths)):
        tangents = selection.part(rows).tangents
        drift, slope_drifts = drifts_by_differences(response.state, tangents, found.values[rows], jnp.asarray(step))
        change[rows], slope_drift[rows] = _change(response, drift), norms(slope_drifts)
    return dataclasses.replace(found, change=change, slope_drift=slope_drift)


def _remaining_step(response: LinearResponse) -> np.ndarray:
    """Return how far particles are from where no force is left, shape (n, d), to a few digits."""
    return response.solve(np.asarray(_forces(response.state))[None], _ESTIMATE)[0][0]


def _in_one_call(response: LinearResponse, selection: Selection, spectrum: Spectrum) -> Iterator[Forward]:
    kept = ~spectrum.zero
    solver = (response.unknowns, spectrum.matrix, spectrum.vectors[:, kept], spectrum.values[kept])
    for rows in chunks(len(selection.paths)):
        found = dense_forward(response.state, selection.part(rows).tangents, *solver)
        values, residual, slope, change, slope_drift, hessian_drift = (np.asarray(part) for part in found)
        bound = _bound(response, slope, slope_drift, hessian_drift)
        load = _load_of(response, selection.part(rows).tangents)
        yield Forward(values, np.zeros((len(values), 0)), residual, slope, change, slope_drift, bound, load)


def _load_of(response: LinearResponse, tangents: Parameters) -> np.ndarray:
    if not response.zero_modes.floppy:
        return np.zeros(len(jax.tree.leaves(tangents)[0]))
    return response.load(np.asarray(mixed(response.state, tangents)))


def _by_directions(response: LinearResponse, selection: Selection) -> Iterator[Forward]:
    for rows in chunks(len(selection.paths)):
        tangents = selection.part(rows).tangents
        slopes, loads, force, push = (np.asarray(part) for part in slopes_and_forces(response.state, tangents))
        accuracy = np.append(np.full(len(slopes), SOLVED), _ESTIMATE)
        moved, components, residuals = response.solve_joint(
            np.concatenate([-slopes, force[None]]), np.concatenate([-loads, push[None]]), accuracy
        )
        values, step = moved[:-1], moved[-1] + position_rounding(np.asarray(response.state.position))
        parts, strain_step = components[:-1], components[-1] + UNIT
        drift, load_drift, slope_drift, load_slope_drift, hessian_drift = (
            np.asarray(part) for part in drifts(response.state, tangents, values, parts, step, strain_step)
        )
        change, slope = _change(response, drift, load_drift), norms(slopes)
        if len(parts[0]):
            bound = _joint_bound(
                response,
                (slope, np.linalg.norm(loads, axis=1)),
                (norms(slope_drift), np.linalg.norm(load_slope_drift, axis=1)),
                (float(hessian_drift), *border_drift_norms(response.state, step, strain_step)),
            )
        else:
            bound = _bound(response, slope, norms(slope_drift), hessian_drift)
        sizes = (slope, change, norms(slope_drift), bound)
        yield Forward(values, parts, residuals[:-1], *sizes, response.load(slopes))


def _by_matrices(response: LinearResponse, selection: Selection) -> Iterator[Forward]:
    shape, directions = response.state.position.shape, selection.directions.T
    step = _remaining_step(response) + position_rounding(np.asarray(response.state.position))
    drift = sparse_drifts(response.state, jnp.asarray(step))
    slopes = sp.csc_array(mixed_matrix(response.state) @ directions)
    slope_drifts = sp.csc_array(drift.by_parameter @ directions)
    hessian_drift = float(abs(drift.by_position).sum(axis=0).max())
    for rows in chunks(len(selection.paths)):
        slope, slope_drift = slopes[:, rows].toarray(), slope_drifts[:, rows].toarray()
        values, residuals = response.solve(-slope.T.reshape(-1, *shape))
        drifted = drift.by_position @ values.reshape(len(values), -1).T + slope_drift
        drifted[response.unknowns] += slope[response.unknowns] + response.factor.product(response.columns(values))
        sizes = norms(slope.T), _change(response, drifted.T.reshape(-1, *shape)), norms(slope_drift.T)
        bound, load = _bound(response, sizes[0], sizes[2], hessian_drift), response.load(slope.T.reshape(-1, *shape))
        yield Forward(values, np.zeros((len(values), 0)), residuals, *sizes, bound, load)


def _change(response: LinearResponse, drift: np.ndarray, load_drift: np.ndarray | None = None) -> np.ndarray:
    """Return the norm of real displacements under right-hand sides of positions and strains, shape (k,)."""
    # an estimate needs no refinement: the shift changes it by parts in a million at most
    reduced = response.reduced(drift)
    if response.modes.shape[1] < len(response.unknowns):
        found = project_out(response.modes, response.factor.solve(reduced))
    else:  # every motion is a zero mode, as in a cell of one atom
        found = np.zeros_like(reduced)
    if load_drift is None or not len(response.border.strains):
        return np.asarray(np.linalg.norm(found, axis=0))
    joint = response.border.closed(response.fields(found), drift, load_drift)
    return norms(response.border.followed(*joint, np.asarray(response.state.position)))


def _bound(
    response: LinearResponse, slope: np.ndarray, slope_drift: np.ndarray, hessian_drift: float | np.ndarray
) -> np.ndarray:
    """Bound the change of dx/dp at fixed box by the norms of U_xp, of its change and of the Hessian's."""
    stiffness = abs(response.smallest_eigenvalue)
    return np.asarray((slope_drift + hessian_drift * slope / stiffness) / stiffness)


def _joint_bound(
    response: LinearResponse,
    slopes: tuple[np.ndarray, np.ndarray],
    drift: tuple[np.ndarray, np.ndarray],
    by: tuple[float, float, float],
) -> np.ndarray:
    """The same of real positions where the box relaxes: slopes of positions and strains, parts of K's change."""
    stiffness, (hessian, coupling, curvature) = abs(response.smallest_eigenvalue), by
    moved, components = response.border.reach(*slopes, stiffness)
    field = drift[0] + hessian * moved + coupling * components
    load = drift[1] + coupling * moved + curvature * components
    return response.border.real(*response.border.reach(field, load, stiffness), np.asarray(response.state.position))


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
