r"""Derivatives of states at constant pressure, and of observables, in every parameter and in the pressure.

With q = (x, :math:`\varepsilon`) and the enthalpy W, the state satisfies :math:`W_q = 0`, so

.. math:: K\,\frac{dq}{dp} = -W_{qp}\ \text{(forward)}, \qquad
          K\lambda = O_q,\quad \frac{dO}{dp} = O_p - \lambda\cdot W_{qp}\ \text{(adjoint)}.

The pressure is a parameter like any other, with :math:`W_{xP} = 0` and :math:`W_{\varepsilon P} = V_\varepsilon`; so
are those components of the box that are not free.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from mdsens.energy import State
from mdsens.energy.parameters import Parameters, flattened
from mdsens.energy.paths import Selection
from mdsens.energy.strain import periodic_box
from mdsens.hessian.derivatives import nearby
from mdsens.observables.enthalpy import Enthalpy
from mdsens.pressure import derivatives as compiled
from mdsens.pressure.records import JointSensitivity
from mdsens.pressure.relaxation import PressureRelaxation
from mdsens.response import BorderedResponse, bordered, linear_response
from mdsens.response.bordered import refuse_soft_box
from mdsens.response.linear import chunks, norms
from mdsens.results import check
from mdsens.rounding import UNIT, position_rounding
from mdsens.sensitivity.core import carried_along, finite_slope, refuse_nonfinite, rounded, rounding
from mdsens.sensitivity.derivatives import Observable, for_each
from mdsens.sensitivity.records import Certificate, ObservableSensitivity, relative
from mdsens.types import Position, Scalar

PRESSURE = "pressure"  # the path of the pressure among parameters


def pressure_response(found: PressureRelaxation) -> BorderedResponse:
    """Return the response of a state relaxed at constant pressure.

    Raises:
        NumericalError: When it did not relax, or the box is floppy along a free strain.
    """
    check(found.verdict, what="no sensitivity at constant pressure")
    response = bordered(linear_response(found.relaxation), found.pressure, found.strains)
    refuse_soft_box(response)
    return response


def joint_sensitivity(response: BorderedResponse, selection: Selection) -> JointSensitivity:
    """Return the response of positions and box to every selected entry and to the pressure.

    Args:
        response: The response at constant pressure.
        selection: Parameter entries of the potential and of the box, from ``mdsens.energy.paths.select``.

    Raises:
        NumericalError: When a linear solve misses a relative residual of 1e-6.
    """
    state = response.state
    step = _newton_step(response)
    step = step[0] + position_rounding(np.asarray(state.position)), step[1] + UNIT
    parts = [_forward(response, selection.part(rows).tangents, step) for rows in chunks(len(selection.paths))]
    parts.append(_forward(response, None, step))
    moved, components, residual, change = (np.concatenate(part) for part in zip(*parts, strict=True))
    strain = np.tensordot(components, response.strains, axes=1)
    positions = moved + np.asarray(state.position) @ np.swapaxes(strain, 1, 2)
    positions[:-1] += carried_along(state, selection)
    volume = float(periodic_box(state).volume)
    own = np.append(np.asarray(compiled.volume_slopes(state, selection.tangents)), 0.0)
    size = norms(positions)
    error = change + UNIT * size
    return JointSensitivity(
        paths=(*selection.paths, PRESSURE),
        parameter_values=np.append(selection.values, response.pressure),
        units=(*selection.units, "none"),
        displacements=moved,
        components=components,
        strains=strain,
        positions=positions,
        volumes=volume * np.trace(strain, axis1=1, axis2=2) + own,
        certificate=_certificate(response, residual, error, size),
    )


def observable_at_pressure(
    response: BorderedResponse, observable: Observable, selection: Selection, *, name: str = "observable"
) -> ObservableSensitivity:
    """Return the total derivative of one scalar observable: ``observables_at_pressure`` of a single one."""
    return observables_at_pressure(response, {name: observable}, selection)[0]


def observables_at_pressure(
    response: BorderedResponse,
    observables: Mapping[str, Observable],
    selection: Selection,
    *,
    joint: JointSensitivity | None = None,
) -> tuple[ObservableSensitivity, ...]:
    """Return the total derivatives of scalar observables in every selected entry and in the pressure, from one factor.

    Forward where the joint sensitivity is at hand or there are more observables than entries, adjoint otherwise. An
    ``Enthalpy`` is taken at the pressure of the response, on which it depends besides.

    Args:
        response: The response at constant pressure.
        observables: JAX functions ``State -> scalar`` by name.
        selection: Parameter entries.
        joint: The joint sensitivity of the same selection, when it is at hand.

    Raises:
        NumericalError: When a linear solve misses its residual or a derivative is not finite.
    """
    if joint is None and len(observables) > len(selection.paths) + 1:
        joint = joint_sensitivity(response, selection)
    step = _newton_step(response)
    if joint is not None:
        return _contracted(response, observables, selection, joint, step)
    return _adjoint(response, observables, selection, step)


Step = tuple[np.ndarray, np.ndarray]


def _newton_step(response: BorderedResponse) -> Step:
    """Return what positions, shape (n, d), and strains, shape (s,), still lack to the minimum of the enthalpy."""
    field, load = (
        np.asarray(part) for part in compiled.gradient(response.state, _strains(response), response.pressure)
    )
    moved, components, _ = response.solve(-field[None], -load[None])
    return moved[0], components[0]


def _strains(response: BorderedResponse) -> compiled.Strains:
    return jnp.asarray(response.strains)


def _forward(response: BorderedResponse, tangents: Parameters | None, step: Step) -> tuple[np.ndarray, ...]:
    """Return displacements, strain components, residuals and estimated changes, for parameters or the pressure."""
    state, strains = response.state, _strains(response)
    if tangents is None:
        slopes = np.zeros((1, *state.position.shape))
        loads = float(periodic_box(state).volume) * np.einsum("aii->a", response.strains)[None]
    else:
        slopes, loads = (np.asarray(part) for part in compiled.mixed(state, strains, response.pressure, tangents))
    moved, components, residual = response.solve(-slopes, -loads)
    drift, load_drift = (
        np.asarray(part)
        for part in compiled.drift(state, strains, response.pressure, tangents, moved, components, *step)
    )
    change, strain_change, _ = response.solve(drift, load_drift)
    strain = np.tensordot(strain_change, response.strains, axes=1)
    change = change + np.asarray(state.position) @ np.swapaxes(strain, 1, 2)
    return moved, components, residual, norms(change)


def _at(response: BorderedResponse, observable: Observable) -> Observable:
    """Return the observable at the pressure of the response."""
    return Enthalpy(response.pressure) if isinstance(observable, Enthalpy) else observable


def _own_slope(response: BorderedResponse, observable: Observable) -> float:
    """Return the partial derivative of an observable in the pressure that is a parameter."""
    return float(periodic_box(response.state).volume) if isinstance(observable, Enthalpy) else 0.0


class _Slopes(NamedTuple):
    """Slopes of observables somewhere.

    Attributes:
        state: Where parameters and box are taken from.
        place: Positions and strain components.
        found: Value and derivatives in positions, strains and parameters of every observable.
        fraction: How much of the remaining step, or how many rounding units, lie between the state and here.
    """

    state: State
    place: tuple[Position, Array]
    found: tuple[Any, ...]
    fraction: float

    def stacked(self, k: int) -> np.ndarray:
        """Return one of the derivatives of all observables."""
        return np.stack([np.asarray(part[k]) for part in self.found])


def _three_slopes(
    response: BorderedResponse, functions: tuple[Observable, ...], step: Step
) -> tuple[_Slopes, _Slopes, _Slopes]:
    """Return the slopes of observables at the state, a little along the remaining step, and many rounding units off."""
    state, strains = response.state, _strains(response)
    (there, fraction), (blurred, times) = nearby(state, jnp.asarray(step[0])), rounded(state)
    still = jnp.zeros(len(strains))
    ends = (state, still, 1.0), (there, fraction * jnp.asarray(step[1]), fraction), (blurred, still, times)
    here, moved, vague = (
        _Slopes(
            end,
            (end.position, components),
            for_each(compiled.observable_slopes, functions, end, strains, end.position, components),
            part,
        )
        for end, components, part in ends
    )
    return here, moved, vague


def _contracted(
    response: BorderedResponse,
    observables: Mapping[str, Observable],
    selection: Selection,
    joint: JointSensitivity,
    step: Step,
) -> tuple[ObservableSensitivity, ...]:
    """Contract the joint sensitivity with the slopes of the observables."""
    functions = tuple(_at(response, f) for f in observables.values())
    moves = joint.displacements.reshape(len(joint.paths), -1)
    ends = _three_slopes(response, functions, step)
    records = []
    for k, (name, observable) in enumerate(zip(observables, functions, strict=True)):
        own = _own_slope(response, observable)
        terms, moved, vague = (
            (
                np.append(selection.contract(end.found[k][3]), own),
                moves @ finite_slope(name, end.found[k][1]).ravel(),
                joint.components @ np.asarray(end.found[k][2]),
            )
            for end in ends
        )
        values, slope = np.sum(terms, axis=0), np.asarray(ends[0].found[k][1])
        error = (
            joint.certificate.error * np.linalg.norm(slope) + np.abs(np.sum(moved, axis=0) - values) / ends[1].fraction
        )
        error += rounding(terms, vague, ends[2].fraction) + UNIT * (np.abs(moves) @ np.abs(slope.ravel()))
        residual = joint.certificate.residual
        records.append(_record(response, name, ends[0].found[k][0], selection, values, "forward", residual, error))
    return tuple(records)


def _adjoint(
    response: BorderedResponse, observables: Mapping[str, Observable], selection: Selection, step: Step
) -> tuple[ObservableSensitivity, ...]:
    functions = tuple(_at(response, f) for f in observables.values())
    held = _strains(response), response.pressure
    here, there, blurred = _three_slopes(response, functions, step)
    slopes = np.stack([finite_slope(name, part[1]) for name, part in zip(observables, here.found, strict=True)])
    fields, loads, residual = response.solve(slopes, here.stacked(2))
    adjoint = (jnp.asarray(fields), jnp.asarray(loads))
    # O_q - K lambda, what the solve left of it and its change along the step, lambda held, moves the adjoint
    products = [compiled.curved(end.state, *held, *end.place, *adjoint) for end in (here, there)]
    left, ends = (
        [end.stacked(side + 1) - np.asarray(product[side]) for side in (0, 1)]
        for end, product in zip((here, there), products, strict=True)
    )
    bent = [later - now + there.fraction * now for now, later in zip(left, ends, strict=True)]
    changes = response.solve(*bent)[:2]
    later = tuple(now + jnp.asarray(change) for now, change in zip(adjoint, changes, strict=True))
    terms, moved, vague = (
        _lagrangian_slopes(selection, end, *compiled.pulled(end.state, *held, *end.place, *solution))
        for end, solution in ((here, adjoint), (there, later), (blurred, adjoint))
    )
    values = np.sum(terms, axis=0)
    errors = np.abs(np.sum(moved, axis=0) - values) / there.fraction + rounding(terms, vague, blurred.fraction)
    records = []
    for k, (name, observable) in enumerate(zip(observables, functions, strict=True)):
        whole = values[k] + np.append(np.zeros(len(selection.paths)), _own_slope(response, observable))
        quality = np.full(len(whole), residual[k]), errors[k]
        records.append(_record(response, name, here.found[k][0], selection, whole, "adjoint", *quality))
    return tuple(records)


def _lagrangian_slopes(
    selection: Selection, slopes: _Slopes, by_parameters: Parameters, by_pressure: Array
) -> tuple[np.ndarray, np.ndarray]:
    """Return the derivatives of O and of -lambda.W_q in every entry and in the pressure, both of shape (m, k + 1)."""
    own = np.stack([np.append(selection.contract(part[3]), 0.0) for part in slopes.found])
    pulled = (selection.directions @ flattened(by_parameters).T).T
    return own, -np.concatenate([pulled, np.asarray(by_pressure)[:, None]], axis=1)


def _record(
    response: BorderedResponse,
    name: str,
    value: Scalar,
    selection: Selection,
    values: np.ndarray,
    way: str,
    residual: np.ndarray,
    error: np.ndarray,
) -> ObservableSensitivity:
    refuse_nonfinite(name, values)
    size = np.abs(values)
    certificate = _certificate(response, residual, error, size)
    return ObservableSensitivity(
        name=name,
        value=float(value),
        paths=(*selection.paths, PRESSURE),
        parameter_values=np.append(selection.values, response.pressure),
        units=(*selection.units, "none"),
        values=values,
        way=way,
        certificate=certificate,
    )


def _certificate(response: BorderedResponse, residual: np.ndarray, error: np.ndarray, size: np.ndarray) -> Certificate:
    fixed, volume = response.fixed, float(periodic_box(response.state).volume)
    return Certificate(
        max_force=fixed.max_force,
        residual=residual,
        error=error,
        relative_error=relative(error, size),
        bound=np.full(len(error), np.nan),
        smallest_eigenvalue=fixed.smallest_eigenvalue,
        largest_eigenvalue=fixed.norm,
        zero_modes=fixed.zero_modes,
        one_sided=fixed.network.one_sided,
        at_any_point=fixed.at_any_point,
        method=f"{fixed.method}, bordered by {len(response.strains)} strains",
        stress_error=response.stress_error,
        smallest_stiffness=float(np.linalg.eigvalsh(response.stiffness)[0]) / volume,
    )
