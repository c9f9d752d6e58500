r"""What the last digit of the input does to a result: every error estimate has this floor.

No sum is better than its terms, whatever cancels in it. How much that is follows from the derivatives of its terms
along a change of positions by one rounding unit, at random, and of the terms of a sum along a rounding of the box
against the parameters: only their ratios matter to a crystal.
"""

from __future__ import annotations

import functools
from typing import TypeVar

import jax
import numpy as np

UNIT = float(np.finfo(float).eps)
_Either = TypeVar("_Either", np.ndarray, jax.Array)


def position_rounding(position: _Either) -> _Either:
    """Return a displacement of one rounding unit of every coordinate, signs at random, shape (n, d)."""
    return abs(position) * _unit_with_signs(position.shape)


@functools.lru_cache(maxsize=8)
def _unit_with_signs(shape: tuple[int, ...]) -> np.ndarray:
    return UNIT * np.random.default_rng(0).choice([-1.0, 1.0], size=shape)
