r"""Derivatives of states at constant pressure, and of observables, in every parameter and in the pressure.

With q = (x, :math:`\varepsilon`) and the enthalpy W, the state satisfies :math:`W_q = 0`, so

.. math:: K\,\frac{dq}{dp} = -W_{qp}\ \text{(forward)}, \qquad
          K\lambda = O_q,\quad \frac{dO}{dp} = O_p - \lambda\cdot W_{qp}\ \text{(adjoint)}.

The pressure is a parameter like any other, with :math:`W_{xP} = 0` and :math:`W_{\varepsilon P} = V_\varepsilon`; so
are those components of the box that are not free.
"""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mdsens.energy import State
from mdsens.errors import NumericalError
from mdsens.parameters import Parameters
from mdsens.paths import Selection
from mdsens.pressure.records import JointCertificate, JointSensitivity, PressureObservable
from mdsens.pressure.relaxation import PressureRelaxation
from mdsens.response import BorderedResponse, bordered, linear_response
from mdsens.response.bordered import refuse_soft_box
from mdsens.response.linear import chunks, norms
from mdsens.results import Verdict
from mdsens.sensitivity.derivatives import Observable
from mdsens.strain import gradient_of, periodic_box, strained
from mdsens.types import Position, Scalar

PRESSURE = "pressure"  # the path of the pressure among parameters
_ROUNDING = float(np.finfo(float).eps)


def pressure_response(found: PressureRelaxation) -> BorderedResponse:
    """Return the response of a state relaxed at constant pressure.

    Raises:
        NumericalError: When it did not relax, or the box is floppy along a free strain.
    """
    if found.verdict is not Verdict.CONVERGED:
        raise NumericalError(f"no sensitivity at constant pressure: {found.verdict.sentence}")
    response = bordered(linear_response(found.relaxation), found.pressure, found.strains)
    refuse_soft_box(response)
    return response


def joint_sensitivity(response: BorderedResponse, selection: Selection) -> JointSensitivity:
    """Return the response of positions and box to every selected entry and to the pressure.

    Args:
        response: The response at constant pressure.
        selection: Parameter entries of the potential and of the box, from ``mdsens.paths.select``.

    Raises:
        NumericalError: When a linear solve misses a relative residual of 1e-6.
    """
    state, strains = response.state, jnp.asarray(response.strains)
    field, load = _gradient(state, strains, response.pressure)
    step, strain_step, _ = response.solve(-np.asarray(field)[None], -np.asarray(load)[None])
    parts = [
        _forward(response, selection.part(rows).tangents, step[0], strain_step[0])
        for rows in chunks(len(selection.paths))
    ]
    parts.append(_forward(response, None, step[0], strain_step[0]))
    moved, components, residual, slope, change = (np.concatenate(part) for part in zip(*parts, strict=True))
    box, position = periodic_box(state), np.asarray(state.position)
    strain = np.tensordot(components, response.strains, axes=1)
    positions = moved + position @ np.swapaxes(strain, 1, 2)
    volume = float(box.volume)
    own = np.asarray(_volume_slopes(state, selection.tangents))
    size = norms(positions)
    stiffness = response.fixed.smallest_eigenvalue
    error = change + residual * slope / abs(stiffness) + _ROUNDING * size
    certificate = JointCertificate(
        max_force=response.fixed.max_force,
        stress_error=response.stress_error,
        residual=residual,
        error=error,
        relative_error=error / np.where(size > 0, size, 1.0),
        smallest_eigenvalue=stiffness,
        smallest_stiffness=float(np.linalg.eigvalsh(response.stiffness)[0]) / volume,
        zero_modes=response.fixed.zero_modes,
        one_sided=response.fixed.network.one_sided,
        method=f"{response.fixed.method}, bordered by {len(strains)} strains",
    )
    return JointSensitivity(
        paths=(*selection.paths, PRESSURE),
        parameter_values=np.append(selection.values, response.pressure),
        units=(*selection.units, "none"),
        displacements=moved,
        strains=strain,
        positions=positions,
        volumes=volume * np.trace(strain, axis1=1, axis2=2) + np.append(own, 0.0),
        certificate=certificate,
    )


def observable_at_pressure(
    response: BorderedResponse, observable: Observable, selection: Selection, *, name: str = "observable"
) -> PressureObservable:
    """Return the total derivative of a scalar observable by one adjoint solve.

    Args:
        response: The response at constant pressure.
        observable: Any JAX function ``State -> scalar``.
        selection: Parameter entries.
        name: Name for the record.

    Raises:
        NumericalError: When the linear solve misses its residual or a derivative is not finite.
    """
    state, strains = response.state, jnp.asarray(response.strains)
    value, by_position, by_strain = _observable_slopes(observable, state, strains)
    adjoint, components, residual = response.solve(np.asarray(by_position)[None], np.asarray(by_strain)[None])
    slope = _adjoint_slope(
        observable, state, strains, response.pressure, jnp.asarray(adjoint[0]), jnp.asarray(components[0])
    )
    volume = float(periodic_box(state).volume)
    by_pressure = -volume * float(np.einsum("a,aii", components[0], response.strains))
    values = np.append(selection.contract(slope), by_pressure)
    if not np.isfinite(values).all():
        raise NumericalError(
            f"the derivative of {name} is not finite at this state: the observable has a kink or a pole there."
        )
    return PressureObservable(name, float(value), (*selection.paths, PRESSURE), values, float(residual[0]))


