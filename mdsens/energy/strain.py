r"""Homogeneous deformations of a state, box and positions together: :math:`x \to (1 + \varepsilon)\,x`."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mdsens.energy import State, check_box_followed, energy
from mdsens.energy.parameters import Parameters
from mdsens.errors import UserError
from mdsens.types import PeriodicBox, Position, Scalar, replaced


def strained(state: State, strain: Float[Array | np.ndarray, "d d"]) -> State:
    r"""Return the state deformed by :math:`F = 1 + \varepsilon`: positions F x, box F B, image counts held.

    Args:
        state: A state in a periodic box.
        strain: Displacement gradient, shape (d, d), no unit.

    Raises:
        UserError: For a free system, which has no box to deform, and for an energy that does not follow the box.
    """
    box = state.configuration.box
    if not isinstance(box, PeriodicBox):
        raise UserError("a free system has no box: it cannot be deformed.")
    check_box_followed(state)
    gradient = jnp.eye(box.dimension) + strain
    deformed = Parameters(state.potential, replaced(box, {"matrix": gradient @ box.matrix}))
    return state.at(state.position @ gradient.T, deformed)


def periodic_box(state: State) -> PeriodicBox:
    """Return the state's box.

    Raises:
        UserError: For a free system, and for one that is not periodic along every axis.
    """
    box = state.configuration.box
    if not isinstance(box, PeriodicBox):
        raise UserError("a free system has no volume: stress, strain and elastic moduli need a periodic box.")
    if not box.is_periodic:
        raise UserError(
            f"the box is periodic along {describe_axes(box)} only and has no volume: there is no pressure, no stress "
            "and no modulus; differentiate the energy in box.strain along periodic axes and divide by the area."
        )
    return box


def describe_axes(box: PeriodicBox) -> str:
    """Return the periodic axes in words, such as ``axes 0 and 1``."""
    axes = [str(axis) for axis in np.flatnonzero(box.periodic)]
    return f"axis {axes[0]}" if len(axes) == 1 else f"axes {' and '.join(axes)}"


def strain_energy(state: State, position: Position, strain: Float[Array, "d d"]) -> Scalar:
    """Return U of the state with other positions, then deformed: the function whose derivatives are elasticity."""
    return energy(strained(state.at(position, state.parameters), strain))


def enthalpy(
    state: State, position: Position, strain: Float[Array, "d d"], parameters: Parameters, pressure: Scalar | float
) -> Scalar:
    """Return U + P V of the state with other positions and parameters, then deformed."""
    deformed = strained(state.at(position, parameters), strain)
    return energy(deformed) + pressure * periodic_box(deformed).volume


@jax.jit
def enthalpy_gradient(
    state: State, strains: Float[Array | np.ndarray, "s d d"], pressure: Scalar | float
) -> tuple[Position, Float[Array, " s"]]:
    """Return the derivatives of the enthalpy in positions, shape (n, d), and in the strain components, shape (s,)."""
    return gradient_of(state, jnp.asarray(strains), state.position, jnp.zeros(len(strains)), state.parameters, pressure)


def gradient_of(
    state: State,
    strains: Float[Array, "s d d"],
    position: Position,
    components: Float[Array, " s"],
    parameters: Parameters,
    pressure: Scalar | float,
) -> tuple[Position, Float[Array, " s"]]:
    """Return both derivatives at any positions, strain components, parameters and pressure."""

    def total(x: Position, e: Float[Array, " s"]) -> Scalar:
        return enthalpy(state, x, jnp.tensordot(e, strains, axes=1), parameters, pressure)

    return jax.grad(total, argnums=(0, 1))(position, components)


def strain_basis(dimension: int) -> np.ndarray:
    """Return the symmetric unit strains in Voigt's order, shape (s, d, d): 11, 22, (33, 23, 13,) 12, shears halved.

    A strain with Voigt components e (engineering shears) is the sum of e_a times these.
    """
    places = voigt_places(dimension)
    basis = np.zeros((len(places), dimension, dimension))
    for a, (i, j) in enumerate(places):
        basis[a, i, j] += 0.5
        basis[a, j, i] += 0.5
    return basis


def voigt_places(dimension: int) -> tuple[tuple[int, int], ...]:
    """Return which tensor component stands at each of Voigt's places."""
    return {1: ((0, 0),), 2: ((0, 0), (1, 1), (0, 1)), 3: ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))}[dimension]
