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

from mdsens.energy import State
from mdsens.energy.parameters import Parameters
from mdsens.energy.paths import Selection
from mdsens.energy.strain import Components, deformed, enthalpy, n_strains
from mdsens.response import LinearResponse
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
    """Predict along every selected entry.

    Args:
        listed: The relaxed state with its pairs listed with a skin (``Relaxation.state``).
        response: Its response.
        selection: Parameter entries.
        positions: dx/dp of the same selection.
    """
    box, count = positions.box, len(selection.paths)
    moved, components = (positions.values, np.zeros((count, 0))) if box is None else (box.displacements, box.components)
    value, slopes, curvatures = _energies(
        response.state, selection.tangents, jnp.asarray(moved), jnp.asarray(components)
    )
    whole = positions.whole(selection)
    changes = contact_changes(listed, response.network, positions.values, whole)
    matrices = np.asarray(whole.box.matrix) if isinstance(whole.box, PeriodicBox) else np.zeros((count, 0, 0))
    return [
        Prediction(
            path=path,
            value=float(selection.values[k]),
            energy=float(value),
            slope=float(slopes[k]),
            curvature=float(curvatures[k]),
            position=np.asarray(response.state.position),
            position_rate=positions.values[k],
            box_rate=matrices[k],
            backbone=response.network.backbone,
            drifts=response.state.configuration.drifts,
            changes=changes[k],
        )
        for k, path in enumerate(selection.paths)
    ]


@jax.jit
def _energies(
    state: State, tangents: Parameters, moved: Float[Array, "k n d"], components: Float[Array, "k s"]
) -> tuple[Scalar, Float[Array, " k"], Float[Array, " k"]]:
    """Return the energy or enthalpy, its slopes and its curvatures along every direction."""
    here = (state.position, jnp.zeros(n_strains(state)), state.parameters)

    def total(x: Position, e: Components, p: Parameters) -> Scalar:
        return enthalpy(deformed(state, x, e, p))

    def one(tangent: Parameters, move: Position, component: Components) -> tuple[Scalar, Scalar]:
        slope = lambda x, e, p: jax.jvp(lambda q: total(x, e, q), (p,), (tangent,))[1]  # noqa: E731
        return jax.jvp(slope, here, (move, component, tangent))

    return total(*here), *jax.vmap(one)(tangents, moved, components)
