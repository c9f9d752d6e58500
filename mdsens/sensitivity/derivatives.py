"""Compiled derivatives of observables of a relaxed state."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
from jaxtyping import Array, Float

from mdsens.energy import State, gradient_at
from mdsens.energy.parameters import Parameters
from mdsens.energy.strain import Components, deformed, gradient_of, periodic_box
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
def observable_slopes(
    observable: Observable, state: State, components: Components
) -> tuple[Scalar, Position, Components, Parameters]:
    """Return the observable with its partial derivatives in positions, free strains and parameters.

    Args:
        observable: The observable.
        state: The state.
        components: Components of its free strains by which it is deformed besides, shape (s,).
    """

    def value(x: Position, e: Components, p: Parameters) -> Scalar:
        return observable(deformed(state, x, e, p))

    found, slopes = jax.value_and_grad(value, argnums=(0, 1, 2))(state.position, components, state.parameters)
    return found, *slopes


@jax.jit
def pulled_parameters(
    state: State, components: Components, fields: Float[Array, "m n d"], loads: Float[Array, "m s"]
) -> Parameters:
    r"""Return :math:`\lambda\cdot W_{qp}` for every adjoint (field, load), like the parameters, leading axis m."""

    def one(field: Position, load: Components) -> Parameters:
        def along(p: Parameters) -> Scalar:
            by_position, by_strain = gradient_of(state, state.position, components, p)
            return jax.numpy.vdot(field, by_position) + jax.numpy.vdot(load, by_strain)

        return jax.grad(along)(state.parameters)

    return jax.vmap(one)(fields, loads)


@jax.jit
def volume_slopes(state: State, tangents: Parameters) -> Float[Array, " k"]:
    """Return what every direction dp itself does to the volume, shape (k,)."""
    volume = lambda p: periodic_box(state.at(state.position, p)).volume  # noqa: E731
    return jax.vmap(lambda t: jax.jvp(volume, (state.parameters,), (t,))[1])(tangents)


@eqx.filter_jit
def adjoint_slope(observable: Observable, state: State, adjoint: Position, load: Components) -> Parameters:
    r"""Return :math:`\partial O/\partial p - \lambda\cdot W_{qp}`, shaped like the parameters."""
    still = jax.numpy.zeros(len(load))

    def lagrangian(p: Parameters) -> Scalar:
        by_position, by_strain = gradient_of(state, state.position, still, p)
        pulled = jax.numpy.vdot(adjoint, by_position) + jax.numpy.vdot(load, by_strain)
        return observable(state.at(state.position, p)) - pulled

    return jax.grad(lagrangian)(state.parameters)


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
