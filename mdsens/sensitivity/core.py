r"""Derivatives of relaxed states and of observables in the parameters, each with its certificate.

At a minimum dU/dx = 0 for every p, so

.. math:: H\,\frac{dx}{dp} = -U_{xp}\ \text{(forward)}, \qquad
          H\lambda = O_x,\quad \frac{dO}{dp} = O_p - \lambda\cdot U_{xp}\ \text{(adjoint)}.

Forward costs one solve per parameter, adjoint one per observable; one factor serves both.

References:
    M. Blondel et al., Efficient and Modular Implicit Differentiation, NeurIPS 2022, arXiv:2105.15183.
"""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse.linalg as spla

from mdsens.derivatives import mixed
from mdsens.energy import PairPotential, State, forces
from mdsens.errors import NumericalError
from mdsens.hessian import directional_norm
from mdsens.mixed import mixed_matrix
from mdsens.parameters import Parameters
from mdsens.paths import Selection
from mdsens.response import LinearResponse
from mdsens.response.linear import CHUNK, chunks, norms
from mdsens.sensitivity.derivatives import (
    Observable,
    adjoint_residual_drift,
    adjoint_slope,
    adjoint_slope_drift,
    forward_slope_drift,
    observable_slopes,
)
from mdsens.sensitivity.records import Certificate, ObservableSensitivity, PositionSensitivity
from mdsens.types import Position, Scalar

_WORST_RESIDUAL = 1e-6
_ROUNDING = float(np.finfo(float).eps)  # no answer is better than this, however small the remaining step
_forces = jax.jit(forces)


def position_sensitivity(response: LinearResponse, selection: Selection) -> PositionSensitivity:
    """Return dx/dp for every selected entry, from one factor.

    Args:
        response: The factored Hessian of the relaxed state.
        selection: Parameter entries, from ``mdsens.paths.select``.

    Returns:
        dx/dp in the gauge of minimum norm (backbone mean zero, rattlers zero) with its certificate.

    Raises:
        NumericalError: When a linear solve misses a relative residual of 1e-6.
    """
    found = response.forward(selection)
    residual, stiffness = _accepted(found.residual), abs(response.smallest_eigenvalue)
    size = norms(found.values)
    error = found.change + residual * found.slope / stiffness + _ROUNDING * size
    bound = (found.slope_drift + found.hessian_drift * found.slope / stiffness) / stiffness
    certificate = _certificate(response, residual, error, bound, size)
    return PositionSensitivity(selection.paths, selection.values, selection.units, found.values, certificate)


def forward(response: LinearResponse, tangents: Parameters) -> np.ndarray:
    """Return dx/dp along directions dp (leading axis of every leaf), shape (k, n, d), without a certificate.

    Raises:
        NumericalError: When a linear solve misses a relative residual of 1e-6.
    """
    return _solved(response, -np.asarray(mixed(response.state, tangents)))[0]


def observable_sensitivity(
    response: LinearResponse,
    observable: Observable,
    selection: Selection,
    *,
    name: str = "observable",
    positions: PositionSensitivity | None = None,
) -> ObservableSensitivity:
    """Return the total derivative dO/dp of a scalar observable for every selected entry.

    Args:
        response: The factored Hessian of the relaxed state.
        observable: Any JAX function ``State -> scalar``.
        selection: Parameter entries.
        name: Name for the record.
        positions: dx/dp of the same selection when it is at hand: the forward way then costs no solve. Otherwise one
            adjoint solve serves all entries.

    Raises:
        NumericalError: When a linear solve misses its residual or the observable is not finite.
    """
    if positions is not None and positions.paths == selection.paths:
        return _forward(response, observable, selection, positions, name)
    return _adjoint(response, observable, selection, name)


def gradient(response: LinearResponse, observable: Observable) -> Parameters:
    """Return dO/dp for *all* parameters by one adjoint solve, shaped like the parameters."""
    _, by_position, _ = observable_slopes(observable, response.state)
    adjoint, _ = _solved(response, np.asarray(by_position)[None])
    return adjoint_slope(observable, response.state, jnp.asarray(adjoint[0]))


def pull_back(response: LinearResponse, cotangent: np.ndarray) -> Parameters:
    """Return the adjoint derivative of <cotangent, x*(p)>, shaped like the parameters; cotangent has shape (n, d)."""
    held = jnp.asarray(cotangent)
    adjoint, _ = _solved(response, np.asarray(held)[None])
    return adjoint_slope(_Weighted(held), response.state, jnp.asarray(adjoint[0]))


