"""Compiled derivatives of observables of a relaxed state."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
from jaxtyping import Array, Float

from mdsens.energy import State, gradient_at
from mdsens.energy.parameters import Parameters
from mdsens.types import Position, Scalar

Observable = Callable[[State], Scalar]


@eqx.filter_jit
def for_each(
    function: Callable[..., Any], observables: tuple[Observable, ...], *shared: Any, own: tuple[Any, ...] = ()
) -> tuple[Any, ...]:
    """Return ``function(observable, *shared, *own[k])`` for every observable from one compiled call.

    Args:
        function: One of the derivatives below.
        observables: The observables.
        shared: Arguments that all have in common.
        own: Further arguments of each, a tuple per observable.
    """
    rest = own or ((),) * len(observables)
    return tuple(function(observable, *shared, *part) for observable, part in zip(observables, rest, strict=True))


@eqx.filter_jit
def observable_slopes(observable: Observable, state: State) -> tuple[Scalar, Position, Parameters]:
    """Return the observable with its partial derivatives in positions, shape (n, d), and in the parameters."""
    value, (by_position, by_parameters) = jax.value_and_grad(lambda x, p: observable(state.at(x, p)), argnums=(0, 1))(
        state.position, state.parameters
    )
    return value, by_position, by_parameters


@jax.jit
def pulled_parameters(state: State, adjoints: Float[Array, "m n d"]) -> Parameters:
    r"""Return :math:`\lambda\cdot U_{xp}` for every adjoint, shaped like the parameters with a leading axis m."""

    def one(adjoint: Position) -> Parameters:
        along = lambda p: jax.numpy.vdot(adjoint, gradient_at(state, state.position, p))  # noqa: E731
        return jax.grad(along)(state.parameters)

    return jax.vmap(one)(adjoints)


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
