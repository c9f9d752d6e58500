"""A configuration with its potential and pairs: energy, forces and pressure of it.

What is computed is compiled where it is defined (inlined into what is compiled around it): evaluated operation by
operation, every one would be compiled on its own, several seconds for each new shape.
"""

from __future__ import annotations

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mdsens.energy.parameters import Parameters
from mdsens.energy.potential import Potential, check_potential
from mdsens.errors import UserError
from mdsens.given import shown
from mdsens.neighbors import PairList, every_pair, no_pairs
from mdsens.types import Configuration, PeriodicBox, Position, Scalar, replaced

_compiled = partial(jax.jit, inline=True)


class Barostat(eqx.Module):
    """What the box of a state may do, and the pressure it does it at.

    Attributes:
        pressure: Pressure P, units of energy per volume.
        strains: The free strains of the box, shape (s, d, d).
    """

    pressure: Scalar
    strains: Float[Array, "s d d"]

    def __init__(self, pressure: float | Scalar, strains: Float[Array | np.ndarray, "s d d"]) -> None:
        self.pressure, self.strains = jnp.asarray(pressure, float), jnp.asarray(strains)


class State(eqx.Module):
    """A configuration with everything that determines its energy.

    Attributes:
        configuration: Positions, species, box.
        potential: What the particles feel, with its parameters.
        pairs: The pairs that interact; must hold every pair within range.
        barostat: What the box may do and the pressure it does it at; None at fixed box.

    Raises:
        ValueError: When the potential is none, a floating-point parameter is not a float64 JAX array, or one has a
            wrong number of entries.
    """

    configuration: Configuration
    potential: Potential
    pairs: PairList
    barostat: Barostat | None = None

    def __check_init__(self) -> None:
        check_system(self.potential, self.configuration)
        self.potential.check_entries(self.configuration)

    @classmethod
    def unlisted(cls, configuration: Configuration, potential: Potential) -> State:
        """Return a state whose pairs are not listed yet: a law of pairs has no energy there."""
        check_system(potential, configuration)
        return cls(configuration, potential, no_pairs(configuration.dimension))

    @property
    def parameters(self) -> Parameters:
        """The potential, the box, what is held and the pressure: the things to differentiate in."""
        pressure = None if self.barostat is None else self.barostat.pressure
        return Parameters(self.potential, self.configuration.box, self.configuration.anchors, pressure)

    @property
    def position(self) -> Position:
        """Real coordinates, shape (n, d)."""
        return self.configuration.position

    def at(self, position: Position, parameters: Parameters) -> State:
        """Return the state with other positions and parameters (and the same pairs); what is held stays at anchors."""
        if self.configuration.held is not None and parameters.anchors is not None:
            position = jnp.where(self.configuration.held, parameters.box.real(parameters.anchors), position)
        configuration = replaced(self.configuration, {"position": position, "box": parameters.box})
        barostat = self.barostat
        if barostat is not None and parameters.pressure is not None:
            barostat = Barostat(parameters.pressure, barostat.strains)
        changes = {"configuration": configuration, "potential": parameters.potential, "barostat": barostat}
        return replaced(self, changes)

    def moved(self, position: Position, pairs: PairList) -> State:
        """Return the state at other positions, with the pairs listed there."""
        configuration = replaced(self.configuration, {"position": position})
        return replaced(self, {"configuration": configuration, "pairs": pairs})

    def with_every_pair(self, layers: int = 0) -> State:
        """Return the state with all n (n - 1)/2 pairs listed, and layers of further images: for a few particles."""
        return self.with_pairs(every_pair(self.position, self.configuration.box, layers))

    def under(self, barostat: Barostat | None) -> State:
        """Return the state with a box that may do something, or nothing."""
        return replaced(self, {"barostat": barostat})

    def with_pairs(self, pairs: PairList) -> State:
        """Return the state with another pair list."""
        return replaced(self, {"pairs": pairs})


