"""The last digits: Newton steps with a direct factor, taken only where it is safe."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from mdsens.backbone import Network, contact_network
from mdsens.energy import State, energy, forces, max_force
from mdsens.errors import NumericalError
from mdsens.factor import factorise
from mdsens.types import Position

_Moved = tuple[Array, Array, Array, Array]  # positions, energy, forces, largest force
_ROUNDING = 1e-13  # relative rounding error of an energy, below which it cannot judge a step


@dataclasses.dataclass(frozen=True)
class Polish:
    """What the Newton polish returns.

    Attributes:
        state: The polished state.
        energy: Energy before the first and after every accepted step, shape (k + 1,).
        max_force: Largest force at the same states, shape (k + 1,).
        network: Backbone network of the state.
        settled: Whether at least one step was taken and the network is that of the start.
    """

    state: State
    energy: np.ndarray
    max_force: np.ndarray
    network: Network
    settled: bool


def polish(state: State, *, tolerance: float, longest_step: float, max_steps: int = 12) -> Polish:
    r"""Take Newton steps :math:`\delta = (H + \mu)^{-1} F` until the largest force is below the tolerance.

    A step is taken only when the state is plainly inside a basin: the Hessian has no negative eigenvalue (beyond those
    of loose rattlers), no particle moves by more than ``longest_step``, and the energy falls (or, once the predicted
    gain drowns in rounding, the largest force). Otherwise the polish stops. The caller looks at ``max_force`` and
    ``settled``.

    Args:
        state: Where to start; ``pairs`` must stay valid for moves of several ``longest_step``.
        tolerance: Largest force to reach, units of energy per length.
        longest_step: Cap on a particle's move per step, units of length.
        max_steps: Most steps to take.
    """
    point: _Point | None = _Point.at(state)
    before = contact_network(state)
    points: list[_Point] = []
    while point is not None:
        points.append(point)
        if not point.max_force > tolerance or len(points) > max_steps:
            break
        point = _step(point, before.n_rattlers, longest_step)
    final = points[-1].state
    after = contact_network(final)
    energies, largest = (np.array([getattr(p, name) for p in points]) for name in ("energy", "max_force"))
    return Polish(final, energies, largest, after, settled=len(points) > 1 and after.same_as(before))


@dataclasses.dataclass(frozen=True)
class _Point:
    state: State
    force: np.ndarray
    energy: float
    max_force: float

    @classmethod
    def at(cls, state: State) -> _Point:
        value, force, largest = _evaluate(state)
        return cls(state, np.asarray(force), float(value), float(largest))


@jax.jit
def _evaluate(state: State) -> tuple[jax.Array, jax.Array, jax.Array]:
    force = forces(state)
    return energy(state), force, max_force(force)


def _step(point: _Point, n_rattlers: int, longest_step: float) -> _Point | None:
    try:
        factor = factorise(point.state)
    except NumericalError:
        return None
    if factor.n_negative > point.force.shape[1] * n_rattlers:
        return None
    step = factor.solve(point.force.reshape(-1, 1)).reshape(point.force.shape)
    return _accepted(point, step, longest_step)


def _accepted(point: _Point, step: np.ndarray, longest_step: float) -> _Point | None:
    gain = float(np.vdot(point.force, step))
    if not (gain > 0 and np.linalg.norm(step, axis=1).max() <= longest_step):
        return None  # NaN ends here, too
    moved, value, force, largest = (np.asarray(part) for part in _trial(point.state, step))
    falls = value < point.energy if gain > _ROUNDING * abs(point.energy) else largest < point.max_force
    if not falls:
        return None
    return _Point(point.state.moved(jnp.asarray(moved), point.state.pairs), force, float(value), float(largest))


@jax.jit
def _trial(state: State, step: np.ndarray | Position) -> _Moved:
    moved = state.position + step
    return moved, *_evaluate(state.moved(moved, state.pairs))
