"""Slopes of observables at a state and near it: what the remaining step and rounding do to them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from mdsens.energy import State
from mdsens.energy.parameters import Parameters
from mdsens.errors import NumericalError
from mdsens.hessian.derivatives import NEARBY, nearby
from mdsens.response import LinearResponse
from mdsens.rounding import UNIT
from mdsens.sensitivity.derivatives import Observable, for_each, observable_slopes
from mdsens.sensitivity.positions import Step
from mdsens.types import Position

_OFTEN = 0.3  # of a unit: what rounding to the nearest number, half a unit at most, stays below in most cases


class Slopes(NamedTuple):
    """Slopes of observables somewhere.

    Attributes:
        state: Where positions, parameters and box are taken from.
        components: Components of the free strains besides.
        found: Value and derivatives in positions, strains and parameters of every observable.
        fraction: How much of the remaining step, or how many rounding units, lie between the state and here.
    """

    state: State
    components: Array
    found: tuple[Any, ...]
    fraction: float

    def stacked(self, k: int) -> np.ndarray:
        """Return one of the derivatives of all observables."""
        return np.stack([np.asarray(part[k]) for part in self.found])


def three_slopes(
    response: LinearResponse, functions: tuple[Observable, ...], step: Step
) -> tuple[Slopes, Slopes, Slopes]:
    """Return the slopes of observables at the state, a little along the remaining step, and many rounding units off."""
    state, still = response.state, jnp.zeros(len(step[1]))
    (there, fraction), (blurred, times) = nearby(state, step[0]), rounded(state)
    ends = (state, still, 1.0), (there, fraction * step[1], fraction), (blurred, still, times)
    here, moved, vague = (
        Slopes(end, components, for_each(observable_slopes, functions, end, components), part)
        for end, components, part in ends
    )
    return here, moved, vague


def rounded(state: State) -> tuple[State, float]:
    """Return the state with parameters and box moved by many of their rounding units, and how many.

    Differences between both, over their number, tell what rounding does to the terms of a sum. Positions are not moved:
    being off the minimum changes terms that belong together, and what it does to their sum is the drift.
    """
    times = NEARBY / UNIT
    return state.at(state.position, _rounded_parameters(state.parameters, times)), times


def _rounded_parameters(parameters: Parameters, times: float) -> Parameters:
    """Return parameters smaller and a box larger by so many times the rounding of a number, the pressure as it is."""

    def times_factor(factor: float) -> Callable[[Any], Any]:
        return lambda leaf: leaf * factor if eqx.is_inexact_array(leaf) else leaf

    smaller = jax.tree.map(times_factor(1.0 - _OFTEN * times * UNIT), parameters.potential)
    larger = times_factor(1.0 + _OFTEN * times * UNIT)
    box, anchors = (jax.tree.map(larger, part) for part in (parameters.box, parameters.anchors))
    return Parameters(smaller, box, anchors, parameters.pressure)


def rounding(terms: Sequence[np.ndarray], blurred: Sequence[np.ndarray], times: float) -> np.ndarray:
    """Return what rounding does to a sum: every term's change by one rounding unit of the input, and one of its own.

    Terms are rounded independently of each other, so that their squares add.

    Args:
        terms: The terms, arrays of one shape.
        blurred: The same terms where the input is off by so many rounding units.
        times: How many.
    """
    parts = [np.abs(b - a) / times + UNIT * np.abs(a) for a, b in zip(terms, blurred, strict=True)]
    return np.sqrt(np.sum(np.square(parts), axis=0))


def finite_slope(name: str, by_position: Position) -> np.ndarray:
    """Return the derivative of an observable in the positions.

    Raises:
        NumericalError: When it is not finite; the message says at which particle.
    """
    slope = np.asarray(by_position)
    kinked = np.flatnonzero(~np.isfinite(slope).all(axis=1))
    if kinked.size:
        raise NumericalError(
            f"the derivative of {name} is not finite in the position of particle {kinked[0]} (nor in those of "
            f"{kinked.size - 1} others): the observable has a kink or a pole at this state."
        )
    return slope
