"""Compiled derivatives of the enthalpy and of observables in positions, strains and parameters."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mdsens.energy import State
from mdsens.energy.parameters import Parameters
from mdsens.energy.strain import gradient_of, periodic_box, strained
from mdsens.sensitivity.derivatives import Observable
from mdsens.types import Position, Scalar

Strains = Float[Array, "s d d"]
Components = Float[Array, " s"]


@jax.jit
def gradient(state: State, strains: Strains, pressure: Scalar | float) -> tuple[Position, Components]:
    """Return the derivatives of the enthalpy in positions, shape (n, d), and in the strain components, shape (s,)."""
    return gradient_of(state, strains, state.position, jnp.zeros(len(strains)), state.parameters, pressure)


@jax.jit
def mixed(
    state: State, strains: Strains, pressure: Scalar | float, tangents: Parameters
) -> tuple[Float[Array, "k n d"], Float[Array, "k s"]]:
    """Return d2W/dq dp along every direction dp (leading axis of ``tangents``)."""

    def one(tangent: Parameters) -> tuple[Position, Components]:
        along = lambda p: gradient_of(state, strains, state.position, jnp.zeros(len(strains)), p, pressure)  # noqa: E731
        return jax.jvp(along, (state.parameters,), (tangent,))[1]

    return jax.vmap(one)(tangents)


@jax.jit
def drift(
    state: State,
    strains: Strains,
    pressure: Scalar | float,
    tangents: Parameters | None,
    moved: Float[Array | np.ndarray, "k n d"],
    components: Float[Array | np.ndarray, "k s"],
    step: Position | np.ndarray,
    strain_step: Float[Array | np.ndarray, " s"],
) -> tuple[Float[Array, "k n d"], Float[Array, "k s"]]:
    """Return K J + W_qp after the remaining step, to first order, J and dp held; without dp for the pressure."""
    moved, components, step, strain_step = (jnp.asarray(part) for part in (moved, components, step, strain_step))
    here = (state.position, jnp.zeros(len(strains)), state.parameters, jnp.asarray(pressure, float))
    nothing = jax.tree.map(jnp.zeros_like, state.parameters)

    def one(tangent: Parameters | None, move: Position, component: Components) -> tuple[Position, Components]:
        direction = (
            (move, component, nothing, jnp.ones(())) if tangent is None else (move, component, tangent, jnp.zeros(()))
        )

        def along(x: Position, e: Components) -> tuple[Position, Components]:
            by = lambda y, f, p, q: gradient_of(state, strains, y, f, p, q)  # noqa: E731
            return jax.jvp(by, (x, e, *here[2:]), direction)[1]

        left, change = jax.jvp(along, here[:2], (step, strain_step))
        return left[0] + change[0], left[1] + change[1]

    if tangents is None:
        return jax.vmap(lambda move, component: one(None, move, component))(moved, components)
    return jax.vmap(one)(tangents, moved, components)


@jax.jit
def volume_slopes(state: State, tangents: Parameters) -> Float[Array, " k"]:
    """Return what every direction dp itself does to the volume, shape (k,)."""
    volume = lambda p: periodic_box(state.at(state.position, p)).volume  # noqa: E731
    return jax.vmap(lambda t: jax.jvp(volume, (state.parameters,), (t,))[1])(tangents)


@eqx.filter_jit
def observable_slopes(
    observable: Observable, state: State, strains: Strains, position: Position, components: Components
) -> tuple[Scalar, Position, Components, Parameters]:
    """Return an observable at other positions and strains, with its partial derivatives in both and in parameters."""

    def value(x: Position, e: Components, p: Parameters) -> Scalar:
        return observable(strained(state.at(x, p), jnp.tensordot(e, strains, axes=1)))

    found, slopes = jax.value_and_grad(value, argnums=(0, 1, 2))(position, components, state.parameters)
    return found, *slopes


@jax.jit
def curved(
    state: State,
    strains: Strains,
    pressure: Scalar | float,
    position: Position,
    components: Components,
    fields: Float[Array, "m n d"],
    loads: Float[Array, "m s"],
) -> tuple[Float[Array, "m n d"], Float[Array, "m s"]]:
    """Return the products of the enthalpy's Hessian at other positions and strains with (field, load)."""

    def one(field: Position, load: Components) -> tuple[Position, Components]:
        along = lambda x, e: gradient_of(state, strains, x, e, state.parameters, pressure)  # noqa: E731
        return jax.jvp(along, (position, components), (field, load))[1]

    return jax.vmap(one)(fields, loads)


@jax.jit
def pulled(
    state: State,
    strains: Strains,
    pressure: Scalar | float,
    position: Position,
    components: Components,
    fields: Float[Array, "m n d"],
    loads: Float[Array, "m s"],
) -> tuple[Parameters, Float[Array, " m"]]:
    r"""Return :math:`\lambda\cdot W_{qp}` for every adjoint (field, load): for the parameters, and for the pressure."""

    def one(field: Position, load: Components) -> tuple[Parameters, Scalar]:
        def along(p: Parameters, q: Scalar) -> Scalar:
            by_position, by_strain = gradient_of(state, strains, position, components, p, q)
            return jnp.vdot(field, by_position) + jnp.vdot(load, by_strain)

        return jax.grad(along, argnums=(0, 1))(state.parameters, jnp.asarray(pressure, float))

    return jax.vmap(one)(fields, loads)
