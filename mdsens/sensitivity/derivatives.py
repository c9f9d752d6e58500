"""Compiled derivatives of observables of a relaxed state."""

from __future__ import annotations

from collections.abc import Callable

import equinox as eqx
import jax
from jaxtyping import Array, Float

from mdsens.energy import State, gradient_at
from mdsens.parameters import Parameters
from mdsens.types import Position, Scalar

Observable = Callable[[State], Scalar]


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
