r"""Derivatives of relaxed states and of observables in the parameters, each with its certificate.

At a minimum dU/dx = 0 for every p, so

.. math:: H\,\frac{dx}{dp} = -U_{xp}\ \text{(forward)}, \qquad
          H\lambda = O_x,\quad \frac{dO}{dp} = O_p - \lambda\cdot U_{xp}\ \text{(adjoint)}.

Forward costs one solve per parameter, adjoint one per observable; one factor serves both.

References:
    M. Blondel et al., Efficient and Modular Implicit Differentiation, NeurIPS 2022, arXiv:2105.15183.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse.linalg as spla

from mdsens.energy import State, free_forces
from mdsens.energy.parameters import Parameters, flattened
from mdsens.energy.paths import Selection, select
from mdsens.errors import NumericalError
from mdsens.hessian import directional_norm
from mdsens.hessian.any_energy import hessian_products
from mdsens.hessian.derivatives import NEARBY, carried, mixed, nearby
from mdsens.hessian.mixed import mixed_matrix
from mdsens.response import LinearResponse
from mdsens.response.linear import accepted, chunks, has_sparse_slopes, norms, refuse_loaded
from mdsens.rounding import UNIT, rounded_parameters
from mdsens.sensitivity.derivatives import (
    Observable,
    adjoint_slope,
    for_each,
    observable_slopes,
    pulled_parameters,
)
from mdsens.sensitivity.records import Certificate, ObservableSensitivity, PositionSensitivity, relative
from mdsens.types import Position, Scalar

_forces = jax.jit(free_forces)


def position_sensitivity(response: LinearResponse, selection: Selection) -> PositionSensitivity:
    """Return dx/dp for every selected entry, from one factor.

    Args:
        response: The factored Hessian of the relaxed state.
        selection: Parameter entries, from ``mdsens.energy.paths.select``.

    Returns:
        dx/dp in the gauge of minimum norm (backbone mean zero unless particles are held, rattlers zero) with its
        certificate, whose errors are relative to what free particles do.

    Raises:
        NumericalError: When a linear solve misses a relative residual of 1e-6.
    """
    found = response.forward(selection)
    refuse_loaded(found.load, found.slope, found.slope_drift, f"one of {', '.join(selection.paths[:3])}")
    residual, stiffness = accepted(found.residual), abs(response.smallest_eigenvalue)
    if not np.isfinite(found.change).all():
        raise NumericalError(
            "the error of dx/dp cannot be estimated: second derivatives of the energy are not finite near this state."
        )
    size = norms(found.values)
    error = found.change + UNIT * size
    bound = (found.slope_drift + found.hessian_drift * found.slope / stiffness) / stiffness
    certificate = _certificate(response, residual, error, bound, size)
    values = found.values + carried_along(response.state, selection)
    return PositionSensitivity(selection.paths, selection.values, selection.units, values, certificate)


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
    found = _solved(response, -np.asarray(mixed(response.state, tangents)))[0]
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
    _refuse_loaded(response, _entries(select(response.state)))
    _, by_position, _ = observable_slopes(observable, response.state)
    adjoint, _ = _solved(response, np.asarray(by_position)[None])
    return adjoint_slope(observable, response.state, jnp.asarray(adjoint[0]))


def pull_back(response: LinearResponse, cotangent: np.ndarray) -> Parameters:
    """Return the adjoint derivative of <cotangent, x*(p)>, shaped like the parameters; cotangent has shape (n, d)."""
    _refuse_loaded(response, _entries(select(response.state)))
    held = jnp.asarray(cotangent)
    adjoint, _ = _solved(response, np.asarray(held)[None])
    return adjoint_slope(_Weighted(held), response.state, jnp.asarray(adjoint[0]))


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
    there, fraction = nearby(response.state, newton_step(response))
    for tangents, what in directions:
        slopes, moved = (np.asarray(mixed(state, tangents)) for state in (response.state, there))
        refuse_loaded(response.load(slopes), norms(slopes), norms(moved - slopes) / fraction, what)


class _Weighted(eqx.Module):
    """The observable <w, x>, whose partial derivative in the parameters is zero."""

    weights: Position

    def __call__(self, state: State) -> Scalar:
        return jnp.vdot(self.weights, state.position)


def newton_step(response: LinearResponse) -> Position:
    r"""Return the remaining step :math:`-H^{+} \partial U/\partial x` to the minimum, shape (n, d)."""
    return jnp.asarray(response.solve(np.asarray(_forces(response.state))[None])[0][0])


def _forward(
    response: LinearResponse,
    observables: Mapping[str, Observable],
    selection: Selection,
    positions: PositionSensitivity,
    step: Position,
) -> tuple[ObservableSensitivity, ...]:
    functions, held = tuple(observables.values()), positions.certificate
    flat = positions.values.reshape(len(selection.paths), -1)
    there, fraction = nearby(response.state, step)
    blurred, times = rounded(response.state)
    ends = [for_each(observable_slopes, functions, state) for state in (response.state, there, blurred)]
    records = []
    for name, (value, by_position, by_parameters), *others in zip(observables, *ends, strict=True):
        slope = finite_slope(name, by_position)
        terms = selection.contract(by_parameters), flat @ slope.ravel()
        moved, blurs = ((selection.contract(end[2]), flat @ np.asarray(end[1]).ravel()) for end in others)
        values, size = np.sum(terms, axis=0), np.linalg.norm(slope)
        drift = np.abs(np.sum(moved, axis=0) - values) / fraction + rounding(terms, blurs, times)
        drift = drift + UNIT * (np.abs(flat) @ np.abs(slope.ravel()))
        quality = held.residual, held.error * size + drift, held.bound * size + drift
        records.append(_record(response, name, value, selection, values, "forward", quality))
    return tuple(records)


def _adjoint(
    response: LinearResponse, observables: Mapping[str, Observable], selection: Selection, step: Position
) -> tuple[ObservableSensitivity, ...]:
    functions = tuple(observables.values())
    there, fraction = nearby(response.state, step)
    blurred, times = rounded(response.state)
    here, moved, blurs = (for_each(observable_slopes, functions, at) for at in (response.state, there, blurred))
    slopes = np.stack([finite_slope(name, part[1]) for name, part in zip(observables, here, strict=True)])
    adjoints, residuals = _solved(response, slopes)
    # O_x - H lambda, what the solve left of it and its change along the step, lambda held, moves the adjoint
    left, ends = (
        np.stack([np.asarray(part[1]) for part in parts]) - np.asarray(hessian_products(state, adjoints))
        for state, parts in ((response.state, here), (there, moved))
    )
    bent = ends - left + fraction * left
    changes, _ = response.solve(bent)
    pulled = [
        flattened(pulled_parameters(state, jnp.asarray(rows)))
        for state, rows in ((response.state, adjoints), (there, adjoints + changes), (blurred, adjoints))
    ]
    partial = [np.stack([selection.contract(part[2]) for part in parts]) for parts in (here, moved, blurs)]
    terms, later, vague = (
        (part, -(selection.directions @ rows.T).T) for part, rows in zip(partial, pulled, strict=True)
    )
    values = np.sum(terms, axis=0)
    drifts = np.abs(np.sum(later, axis=0) - values) / fraction + rounding(terms, vague, times)
    mixed_norms, stiffness = _mixed_norms(response.state, selection), abs(response.smallest_eigenvalue)
    wobble = directional_norm(response.state, step) / stiffness
    records = []
    for k, name in enumerate(observables):
        reach = float(np.linalg.norm(slopes[k])) * mixed_norms / stiffness
        residual = np.full(values.shape[1], residuals[k])
        quality = residual, drifts[k], drifts[k] + (wobble + residuals[k]) * reach
        records.append(_record(response, name, here[k][0], selection, values[k], "adjoint", quality))
    return tuple(records)


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


def _mixed_norms(state: State, selection: Selection) -> np.ndarray:
    """Return the norm of d2U/dx dp along every direction, shape (k,)."""
    if has_sparse_slopes(state, selection):
        return np.asarray(spla.norm(mixed_matrix(state) @ selection.directions.T, axis=0))
    return np.concatenate(
        [norms(np.asarray(mixed(state, selection.part(rows).tangents))) for rows in chunks(len(selection.paths))]
    )


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


def _solved(response: LinearResponse, rhs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    solution, residual = response.solve(rhs)
    return solution, accepted(residual)


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
    )
