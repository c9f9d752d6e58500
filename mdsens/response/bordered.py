r"""The linear response of positions and box together, at a pressure.

The enthalpy :math:`W(x, \varepsilon) = U + P V` of the state deformed by its free strains has the Hessian

.. math:: K = \begin{pmatrix} H & \Lambda \\ \Lambda^T & W_{\varepsilon\varepsilon} \end{pmatrix},
          \qquad \Lambda_a = \frac{\partial^2 U}{\partial x\,\partial\varepsilon_a}.

Its bordered systems are solved with the factor of H at fixed box: with the non-affine displacements
:math:`y = -H^{+}\Lambda` and :math:`S = W_{\varepsilon\varepsilon} + \Lambda^T y`,
:math:`K (u, e) = (f, h)` gives :math:`S e = h + y\cdot f` and :math:`u = H^{+} f + y\,e`. Here u is what particles move
beyond following the box: their real displacement is :math:`u + (e_a\varepsilon_a)\,x`. At no pressure S over the volume
are the elastic moduli, :math:`W_{\varepsilon\varepsilon}` over it their affine part.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mdsens.energy import State
from mdsens.energy.strain import enthalpy_gradient, gradient_of, periodic_box
from mdsens.errors import NumericalError
from mdsens.response.linear import LinearResponse, accepted, norms, refuse_loaded
from mdsens.rounding import UNIT
from mdsens.types import Position, Scalar

_SINGULAR = 1e-9  # of the largest: a smaller eigenvalue of the box's stiffness means that the box is floppy


@dataclasses.dataclass(frozen=True)
class BorderedResponse:
    """A factored Hessian with the border of the free strains.

    Attributes:
        fixed: The response at fixed box.
        pressure: Pressure P, units of energy per volume.
        strains: Free strains, shape (s, d, d).
        moves: y, how particles move on their own under each, shape (s, n, d).
        affine: Second derivatives of the enthalpy while particles follow the box, shape (s, s), units of energy.
        stiffness: S, shape (s, s), units of energy.
        residual: Relative residuals of the solves for y, shape (s,).
    """

    fixed: LinearResponse
    pressure: float
    strains: np.ndarray
    moves: np.ndarray
    affine: np.ndarray
    stiffness: np.ndarray
    residual: np.ndarray

    @property
    def state(self) -> State:
        """The state."""
        return self.fixed.state

    @property
    def stress_error(self) -> float:
        """Largest deviation of the stress from the pressure along a free strain, units of energy per volume."""
        gradient = np.asarray(enthalpy_gradient(self.state, self.strains, self.pressure)[1])
        sizes = np.sum(self.strains**2, axis=(1, 2))
        return float(np.max(np.abs(gradient) / sizes)) / float(periodic_box(self.state).volume)

    def solve(self, fields: np.ndarray, loads: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Solve the bordered system.

        Args:
            fields: Right-hand sides of the particles, shape (k, n, d), units of force.
            loads: Right-hand sides of the strains, shape (k, s), units of energy.

        Returns:
            Displacements beyond following the box, shape (k, n, d); strain components, shape (k, s); relative
            residuals of the solves at fixed box, shape (k,).

        Raises:
            NumericalError: When a solve misses a relative residual of 1e-6.
        """
        found, residual = self.fixed.solve(fields)
        accepted(residual)
        flat = self.moves.reshape(len(self.moves), -1)
        components = np.linalg.solve(self.stiffness, loads.T + flat @ fields.reshape(len(fields), -1).T).T
        return found + np.tensordot(components, self.moves, axes=1), components, residual


def bordered(response: LinearResponse, pressure: float, strains: np.ndarray) -> BorderedResponse:
    """Return the response of positions and strains together from that at fixed box; no sign is asked for.

    Raises:
        UserError: For a free system.
        NumericalError: When a solve misses a relative residual of 1e-6, or a strain loads a mode that counts as floppy.
    """
    coupling, curvature = (np.asarray(part) for part in _border(response.state, jnp.asarray(strains), pressure))
    if response.zero_modes.floppy:
        _refuse_loaded(response, coupling)
    moves, residual = response.solve(-coupling)
    accepted(residual)
    gain = coupling.reshape(len(strains), -1) @ moves.reshape(len(strains), -1).T
    return BorderedResponse(response, pressure, strains, moves, curvature, curvature + 0.5 * (gain + gain.T), residual)


def _refuse_loaded(response: LinearResponse, coupling: np.ndarray) -> None:
    position = np.asarray(response.state.position)
    reach, size = float(np.linalg.norm(position - position.mean(axis=0))), norms(coupling)
    unbalanced = response.max_force / (response.norm * reach / np.sqrt(len(position)))
    refuse_loaded(
        response.load(coupling), size, UNIT * response.norm * reach + unbalanced * size, "a strain of the box"
    )


def refuse_soft_box(response: BorderedResponse) -> None:
    """Raise unless the enthalpy rises with every free strain.

    Raises:
        NumericalError: When it does not: the box is floppy, or the state a saddle of the enthalpy.
    """
    values = np.linalg.eigvalsh(response.stiffness)
    if values[0] <= _SINGULAR * max(abs(values[-1]), 1e-300):
        raise NumericalError(
            f"no sensitivity at constant pressure: the box has a stiffness of {values[0]:.2e} along a free strain (the "
            f"largest is {values[-1]:.2e}): it flows or is unstable. Fix the shear components, or relax further."
        )


@jax.jit
def _border(
    state: State, strains: Float[Array, "s d d"], pressure: Scalar | float
) -> tuple[Float[Array, "s n d"], Float[Array, "s s"]]:
    def one(direction: Float[Array, " s"]) -> tuple[Position, Float[Array, " s"]]:
        along = lambda e: gradient_of(state, strains, state.position, e, state.parameters, pressure)  # noqa: E731
        return jax.jvp(along, (jnp.zeros(len(strains)),), (direction,))[1]

    return jax.vmap(one)(jnp.eye(len(strains)))
