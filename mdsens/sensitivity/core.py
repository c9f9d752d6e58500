r"""Derivatives of relaxed states and of observables in the parameters, each with its certificate.

With q = (positions, free strains of the box, if any) and W = U, or the enthalpy U + P V where the box relaxes,
:math:`W_q = 0` in a relaxed state for every p, so

.. math:: K\,\frac{dq}{dp} = -W_{qp}\ \text{(forward)}, \qquad
          K\lambda = O_q,\quad \frac{dO}{dp} = O_p - \lambda\cdot W_{qp}\ \text{(adjoint)}.

Forward costs one solve per parameter, adjoint one per observable; one factor serves both. At constant pressure the
pressure is a parameter like any other; so are those components of the box that are not free.

References:
    M. Blondel et al., Efficient and Modular Implicit Differentiation, NeurIPS 2022, arXiv:2105.15183.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import scipy.sparse.linalg as spla
from jaxtyping import Array

from mdsens.energy import State
from mdsens.energy.parameters import Parameters, flattened
from mdsens.energy.paths import Selection, select
from mdsens.energy.strain import enthalpy_gradient, n_strains, periodic_box, stress_deviation
from mdsens.errors import NumericalError, UserError
from mdsens.hessian import directional_row_sum
from mdsens.hessian.derivatives import NEARBY, carried, mixed, mixed_slopes, nearby, products
from mdsens.hessian.mixed import mixed_matrix
from mdsens.response import Forward, LinearResponse
from mdsens.response.linear import accepted, border_drift_norms, chunks, has_sparse_slopes, norms, refuse_loaded
from mdsens.rounding import UNIT, rounded_parameters
from mdsens.sensitivity.derivatives import (
    Observable,
    adjoint_slope,
    for_each,
    observable_slopes,
    pulled_parameters,
    volume_slopes,
)
from mdsens.sensitivity.records import (
    BoxResponse,
    Certificate,
    ObservableSensitivity,
    PositionSensitivity,
    relative,
)
from mdsens.types import PeriodicBox, Position, Scalar

Pair = tuple[np.ndarray, np.ndarray]
Step = tuple[Array, Array]  # of positions, shape (n, d), and of the free strains, shape (s,)


def position_sensitivity(response: LinearResponse, selection: Selection) -> PositionSensitivity:
    """Return dx/dp for every selected entry, from one factor.

    Args:
        response: The factored Hessian of the relaxed state.
        selection: Parameter entries, from ``mdsens.energy.paths.select``.

    Returns:
        dx/dp in the gauge of minimum norm (backbone mean zero unless particles are held, rattlers zero) with its
        certificate, whose errors are relative to what free particles do.

    Raises:
        UserError: When the selection was made for a box that does something else.
        NumericalError: When a linear solve misses a relative residual of 1e-6.
    """
    _check_selection(response, selection)
    found = response.forward(selection)
    refuse_loaded(found.load, found.slope, found.slope_drift, f"one of {', '.join(selection.paths[:3])}")
    residual = accepted(found.residual)
    if not np.isfinite(found.change).all():
        raise NumericalError(
            "the error of dx/dp cannot be estimated: second derivatives of the energy are not finite near this state."
        )
    followed = response.border.followed(found.values, found.components, np.asarray(response.state.position))
    size = norms(followed)
    certificate = _certificate(response, residual, found.change + UNIT * size, found.bound, size)
    values, box = followed + carried_along(response.state, selection), _box_response(response, selection, found)
    return PositionSensitivity(selection.paths, selection.values, selection.units, values, certificate, box)


def _check_selection(response: LinearResponse, selection: Selection) -> None:
    if (selection.parameters.pressure is None) is not (response.state.barostat is None):
        kinds = ["fixed box", "constant pressure"]
        made, now = kinds if selection.parameters.pressure is None else kinds[::-1]
        raise UserError(
            f"the parameters were chosen at {made}, and the response is one at {now}: select(response.state, names)."
        )


def _box_response(response: LinearResponse, selection: Selection, found: Forward) -> BoxResponse | None:
    if response.state.barostat is None:
        return None
    box, given = periodic_box(response.state), selection.tangents.box
    assert isinstance(given, PeriodicBox)
    strains = response.border.strain(found.components)
    own, volume = np.asarray(volume_slopes(response.state, selection.tangents)), float(box.volume)
    return BoxResponse(
        displacements=found.values,
        components=found.components,
        strains=strains,
        rates=strains @ np.asarray(box.matrix) + np.asarray(given.matrix),
        volumes=volume * np.trace(strains, axis1=1, axis2=2) + own,
    )


def carried_along(state: State, selection: Selection) -> np.ndarray | float:
    """Return how held particles move along every entry, shape (k, n, d); 0 where none is held."""
    if state.configuration.held is None:
        return 0.0
    parts = [np.asarray(carried(state, selection.part(rows).tangents)) for rows in chunks(len(selection.paths))]
    return np.concatenate(parts)


def forward(response: LinearResponse, tangents: Parameters) -> np.ndarray:
    """Return dx/dp along directions dp (leading axis of every leaf), shape (k, n, d), without a certificate.

    Raises:
        NumericalError: When a linear solve misses a relative residual of 1e-6, or a direction loads a soft mode that
            counts as floppy.
    """
    _refuse_loaded(response, [(tangents, "one of the directions")])
    slopes, loads = (-np.asarray(part) for part in mixed_slopes(response.state, tangents))
    moved, components, _ = _solved(response, slopes, loads)
    found = response.border.followed(moved, components, np.asarray(response.state.position))
    return found if response.state.configuration.held is None else found + np.asarray(carried(response.state, tangents))


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
    _check_selection(response, selection)
    at_hand = positions is not None and positions.paths == selection.paths
    if not at_hand and len(observables) > len(selection.paths):
        positions, at_hand = position_sensitivity(response, selection), True
    step = newton_step(response)
    if not at_hand:
        _refuse_loaded(response, _entries(selection))
    if at_hand and positions is not None:
        return _forward(response, observables, selection, positions, step)
    return _adjoint(response, observables, selection, step)


def gradient(response: LinearResponse, observable: Observable) -> Parameters:
    """Return dO/dp for *all* parameters by one adjoint solve, shaped like the parameters."""
    state = response.state
    _refuse_loaded(response, _entries(select(state)))
    _, by_position, by_strain, _ = observable_slopes(observable, state, jnp.zeros(n_strains(state)))
    fields, loads, _ = _solved(response, np.asarray(by_position)[None], np.asarray(by_strain)[None])
    return adjoint_slope(observable, state, jnp.asarray(fields[0]), jnp.asarray(loads[0]))


def pull_back(response: LinearResponse, cotangent: np.ndarray) -> Parameters:
    """Return the adjoint derivative of <cotangent, x*(p)>, shaped like the parameters; cotangent has shape (n, d)."""
    return gradient(response, _Weighted(jnp.asarray(cotangent)))


def _entries(selection: Selection) -> Iterator[tuple[Parameters, str]]:
    """Yield the directions of a selection a few at a time, with what to call them."""
    for rows in chunks(len(selection.paths)):
        yield selection.part(rows).tangents, f"one of {', '.join(selection.paths[rows][:3])}"


def _refuse_loaded(response: LinearResponse, directions: Iterable[tuple[Parameters, str]]) -> None:
    """Refuse directions that load a mode which was taken for a floppy one: a solve does not see them.

    Raises:
        NumericalError: When there is one.
    """
    if not response.zero_modes.floppy:
        return
    there, fraction = nearby(response.state, newton_step(response)[0])
    for tangents, what in directions:
        slopes, moved = (np.asarray(mixed(state, tangents)) for state in (response.state, there))
        refuse_loaded(response.load(slopes), norms(slopes), norms(moved - slopes) / fraction, what)


class _Weighted(eqx.Module):
    """The observable <w, x>, whose partial derivative in the parameters is zero."""

    weights: Position

    def __call__(self, state: State) -> Scalar:
        return jnp.vdot(self.weights, state.position)


def newton_step(response: LinearResponse) -> Step:
    r"""Return the step :math:`-K^{+} W_q` that is left to the minimum: positions, (n, d), and free strains, (s,)."""
    force, push = (-np.asarray(part)[None] for part in enthalpy_gradient(response.state))
    moved, components, _ = response.solve_joint(force, push)
    return jnp.asarray(moved[0]), jnp.asarray(components[0])


class _Slopes(NamedTuple):
    """Slopes of observables somewhere.

    Attributes:
        state: Where positions, parameters and box are taken from.
        components: Components of the free strains besides.
        found: Value and derivatives in positions, strains and parameters of every observable.
        fraction: How much of the remaining step, or how many rounding units, lie between the state and here.
    """

    state: State
    components: Array
    found: tuple[Any, ...]
    fraction: float

    def stacked(self, k: int) -> np.ndarray:
        """Return one of the derivatives of all observables."""
        return np.stack([np.asarray(part[k]) for part in self.found])


def _three_slopes(
    response: LinearResponse, functions: tuple[Observable, ...], step: Step
) -> tuple[_Slopes, _Slopes, _Slopes]:
    """Return the slopes of observables at the state, a little along the remaining step, and many rounding units off."""
    state, still = response.state, jnp.zeros(len(step[1]))
    (there, fraction), (blurred, times) = nearby(state, step[0]), rounded(state)
    ends = (state, still, 1.0), (there, fraction * step[1], fraction), (blurred, still, times)
    here, moved, vague = (
        _Slopes(end, components, for_each(observable_slopes, functions, end, components), part)
        for end, components, part in ends
    )
    return here, moved, vague


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
    ends = _three_slopes(response, tuple(observables.values()), step)
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
    here, there, blurred = _three_slopes(response, tuple(observables.values()), step)
    slopes = np.stack([finite_slope(name, part[1]) for name, part in zip(observables, here.found, strict=True)])
    fields, loads, residuals = _solved(response, slopes, here.stacked(2))
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


def _lagrangian_slopes(
    selection: Selection, at: _Slopes, fields: np.ndarray, loads: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the derivatives of O and of -lambda.W_q along every entry, both of shape (m, k)."""
    own = np.stack([selection.contract(part[3]) for part in at.found])
    pulled = flattened(pulled_parameters(at.state, at.components, jnp.asarray(fields), jnp.asarray(loads)))
    return own, -(selection.directions @ pulled.T).T


