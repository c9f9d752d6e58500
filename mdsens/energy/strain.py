r"""Homogeneous deformations of a state, box and positions together: :math:`x \to (1 + \varepsilon)\,x`."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mdsens.energy import State, check_box_followed, energy
from mdsens.energy.parameters import Parameters
from mdsens.errors import UserError
from mdsens.types import PeriodicBox, Position, Scalar, replaced

Components = Float[Array, " s"]


class Unknowns(NamedTuple):
    """What a relaxation finds, or how it changes: positions, shape (n, d), and free strain components, shape (s,)."""

    position: Position
    strain: Components

    @classmethod
    def of(cls, state: State) -> Unknowns:
        """Return those of a state, about its own box: no strain."""
        return cls(state.position, jnp.zeros(n_strains(state)))


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
    changed = Parameters(state.potential, replaced(box, {"matrix": gradient @ box.matrix}))
    return state.at(state.position @ gradient.T, changed)


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


def n_strains(state: State) -> int:
    """Return the number s of free strains: 0 at fixed box."""
    return 0 if state.barostat is None else len(state.barostat.strains)


def deformed(state: State, position: Position, components: Components, parameters: Parameters) -> State:
    """Return the state with other positions and parameters, then deformed by components of its free strains."""
    moved = state.at(position, parameters)
    if state.barostat is None:
        return moved
    return strained(moved, jnp.tensordot(components, state.barostat.strains, axes=1))


def enthalpy(state: State) -> Scalar:
    """Return U + P V, units of energy; at fixed box U."""
    if state.barostat is None:
        return energy(state)
    return energy(state) + state.barostat.pressure * periodic_box(state).volume


def gradient_of(
    state: State, position: Position, components: Components, parameters: Parameters
) -> tuple[Position, Components]:
    """Return the derivatives of the enthalpy in positions and strain components: what vanishes in a relaxed state.

    At fixed box the second one has no entries; the first is zero where particles are held.

    Args:
        state: The state, which says what its box may do.
        position: Positions, shape (n, d).
        components: Components of the free strains, shape (s,).
        parameters: The parameters.
    """

    def total(x: Position, e: Components) -> Scalar:
        return enthalpy(deformed(state, x, e, parameters))

    by_position, by_strain = jax.grad(total, argnums=(0, 1))(position, components)
    return state.configuration.on_free(by_position), by_strain


@jax.jit
def enthalpy_gradient(state: State) -> tuple[Position, Components]:
    """Return ``gradient_of`` at the state itself."""
    return gradient_of(state, state.position, jnp.zeros(n_strains(state)), state.parameters)


def stress_deviation(state: State) -> float:
    """Return the largest deviation of the stress from the pressure along a free strain, units of energy per volume."""
    assert state.barostat is not None
    gradient, strains = np.asarray(enthalpy_gradient(state)[1]), np.asarray(state.barostat.strains)
    return float(np.max(np.abs(gradient) / np.sum(strains**2, axis=(1, 2)))) / float(periodic_box(state).volume)


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
