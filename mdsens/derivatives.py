"""Compiled derivatives of the energy that linear response needs: mixed derivatives and how they change along a step."""

from __future__ import annotations

import jax
from jaxtyping import Array, Float

from mdsens.energy import State, forces
from mdsens.hessian import directional_row_sum
from mdsens.parameters import Parameters
from mdsens.types import Position, Scalar


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