def rounded(state: State) -> tuple[State, float]:
    """Return the state with parameters and box moved by many of their rounding units, and how many.

    Differences between both, over their number, tell what rounding does to the terms of a sum. Positions are not moved:
    being off the minimum changes terms that belong together, and what it does to their sum is the drift.
    """
    times = NEARBY / UNIT
    return state.at(state.position, rounded_parameters(state.parameters, times)), times


def rounding(terms: Sequence[np.ndarray], blurred: Sequence[np.ndarray], times: float) -> np.ndarray:
    """Return what rounding does to a sum: every term's change by one rounding unit of the input, and one of its own.

    Args:
        terms: The terms, arrays of one shape.
        blurred: The same terms where the input is off by so many rounding units.
        times: How many.
    """
    parts = [np.abs(b - a) / times + UNIT * np.abs(a) for a, b in zip(terms, blurred, strict=True)]
    return np.asarray(np.sum(parts, axis=0))


def finite_slope(name: str, by_position: Position) -> np.ndarray:
    """Return the derivative of an observable in the positions.

    Raises:
        NumericalError: When it is not finite; the message says at which particle.
    """
    slope = np.asarray(by_position)
    kinked = np.flatnonzero(~np.isfinite(slope).all(axis=1))
    if kinked.size:
        raise NumericalError(
            f"the derivative of {name} is not finite in the position of particle {kinked[0]} (nor in those of "
            f"{kinked.size - 1} others): the observable has a kink or a pole at this state."
        )
    return slope


