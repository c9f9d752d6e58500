"""The last digits: a damped Newton method with a sparse direct factor that never raises the energy."""

from __future__ import annotations

import dataclasses

import equinox as eqx
import jax
import numpy as np
import scipy.sparse as sp

from mdsens.backbone import Network, contact_network
from mdsens.energy import State, energy, forces, max_force
from mdsens.errors import NumericalError
from mdsens.hessian import SHIFT, factorise, hessian

_LARGEST_SHIFT = 1e-2
_ROUNDING = 1e-13  # relative rounding error of an energy, below which it cannot judge a step


@dataclasses.dataclass(frozen=True)
class Polish:
    """What the Newton polish returns.

    Attributes:
        state: The polished state.
        energy: Energy before the first and after every accepted step, shape (k + 1,).
        max_force: Largest force at the same states, shape (k + 1,).
    """

    state: State
    energy: np.ndarray
    max_force: np.ndarray


@jax.jit
def _evaluate(state: State) -> tuple[jax.Array, jax.Array, jax.Array]:
    force = forces(state)
    return energy(state), force, max_force(force)


def _evaluated(state: State) -> tuple[float, np.ndarray, float]:
    value, force, largest = _evaluate(state)
    return float(value), np.asarray(force), float(largest)


def polish(state: State, *, tolerance: float, longest_step: float, max_steps: int = 12) -> Polish:
    r"""Take Newton steps :math:`\delta = (H + \mu)^{-1} F` until the largest force is below the tolerance.

    A step is taken only when the state is plainly inside a basin: the Hessian has no negative eigenvalue (beyond those of
    loose rattlers), the backbone network survives the step, no particle moves by more than ``longest_step``, and the energy
    falls (or, once the predicted gain drowns in rounding, the largest force). Otherwise the shift :math:`\mu` grows a
    hundredfold and the step is tried again; when no step is acceptable the polish stops: the caller looks at ``max_force``.

    Args:
        state: Where to start; ``pairs`` must stay valid for moves of several ``longest_step``.
        tolerance: Largest force to reach, units of energy per length.
        longest_step: Cap on a particle's move per step, units of length.
        max_steps: Most steps to take.
    """
    value, force, largest = (np.asarray(part) for part in _evaluate(state))
    point = _Point(state, force, float(value), float(largest))
    history = [(point.energy, point.max_force)]
    network = contact_network(state)
    shift = SHIFT
    while point.max_force > tolerance and len(history) <= max_steps:
        matrix = hessian(point.state)
        accepted = None
        while accepted is None and shift <= _LARGEST_SHIFT:
            accepted = _try_step(point, matrix, network, shift, longest_step)
            shift = shift * 100 if accepted is None else max(SHIFT, shift / 100)
        if accepted is None:
            break
        point = accepted
        history.append((point.energy, point.max_force))
    energies, largest_forces = np.array(history).T
    return Polish(point.state, energies, largest_forces)


@dataclasses.dataclass(frozen=True)
class _Point:
    state: State
    force: np.ndarray
    energy: float
    max_force: float


def _try_step(
    point: _Point, matrix: sp.csc_array, network: Network, shift: float, longest_step: float
) -> _Point | None:
    try:
        factor = factorise(matrix, relative_shift=shift)
    except NumericalError:
        return None
    if factor.n_negative > point.force.shape[1] * network.n_rattlers:
        return None
    step = factor.solve(point.force.ravel()).reshape(point.force.shape)
    gain = float(np.vdot(point.force, step))
    if not (gain > 0 and np.linalg.norm(step, axis=1).max() <= longest_step):
        return None
    moved = eqx.tree_at(lambda s: s.configuration.position, point.state, point.state.position + step)
    value, force, largest = (np.asarray(part) for part in _evaluate(moved))
    falls = value < point.energy if gain > _ROUNDING * abs(point.energy) else largest < point.max_force
    if not (falls and contact_network(moved).same_as(network)):
        return None
    return _Point(moved, force, float(value), float(largest))
