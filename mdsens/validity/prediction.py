r"""What the response says of the state at another parameter: positions to first order, the energy to second.

.. math:: x(p + h) \approx x + h\frac{dx}{dp}, \qquad
          E(p + h) \approx E + h U_p + \tfrac12 h^2\big(U_{pp} + U_{px}\cdot\frac{dx}{dp}\big)

At constant pressure the energy is the enthalpy and x stands for positions and strains together. The first-order
response is enough for the second derivative of the energy.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mdsens.energy import State, energy_at
from mdsens.energy.parameters import Parameters
from mdsens.energy.paths import Selection
from mdsens.energy.strain import enthalpy
from mdsens.pressure import JointSensitivity, box_rates, joint_tangents
from mdsens.response import BorderedResponse, LinearResponse
from mdsens.sensitivity import PositionSensitivity
from mdsens.types import PeriodicBox, Position, Scalar
from mdsens.validity.changes import ContactChanges, contact_changes


@dataclasses.dataclass(frozen=True)
class Prediction:
    """What is predicted along one parameter entry.

    Attributes:
        path: The entry.
        value: Its value.
        energy: Energy of the state, or its enthalpy at constant pressure.
        slope: Its first derivative.
        curvature: Its second derivative.
        position: Positions of the state, shape (n, d).
        position_rate: Derivative of the real positions, shape (n, d).
        box_rate: Derivative of the box matrix, shape (d, d); shape (0, 0) for a free system.
        backbone: True for particles that are held in place, shape (n,).
        drifts: Whether all may move together along an axis, shape (d,): positions are compared without such a move.
        changes: Where the first contact changes.
    """

    path: str
    value: float
    energy: float
    slope: float
    curvature: float
    position: np.ndarray
    position_rate: np.ndarray
    box_rate: np.ndarray
    backbone: np.ndarray
    drifts: np.ndarray
    changes: ContactChanges

    def energy_at(self, step: np.ndarray | float) -> np.ndarray:
        """Return the energy (or enthalpy) predicted to second order."""
        step = np.asarray(step)
        return np.asarray(self.energy + step * self.slope + 0.5 * step**2 * self.curvature)

    def position_at(self, step: float) -> np.ndarray:
        """Return the positions predicted to first order, shape (n, d)."""
        return self.position + step * self.position_rate


def predict(
    listed: State, response: LinearResponse, selection: Selection, positions: PositionSensitivity
) -> list[Prediction]:
    """Predict along every selected entry at fixed box.

    Args:
        listed: The relaxed state with its pairs listed with a skin (``Relaxation.state``).
        response: Its response.
        selection: Parameter entries.
        positions: dx/dp of the same selection.
    """
    value, slopes, curvatures = _energies(response.state, selection.tangents, jnp.asarray(positions.values))
    changes = contact_changes(listed, response.network, positions.values, selection.tangents)
    box = selection.tangents.box
    matrices = np.asarray(box.matrix) if isinstance(box, PeriodicBox) else np.zeros((len(selection.paths), 0, 0))
    return _together(
        response,
        selection.paths,
        selection.values,
        float(value),
        np.asarray(slopes),
        np.asarray(curvatures),
        positions.values,
        matrices,
        changes,
    )


def predict_at_pressure(
    listed: State, response: BorderedResponse, selection: Selection, joint: JointSensitivity
) -> list[Prediction]:
    """Predict along every selected entry and along the pressure, at constant pressure.

    Args:
        listed: The relaxed state with its pairs listed with a skin.
        response: Its response at constant pressure.
        selection: Parameter entries.
        joint: Their joint sensitivity.
    """
    state, count = response.state, len(joint.paths)
    tangents = _with_nothing(selection)
    pressures = jnp.zeros(count).at[-1].set(1.0)
    value, slopes, curvatures = _enthalpies(
        state,
        jnp.asarray(response.strains),
        jnp.asarray(response.pressure, float),
        tangents,
        pressures,
        jnp.asarray(joint.displacements),
        jnp.asarray(joint.components),
    )
    matrices = box_rates(joint, selection)
    changes = contact_changes(listed, response.fixed.network, joint.positions, joint_tangents(joint, selection))
    return _together(
        response.fixed,
        joint.paths,
        joint.parameter_values,
        float(value),
        np.asarray(slopes),
        np.asarray(curvatures),
        joint.positions,
        matrices,
        changes,
    )


def _with_nothing(selection: Selection) -> Parameters:
    """Return the directions with one more, along which no parameter changes."""
    return jax.tree.map(lambda leaf: jnp.concatenate([leaf, jnp.zeros((1, *leaf.shape[1:]))]), selection.tangents)


def _together(
    response: LinearResponse,
    paths: tuple[str, ...],
    values: np.ndarray,
    energy: float,
    slopes: np.ndarray,
    curvatures: np.ndarray,
    rates: np.ndarray,
    matrices: np.ndarray,
    changes: list[ContactChanges],
) -> list[Prediction]:
    return [
        Prediction(
            path=path,
            value=float(values[k]),
            energy=energy,
            slope=float(slopes[k]),
            curvature=float(curvatures[k]),
            position=np.asarray(response.state.position),
            position_rate=rates[k],
            box_rate=matrices[k],
            backbone=response.network.backbone,
            drifts=response.state.configuration.drifts,
            changes=changes[k],
        )
        for k, path in enumerate(paths)
    ]


@jax.jit
def _energies(
    state: State, tangents: Parameters, rates: Float[Array, "k n d"]
) -> tuple[Scalar, Float[Array, " k"], Float[Array, " k"]]:
    """Return the energy, its slopes and its curvatures along every direction."""
    here = (state.position, state.parameters)

    def one(tangent: Parameters, rate: Position) -> tuple[Scalar, Scalar]:
        slope = lambda x, p: jax.jvp(lambda q: energy_at(state, x, q), (p,), (tangent,))[1]  # noqa: E731
        return jax.jvp(slope, here, (rate, tangent))

    return energy_at(state, *here), *jax.vmap(one)(tangents, rates)


@jax.jit
def _enthalpies(
    state: State,
    strains: Float[Array, "s d d"],
    pressure: Scalar,
    tangents: Parameters,
    pressures: Float[Array, " k"],
    moved: Float[Array, "k n d"],
    components: Float[Array, "k s"],
) -> tuple[Scalar, Float[Array, " k"], Float[Array, " k"]]:
    """Return the enthalpy, its slopes and its curvatures along every direction."""
    here = (state.position, jnp.zeros(len(strains)), state.parameters, pressure)

    def total(x: Position, e: Float[Array, " s"], p: Parameters, q: Scalar) -> Scalar:
        return enthalpy(state, x, jnp.tensordot(e, strains, axes=1), p, q)

    def one(tangent: Parameters, push: Scalar, move: Position, component: Float[Array, " s"]) -> tuple[Scalar, Scalar]:
        def slope(x: Position, e: Float[Array, " s"], p: Parameters, q: Scalar) -> Scalar:
            return jax.jvp(lambda r, t: total(x, e, r, t), (p, q), (tangent, push))[1]

        return jax.jvp(slope, here, (move, component, tangent, push))

    return total(*here), *jax.vmap(one)(tangents, pressures, moved, components)
