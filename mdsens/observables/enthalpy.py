"""Volume, density and enthalpy."""

from __future__ import annotations

import equinox as eqx
import jax.numpy as jnp

from mdsens.energy import State, energy
from mdsens.energy.strain import periodic_box
from mdsens.types import Scalar


def volume(state: State) -> Scalar:
    """Return the volume of the box (area in 2D), units of length to the power d.

    Raises:
        UserError: For a free system.
    """
    return periodic_box(state).volume


def number_density(state: State) -> Scalar:
    """Return the number of particles per volume.

    Raises:
        UserError: For a free system.
    """
    return state.configuration.n_particles / volume(state)


class Enthalpy(eqx.Module):
    """The enthalpy U + P V at a pressure.

    Attributes:
        pressure: P, units of energy per volume: a parameter, and not the pressure of the state. Where the state's box
            relaxes at a pressure, that one is taken, and differentiated in.
    """

    pressure: Scalar

    def __init__(self, pressure: float | Scalar) -> None:
        self.pressure = jnp.asarray(pressure, dtype=float)

    def __call__(self, state: State) -> Scalar:
        """Return U + P V, units of energy.

        Raises:
            UserError: For a free system.
        """
        asked = self.pressure if state.barostat is None else state.barostat.pressure
        return energy(state) + asked * volume(state)
