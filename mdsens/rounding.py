r"""What the last digit of the input does to a result: every error estimate has this floor.

No sum is better than its terms, whatever cancels in it. How much that is follows from the derivatives of its terms
along a change of positions by one rounding unit, at random, and of the terms of a sum along a rounding of the box
against the parameters: only their ratios matter to a crystal.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import equinox as eqx
import jax
import numpy as np

from mdsens.energy.parameters import Parameters

UNIT = float(np.finfo(float).eps)
_Either = TypeVar("_Either", np.ndarray, jax.Array)
_OFTEN = 0.35  # of that: what rounding to the nearest number, half a unit at most, stays below in most cases


def position_rounding(position: _Either) -> _Either:
    """Return a displacement of one rounding unit of every coordinate, signs at random, shape (n, d)."""
    return abs(position) * _unit_with_signs(position.shape)


@functools.lru_cache(maxsize=8)
def _unit_with_signs(shape: tuple[int, ...]) -> np.ndarray:
    return UNIT * np.random.default_rng(0).choice([-1.0, 1.0], size=shape)


def rounded_parameters(parameters: Parameters, times: float) -> Parameters:
    """Return parameters smaller and a box larger by so many times the rounding of a number, the pressure as it is."""

    def times_factor(factor: float) -> Callable[[Any], Any]:
        return lambda leaf: leaf * factor if eqx.is_inexact_array(leaf) else leaf

    smaller = jax.tree.map(times_factor(1.0 - _OFTEN * times * UNIT), parameters.potential)
    larger = times_factor(1.0 + _OFTEN * times * UNIT)
    box, anchors = (jax.tree.map(larger, part) for part in (parameters.box, parameters.anchors))
    return Parameters(smaller, box, anchors, parameters.pressure)
