r"""Derivatives of observables of relaxed states in the parameters, forward or adjoint, each with its certificate.

See ``mdsens.sensitivity.positions`` for the equations.
"""

from __future__ import annotations

from collections.abc import Mapping

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import scipy.sparse.linalg as spla

from mdsens.energy import State
from mdsens.energy.parameters import Parameters, flattened
from mdsens.energy.paths import Selection, select
from mdsens.energy.strain import n_strains
from mdsens.errors import NumericalError
from mdsens.hessian import directional_row_sum
from mdsens.hessian.derivatives import mixed_slopes, products
from mdsens.hessian.mixed import mixed_matrix
from mdsens.response import LinearResponse
from mdsens.response.forward import border_drift_norms, chunks, has_sparse_slopes
from mdsens.response.linear import norms
from mdsens.rounding import UNIT
from mdsens.sensitivity.certified import ObservableSensitivity, PositionSensitivity
from mdsens.sensitivity.derivatives import (
    Observable,
    adjoint_slope,
    observable_slopes,
    pulled_parameters,
)
from mdsens.sensitivity.positions import (
    Step,
    certificate_of,
    check_selection,
    directions_of,
    newton_step,
    position_sensitivity,
    refuse_loaded_directions,
    solved,
)
from mdsens.sensitivity.slopes import Slopes, finite_slope, rounding, three_slopes
from mdsens.types import Position, Scalar

Pair = tuple[np.ndarray, np.ndarray]


def observable_sensitivity(
    response: LinearResponse,
    observable: Observable,
    selection: Selection,
    *,
    name: str = "observable",
    positions: PositionSensitivity | None = None,
) -> ObservableSensitivity:
    """Return the total derivative dO/dp of one scalar observable: ``observable_sensitivities`` of a single one."""
    return observable_sensitivities(response, {name: observable}, selection, positions=positions)[0]


def observable_sensitivities(
    response: LinearResponse,
    observables: Mapping[str, Observable],
    selection: Selection,
    *,
    positions: PositionSensitivity | None = None,
) -> tuple[ObservableSensitivity, ...]:
    """Return the total derivatives dO/dp of scalar observables for every selected entry, all from one factor.

    The cheaper way is taken: forward costs one solve per entry, adjoint one per observable.

    Args:
        response: The factored Hessian of the relaxed state.
        observables: JAX functions ``State -> scalar`` by name.
        selection: Parameter entries.
        positions: dx/dp of the same selection when it is at hand: the forward way then costs no solve.

    Raises:
        NumericalError: When a linear solve misses its residual or a derivative is not finite.
    """
    check_selection(response, selection)
    at_hand = positions is not None and positions.paths == selection.paths
    if not at_hand and len(observables) > len(selection.paths):
        positions, at_hand = position_sensitivity(response, selection), True
    step = newton_step(response)
    if not at_hand:
        refuse_loaded_directions(response, directions_of(selection))
    if at_hand and positions is not None:
        return _forward(response, observables, selection, positions, step)
    return _adjoint(response, observables, selection, step)


def gradient(response: LinearResponse, observable: Observable) -> Parameters:
    """Return dO/dp for *all* parameters by one adjoint solve, shaped like the parameters."""
    state = response.state
    refuse_loaded_directions(response, directions_of(select(state)))
    _, by_position, by_strain, _ = observable_slopes(observable, state, jnp.zeros(n_strains(state)))
    fields, loads, _ = solved(response, np.asarray(by_position)[None], np.asarray(by_strain)[None])
    return adjoint_slope(observable, state, jnp.asarray(fields[0]), jnp.asarray(loads[0]))


def pull_back(response: LinearResponse, cotangent: np.ndarray) -> Parameters:
    """Return the adjoint derivative of <cotangent, x*(p)>, shaped like the parameters; cotangent has shape (n, d)."""
    return gradient(response, _Weighted(jnp.asarray(cotangent)))


class _Weighted(eqx.Module):
    """The observable <w, x>, whose partial derivative in the parameters is zero."""

    weights: Position

    def __call__(self, state: State) -> Scalar:
        return jnp.vdot(self.weights, state.position)


def _forward(
    response: LinearResponse,
    observables: Mapping[str, Observable],
    selection: Selection,
    positions: PositionSensitivity,
    step: Step,
) -> tuple[ObservableSensitivity, ...]:
    """Contract the response of positions and strains with the slopes of the observables."""
    box, held, count = positions.box, positions.certificate, len(selection.paths)
    moves = (positions.values if box is None else box.displacements).reshape(count, -1)
    components = np.zeros((count, 0)) if box is None else box.components
    ends = three_slopes(response, tuple(observables.values()), step)
    records = []
    for k, name in enumerate(observables):
        terms, moved, vague = (
            (
                selection.contract(end.found[k][3]),
                moves @ finite_slope(name, end.found[k][1]).ravel(),
                components @ np.asarray(end.found[k][2]),
            )
            for end in ends
        )
        values, slope = np.sum(terms, axis=0), finite_slope(name, ends[0].found[k][1])
        drift = np.abs(np.sum(moved, axis=0) - values) / ends[1].fraction + rounding(terms, vague, ends[2].fraction)
        drift = drift + UNIT * (np.abs(moves) @ np.abs(slope.ravel()))
        size = np.linalg.norm(slope)
        quality = held.residual, held.error * size + drift, held.bound * size + drift
        records.append(_record(response, name, ends[0].found[k][0], selection, values, "forward", quality))
    return tuple(records)


