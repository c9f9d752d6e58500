"""Compiled derivatives of the energy that linear response needs: mixed derivatives and how they change along a step."""

from __future__ import annotations

from collections.abc import Callable

import equinox as eqx
import jax
from jaxtyping import Array, Float

from mdsens.energy import State, forces, gradient_at
from mdsens.hessian import directional_row_sum
from mdsens.parameters import Parameters
from mdsens.types import Position, Scalar

Observable = Callable[[State], Scalar]


def _gradient(state: State, position: Position, parameters: Parameters) -> Position:
    return -forces(state.at(position, parameters))


@jax.jit
def mixed(state: State, tangents: Parameters) -> Float[Array, "k n d"]:
    """Return d2U/dx dp along every direction dp (leading axis of ``tangents``), shape (k, n, d)."""

    def one(tangent: Parameters) -> Position:
        along = lambda p: _gradient(state, state.position, p)  # noqa: E731
        return jax.jvp(along, (state.parameters,), (tangent,))[1]

    return jax.vmap(one)(tangents)


@jax.jit
def slopes_and_forces(state: State, tangents: Parameters) -> tuple[Float[Array, "k n d"], Position]:
    """Return ``mixed`` and the forces in one compiled call."""
    return mixed(state, tangents), forces(state)


@jax.jit
def drifts(
    state: State, tangents: Parameters, responses: Float[Array, "k n d"], step: Position
) -> tuple[Float[Array, "k n d"], Float[Array, "k n d"], Scalar]:
    """Return both results of ``mixed_drift`` and the bound of the Hessian's change along the step in one call."""
    return *mixed_drift(state, tangents, responses, step), directional_row_sum(state, step)


@jax.jit
def mixed_drift(
    state: State, tangents: Parameters, responses: Float[Array, "k n d"], step: Position
) -> tuple[Float[Array, "k n d"], Float[Array, "k n d"]]:
    r"""Return the changes of :math:`H J + U_{xp}` and of :math:`U_{xp}` alone under a step, J and dp held.

    Args:
        state: The state.
        tangents: Directions dp, leading axis k.
        responses: J = dx/dp for each, shape (k, n, d).
        step: Displacement of the particles, shape (n, d).
    """

    def one(tangent: Parameters, response: Position) -> tuple[Position, Position]:
        def both(x: Position) -> tuple[Position, Position]:
            parameter_part = jax.jvp(lambda p: _gradient(state, x, p), (state.parameters,), (tangent,))[1]
            position_part = jax.jvp(lambda y: _gradient(state, y, state.parameters), (x,), (response,))[1]
            return position_part + parameter_part, parameter_part

        return jax.jvp(both, (state.position,), (step,))[1]

    return jax.vmap(one)(tangents, responses)


@eqx.filter_jit
def observable_slopes(observable: Observable, state: State) -> tuple[Scalar, Position, Parameters]:
    """Return the observable with its partial derivatives in positions, shape (n, d), and in the parameters."""
    value, (by_position, by_parameters) = jax.value_and_grad(lambda x, p: observable(state.at(x, p)), argnums=(0, 1))(
        state.position, state.parameters
    )
    return value, by_position, by_parameters


@eqx.filter_jit
def forward_slope_drift(
    observable: Observable, state: State, tangents: Parameters, responses: Float[Array, "k n d"], step: Position
) -> Float[Array, " k"]:
    r"""Return the change of :math:`O_p\cdot dp + O_x\cdot J` under a step, J and dp held, shape (k,)."""

    def one(tangent: Parameters, response: Position) -> Scalar:
        def slope(x: Position) -> Scalar:
            value = lambda y, p: observable(state.at(y, p))  # noqa: E731
            return jax.jvp(value, (x, state.parameters), (response, tangent))[1]

        return jax.jvp(slope, (state.position,), (step,))[1]

    return jax.vmap(one)(tangents, responses)


@eqx.filter_jit
def adjoint_slope(observable: Observable, state: State, adjoint: Position) -> Parameters:
    r"""Return :math:`\partial O/\partial p - \lambda\cdot U_{xp}`, shaped like the parameters."""
    return _lagrangian_slope(observable, state, state.position, adjoint)


def _lagrangian_slope(observable: Observable, state: State, x: Position, adjoint: Position) -> Parameters:
    def lagrangian(p: Parameters) -> Scalar:
        return observable(state.at(x, p)) - jax.numpy.vdot(adjoint, gradient_at(state, x, p))

    return jax.grad(lagrangian)(state.parameters)


@eqx.filter_jit
def adjoint_residual_drift(observable: Observable, state: State, adjoint: Position, step: Position) -> Position:
    r"""Return the change of :math:`O_x - H\lambda` under a step, the adjoint held, shape (n, d)."""

    def residual(x: Position) -> Position:
        def lagrangian(y: Position) -> Scalar:
            return observable(state.at(y, state.parameters)) - jax.numpy.vdot(
                adjoint, gradient_at(state, y, state.parameters)
            )

        return jax.grad(lagrangian)(x)

    return jax.jvp(residual, (state.position,), (step,))[1]


@eqx.filter_jit
def adjoint_slope_drift(
    observable: Observable, state: State, adjoint: Position, adjoint_change: Position, step: Position
) -> Parameters:
    r"""Return the change of :math:`O_p - \lambda\cdot U_{xp}` under a step of the positions and one of the adjoint."""
    along = lambda x, y: _lagrangian_slope(observable, state, x, y)  # noqa: E731
    return jax.jvp(along, (state.position, adjoint), (step, adjoint_change))[1]