def _mixed_norms(state: State, selection: Selection) -> Pair:
    """Return the norms of d2W/dx dp along every direction, and of the same of the strains, both of shape (k,)."""
    if has_sparse_slopes(state, selection):
        found = np.asarray(spla.norm(mixed_matrix(state) @ selection.directions.T, axis=0))
        return found, np.zeros(len(found))
    parts = [mixed_slopes(state, selection.part(rows).tangents) for rows in chunks(len(selection.paths))]
    fields, loads = (np.concatenate([norms(np.asarray(part)) for part in side]) for side in zip(*parts, strict=True))
    return fields, loads


def _record(
    response: LinearResponse,
    name: str,
    value: Scalar,
    selection: Selection,
    values: np.ndarray,
    way: str,
    quality: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> ObservableSensitivity:
    refuse_nonfinite(name, values)
    residual, error, bound = quality
    certificate = _certificate(response, residual, error, bound, np.abs(values))
    return ObservableSensitivity(
        name, float(value), selection.paths, selection.values, selection.units, values, way, certificate
    )


def refuse_nonfinite(name: str, values: np.ndarray) -> None:
    """Refuse derivatives that are not finite.

    Raises:
        NumericalError: With the name of the observable.
    """
    if not np.isfinite(values).all():
        raise NumericalError(
            f"the derivative of {name} is not finite at this state: the observable has a kink or a pole there."
        )


def _solved(response: LinearResponse, fields: np.ndarray, loads: np.ndarray) -> tuple[np.ndarray, ...]:
    *solution, residual = response.solve_joint(fields, loads)
    return *solution, accepted(residual)


def _certificate(
    response: LinearResponse, residual: np.ndarray, error: np.ndarray, bound: np.ndarray, size: np.ndarray
) -> Certificate:
    return Certificate(
        max_force=response.max_force,
        residual=residual,
        error=error,
        relative_error=relative(error, size),
        bound=bound,
        smallest_eigenvalue=response.smallest_eigenvalue,
        largest_eigenvalue=response.norm,
        zero_modes=response.zero_modes,
        one_sided=response.network.one_sided,
        at_any_point=response.at_any_point,
        method=response.method,
        **_of_box(response),
    )


def _of_box(response: LinearResponse) -> dict[str, float]:
    """Return what a certificate says of a box that relaxes."""
    if response.state.barostat is None:
        return {}
    stiffness = response.border.softest / float(periodic_box(response.state).volume)
    return {"stress_error": stress_deviation(response.state), "smallest_stiffness": stiffness}