def check_system(potential: object, configuration: object) -> None:
    """Refuse what is no potential and what is no configuration.

    Raises:
        ValueError: With what to give instead.
    """
    check_potential(potential)
    if not isinstance(configuration, Configuration):
        raise ValueError(
            f"{shown(configuration)} is no configuration: make one, Configuration(position, species, box, names)."
        )


@_compiled
def energy(state: State) -> Scalar:
    """Return the potential energy U, units of energy."""
    return state.potential.energy(state.configuration, state.pairs)


def energy_at(state: State, position: Position, parameters: Parameters) -> Scalar:
    """Return U(x, p) with species, law and pairs taken from ``state``: the function to differentiate."""
    return energy(state.at(position, parameters))


def gradient_at(state: State, position: Position, parameters: Parameters) -> Position:
    """Return dU/dx at (x, p), shape (n, d), zero where held: the optimality condition of a relaxed state."""
    return state.configuration.on_free(jax.grad(energy_at, argnums=1)(state, position, parameters))


def forces(state: State) -> Position:
    """Return the forces -dU/dx, shape (n, d), units of energy per length."""
    return energy_and_forces(state)[1]


@_compiled
def free_forces(state: State) -> Position:
    """Return the forces on what is free to move, zero where held: they vanish in a relaxed state."""
    return state.configuration.on_free(forces(state))


@_compiled
def energy_and_forces(state: State) -> tuple[Scalar, Position]:
    """Return the energy and the forces -dU/dx from one evaluation of the pairs."""
    return state.potential.energy_and_forces(state.configuration, state.pairs)


def max_force(force: Position) -> Scalar:
    """Return the largest Euclidean norm of a particle's force."""
    return jnp.sqrt(jnp.max(jnp.sum(force**2, axis=-1)))


def has_pressure(state: State) -> bool:
    """Return whether a state has a volume, and an energy that follows it; the state may be traced."""
    box = state.configuration.box
    periodic = isinstance(box, PeriodicBox) and box.is_periodic
    return periodic and state.potential.follows_box(state.configuration, state.pairs)


def pressure(state: State) -> Scalar:
    r"""Return the pressure P = -dU/dV under uniform scaling of box and positions, units of energy per volume.

    .. math:: P = -\frac{1}{d\,V}\,\frac{\partial}{\partial\lambda} U(\lambda x, \lambda B)\Big|_{\lambda = 1}

    Raises:
        ValueError: For a free system, and one that is not periodic along every axis: they have no volume.
    """
    box = state.configuration.box
    if not isinstance(box, PeriodicBox) or not box.is_periodic:
        raise ValueError(
            "a system that is free along an axis has no volume and therefore no pressure; leave 'pressure' out of the "
            "observables."
        )
    check_box_followed(state)
    return _pressure(state, box)


@_compiled
def _pressure(state: State, box: PeriodicBox) -> Scalar:

    def scaled(factor: Scalar) -> Scalar:
        return energy_at(
            state, state.position * factor, Parameters(state.potential, replaced(box, {"matrix": box.matrix * factor}))
        )

    return -jax.grad(scaled)(jnp.ones(())) / (box.dimension * box.volume)


def max_reach(potential: Potential, configuration: Configuration) -> float:
    """Return the largest interaction range of any pair, units of length; infinite where pairs are not listed."""
    return potential.list_range(configuration)


def check_box_followed(state: State) -> None:
    """Refuse to differentiate in the box an energy that does not look at it.

    Raises:
        UserError: When the energy takes no notice of the box that it is given; the message names the remedy.
    """
    for name, term in state.potential.terms():
        if not term.follows_box(state.configuration, state.pairs):
            raise UserError(
                f"the energy {name!r} does not follow the box: {term.fixed_because}, so that pressure, stress, moduli, "
                f"box parameters and relaxation at given pressure would be wrong. {term.remedy}"
            )