class _Weighted(eqx.Module):
    """The observable <w, x>, whose partial derivative in the parameters is zero."""

    weights: Position

    def __call__(self, state: State) -> Scalar:
        return jnp.vdot(self.weights, state.position)


def newton_step(response: LinearResponse) -> Position:
    r"""Return the remaining step :math:`-H^{+} \partial U/\partial x` to the minimum, shape (n, d)."""
    return jnp.asarray(response.solve(np.asarray(_forces(response.state))[None])[0][0])


def _forward(
    response: LinearResponse, observable: Observable, selection: Selection, positions: PositionSensitivity, name: str
) -> ObservableSensitivity:
    value, by_position, by_parameters = observable_slopes(observable, response.state)
    slope = np.asarray(by_position)
    values = selection.contract(by_parameters) + positions.values.reshape(len(selection.paths), -1) @ slope.ravel()
    held, size = positions.certificate, np.linalg.norm(slope)
    responses, step = jnp.asarray(positions.values), newton_step(response)
    drift = np.concatenate(
        [
            np.abs(forward_slope_drift(observable, response.state, selection.part(k).tangents, responses[k], step))
            for k in chunks(len(selection.paths))
        ]
    )
    error, bound = held.error * size + drift, held.bound * size + drift
    return _record(response, name, value, selection, values, "forward", (held.residual, error, bound))


def _adjoint(
    response: LinearResponse, observable: Observable, selection: Selection, name: str
) -> ObservableSensitivity:
    state = response.state
    value, by_position, _ = observable_slopes(observable, state)
    slope = np.asarray(by_position)
    solution, residual = _solved(response, slope[None])
    adjoint = jnp.asarray(solution[0])
    values = selection.contract(adjoint_slope(observable, state, adjoint))
    step = newton_step(response)
    change, _ = response.solve(np.asarray(adjoint_residual_drift(observable, state, adjoint, step))[None])
    drift = adjoint_slope_drift(observable, state, adjoint, jnp.asarray(change[0]), step)
    stiffness = abs(response.smallest_eigenvalue)
    mixed_norms = _mixed_norms(state, selection)
    error = np.abs(selection.contract(drift)) + residual[0] * np.linalg.norm(slope) * mixed_norms / stiffness
    wobble = directional_norm(state, step) * np.linalg.norm(slope) / stiffness
    bound = np.abs(selection.contract(drift)) + wobble * mixed_norms / stiffness
    residuals = np.broadcast_to(residual, values.shape)
    return _record(response, name, value, selection, values, "adjoint", (residuals, error, bound))


def _mixed_norms(state: State, selection: Selection) -> np.ndarray:
    """Return the norm of d2U/dx dp along every direction, shape (k,)."""
    if len(selection.paths) > CHUNK and isinstance(state.potential, PairPotential):
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
    if not np.isfinite(values).all():
        raise NumericalError(
            f"the derivative of {name} is not finite at this state: the observable has a kink or a pole there."
        )
    residual, error, bound = quality
    error = error + _ROUNDING * np.abs(values)
    certificate = _certificate(response, residual, error, bound, np.abs(values))
    return ObservableSensitivity(
        name, float(value), selection.paths, selection.values, selection.units, values, way, certificate
    )


def _solved(response: LinearResponse, rhs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    solution, residual = response.solve(rhs)
    return solution, _accepted(residual)


def _accepted(residual: np.ndarray) -> np.ndarray:
    if not np.isfinite(residual).all():
        raise NumericalError(
            "a derivative of the law or of the observable is not finite at this state: it has a kink or a pole there."
        )
    if not np.all(residual <= _WORST_RESIDUAL):
        raise NumericalError(
            f"the linear solve left a relative residual of {residual.max():.1e} (at most {_WORST_RESIDUAL:.0e} is "
            "accepted): the state is floppy or marginal; relax further or away from the transition."
        )
    return residual


def _certificate(
    response: LinearResponse, residual: np.ndarray, error: np.ndarray, bound: np.ndarray, size: np.ndarray
) -> Certificate:
    return Certificate(
        max_force=response.max_force,
        residual=residual,
        error=error,
        relative_error=error / np.where(size > 0, size, 1.0),
        bound=bound,
        smallest_eigenvalue=response.smallest_eigenvalue,
        largest_eigenvalue=response.norm,
        zero_modes=response.zero_modes,
        one_sided=response.network.one_sided,
        at_any_point=response.at_any_point,
        method=response.method,
    )