def _forward(
    response: BorderedResponse, tangents: Parameters | None, step: np.ndarray, strain_step: np.ndarray
) -> tuple[np.ndarray, ...]:
    """Return displacements, strain components, residuals, |U_xp| and estimated changes, for parameters or pressure."""
    state, strains = response.state, jnp.asarray(response.strains)
    if tangents is None:
        slopes = np.zeros((1, *state.position.shape))
        loads = float(periodic_box(state).volume) * np.einsum("aii->a", response.strains)[None]
    else:
        slopes, loads = (np.asarray(part) for part in _mixed(state, strains, response.pressure, tangents))
    moved, components, residual = response.solve(-slopes, -loads)
    drift, load_drift = (
        np.asarray(part)
        for part in _drift(state, strains, response.pressure, tangents, moved, components, step, strain_step)
    )
    change, strain_change, _ = response.solve(drift, load_drift)
    strain = np.tensordot(strain_change, response.strains, axes=1)
    change = change + np.asarray(state.position) @ np.swapaxes(strain, 1, 2)
    return moved, components, residual, norms(slopes), norms(change)


@jax.jit
def _gradient(
    state: State, strains: Float[Array, "s d d"], pressure: Scalar | float
) -> tuple[Position, Float[Array, " s"]]:
    return gradient_of(state, strains, state.position, jnp.zeros(len(strains)), state.parameters, pressure)


@jax.jit
def _mixed(
    state: State, strains: Float[Array, "s d d"], pressure: Scalar | float, tangents: Parameters
) -> tuple[Float[Array, "k n d"], Float[Array, "k s"]]:
    def one(tangent: Parameters) -> tuple[Position, Float[Array, " s"]]:
        along = lambda p: gradient_of(state, strains, state.position, jnp.zeros(len(strains)), p, pressure)  # noqa: E731
        return jax.jvp(along, (state.parameters,), (tangent,))[1]

    return jax.vmap(one)(tangents)


@jax.jit
def _drift(
    state: State,
    strains: Float[Array, "s d d"],
    pressure: Scalar | float,
    tangents: Parameters | None,
    moved: Float[Array | np.ndarray, "k n d"],
    components: Float[Array | np.ndarray, "k s"],
    step: Position | np.ndarray,
    strain_step: Float[Array | np.ndarray, " s"],
) -> tuple[Float[Array, "k n d"], Float[Array, "k s"]]:
    """Return the change of K J + W_qp along the remaining step, J and dp held; without dp for the pressure."""
    moved, components, step, strain_step = (jnp.asarray(part) for part in (moved, components, step, strain_step))
    here = (state.position, jnp.zeros(len(strains)), state.parameters, jnp.asarray(pressure, float))
    nothing = jax.tree.map(jnp.zeros_like, state.parameters)

    def one(
        tangent: Parameters | None, move: Position, component: Float[Array, " s"]
    ) -> tuple[Position, Float[Array, " s"]]:
        direction = (
            (move, component, nothing, jnp.ones(())) if tangent is None else (move, component, tangent, jnp.zeros(()))
        )

        def along(x: Position, e: Float[Array, " s"]) -> tuple[Position, Float[Array, " s"]]:
            by = lambda y, f, p, q: gradient_of(state, strains, y, f, p, q)  # noqa: E731
            return jax.jvp(by, (x, e, *here[2:]), direction)[1]

        return jax.jvp(along, here[:2], (step, strain_step))[1]

    if tangents is None:
        return jax.vmap(lambda move, component: one(None, move, component))(moved, components)
    return jax.vmap(one)(tangents, moved, components)


@jax.jit
def _volume_slopes(state: State, tangents: Parameters) -> Float[Array, " k"]:
    volume = lambda p: periodic_box(state.at(state.position, p)).volume  # noqa: E731
    return jax.vmap(lambda t: jax.jvp(volume, (state.parameters,), (t,))[1])(tangents)


@eqx.filter_jit
def _observable_slopes(
    observable: Observable, state: State, strains: Float[Array, "s d d"]
) -> tuple[Scalar, Position, Float[Array, " s"]]:
    def value(x: Position, e: Float[Array, " s"]) -> Scalar:
        return observable(strained(state.at(x, state.parameters), jnp.tensordot(e, strains, axes=1)))

    found, slopes = jax.value_and_grad(value, argnums=(0, 1))(state.position, jnp.zeros(len(strains)))
    return found, *slopes


@eqx.filter_jit
def _adjoint_slope(
    observable: Observable,
    state: State,
    strains: Float[Array, "s d d"],
    pressure: Scalar | float,
    adjoint: Position,
    components: Float[Array, " s"],
) -> Parameters:
    def lagrangian(p: Parameters) -> Scalar:
        field, load = gradient_of(state, strains, state.position, jnp.zeros(len(strains)), p, pressure)
        return observable(state.at(state.position, p)) - jnp.vdot(adjoint, field) - jnp.vdot(components, load)

    return jax.grad(lagrangian)(state.parameters)