def _adjoint(
    response: LinearResponse, observables: Mapping[str, Observable], selection: Selection, step: Step
) -> tuple[ObservableSensitivity, ...]:
    here, there, blurred = three_slopes(response, tuple(observables.values()), step)
    slopes = np.stack([finite_slope(name, part[1]) for name, part in zip(observables, here.found, strict=True)])
    fields, loads, residuals = solved(response, slopes, here.stacked(2))
    # O_q - K lambda, what the solve left of it and its change along the step, lambda held, moves the adjoint
    left, ends = (
        [
            end.stacked(side) - np.asarray(part)
            for side, part in enumerate(products(end.state, end.components, fields, loads), 1)
        ]
        for end in (here, there)
    )
    bent = [later - now + there.fraction * now for now, later in zip(left, ends, strict=True)]
    changes = response.solve_joint(*bent)[:2]
    later = fields + changes[0], loads + changes[1]
    terms, moved, vague = (
        _lagrangian_slopes(selection, end, *solution)
        for end, solution in ((here, (fields, loads)), (there, later), (blurred, (fields, loads)))
    )
    values = np.sum(terms, axis=0)
    drifts = np.abs(np.sum(moved, axis=0) - values) / there.fraction + rounding(terms, vague, blurred.fraction)
    wobbles = _wobbles(response, selection, step, (fields, loads), residuals * norms(slopes))
    records = []
    for k, name in enumerate(observables):
        quality = np.full(values.shape[1], residuals[k]), drifts[k], drifts[k] + wobbles[k]
        records.append(_record(response, name, here.found[k][0], selection, values[k], "adjoint", quality))
    return tuple(records)


def _wobbles(response: LinearResponse, selection: Selection, step: Step, adjoint: Pair, left: np.ndarray) -> np.ndarray:
    r"""Bound :math:`\lambda\cdot\delta K\, J` and what a solve left of the adjoint, from norms, shape (m, k).

    Args:
        response: The response.
        selection: The entries.
        step: The step along which K changes.
        adjoint: :math:`\lambda` of m observables.
        left: Norm of what the solves left, shape (m,).
    """
    state, stiffness = response.state, abs(response.smallest_eigenvalue)
    moved, components = response.border.reach(*_mixed_norms(state, selection), stiffness)
    hessian = float(directional_row_sum(state, step[0], step[1]))
    coupling, curvature = border_drift_norms(state, *step) if len(step[1]) else (0.0, 0.0)
    by_moves, by_components = (norms(part)[:, None] for part in adjoint)
    changed = by_moves * (hessian * moved + coupling * components)
    changed = changed + by_components * (coupling * moved + curvature * components)
    return np.asarray(changed + left[:, None] * moved)


def _mixed_norms(state: State, selection: Selection) -> Pair:
    """Return the norms of d2W/dx dp along every direction, and of the same of the strains, both of shape (k,)."""
    if has_sparse_slopes(state, selection):
        found = np.asarray(spla.norm(mixed_matrix(state) @ selection.directions.T, axis=0))
        return found, np.zeros(len(found))
    parts = [mixed_slopes(state, selection.part(rows).tangents) for rows in chunks(len(selection.paths))]
    fields, loads = (np.concatenate([norms(np.asarray(part)) for part in side]) for side in zip(*parts, strict=True))
    return fields, loads


def _lagrangian_slopes(
    selection: Selection, at: Slopes, fields: np.ndarray, loads: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the derivatives of O and of -lambda.W_q along every entry, both of shape (m, k)."""
    own = np.stack([selection.contract(part[3]) for part in at.found])
    pulled = flattened(pulled_parameters(at.state, at.components, jnp.asarray(fields), jnp.asarray(loads)))
    return own, -(selection.directions @ pulled.T).T


def _record(
    response: LinearResponse,
    name: str,
    value: Scalar,
    selection: Selection,
    values: np.ndarray,
    way: str,
    quality: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> ObservableSensitivity:
    _refuse_nonfinite(name, values)
    residual, error, bound = quality
    certificate = certificate_of(response, residual, error, bound, np.abs(values))
    return ObservableSensitivity(
        name, float(value), selection.paths, selection.values, selection.units, values, way, certificate
    )


def _refuse_nonfinite(name: str, values: np.ndarray) -> None:
    """Refuse derivatives that are not finite.

    Raises:
        NumericalError: With the name of the observable.
    """
    if not np.isfinite(values).all():
        raise NumericalError(
            f"the derivative of {name} is not finite at this state: the observable has a kink or a pole there."
        )
