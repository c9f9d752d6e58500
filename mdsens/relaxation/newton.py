"""The last digits: Newton steps with the factored Hessian, taken only where it is safe."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mdsens.contacts import Network, contact_network
from mdsens.energy import PairPotential, State, energy, free_forces
from mdsens.energy.native_law import native_surface
from mdsens.errors import NumericalError
from mdsens.hessian import SMALL, LinearSolver, factorise
from mdsens.hessian.any_energy import unknowns_of
from mdsens.linear import Factor
from mdsens.types import Position, Scalar

_LONGER = 6.0  # of the longest step: where steps are shortened, half of all the way that a particle may go
_HALVES = tuple(0.5**k for k in range(25))
_ROUNDING = 1e-13  # relative rounding error of an energy, below which it cannot judge a step


@dataclasses.dataclass(frozen=True)
class Polish:
    """What the Newton polish returns.

    Attributes:
        state: The polished state.
        energy: Energy before the first and after every accepted step, shape (k + 1,).
        max_force: Largest force at the same states, shape (k + 1,).
        network: Backbone network of the state.
        settled: Whether at least one step was taken and, in a small system, the network is that of the start.
    """

    state: State
    energy: np.ndarray
    max_force: np.ndarray
    network: Network
    settled: bool


def polish(
    state: State,
    *,
    tolerance: float,
    longest_step: float,
    max_steps: int = 12,
    solver: LinearSolver = "auto",
    searching: bool = False,
) -> Polish:
    r"""Take Newton steps :math:`\delta = (H + \mu)^{-1} F` until the largest force is below the tolerance.

    A step is taken only when the state is plainly inside a basin: the Hessian has no negative eigenvalue (beyond those
    of loose rattlers), no particle moves by more than ``longest_step``, and the energy falls (or, once the predicted
    gain drowns in rounding, the largest force). Otherwise the polish stops. The caller looks at ``max_force`` and
    ``settled``.

    In a large system some mode is always soft and one of many thousand contacts always opens or closes on the last
    stretch, which is no other basin: there longer steps are shortened, not refused, the network may change, and the
    guard is that the energy falls and no particle leaves the neighbourhood of its start, ``max_steps`` times
    ``longest_step``.

    Where contacts a million times stiffer than others open and close at overlaps of 1e-12, no minimiser gets on and a
    whole step closes one of them. ``searching`` halves steps until the energy falls: a contact that closes is one of
    the next Hessian's, and the step after it slides along.

    Args:
        state: Where to start; ``pairs`` must stay valid for moves of ``max_steps`` times ``longest_step``.
        tolerance: Largest force to reach, units of energy per length.
        longest_step: Cap on a particle's move per step, units of length.
        max_steps: Most steps to take.
        solver: What solves for a step where the host takes it, as for ``factorise``.
        searching: Whether steps are halved until the energy falls, and the network may change in small systems, too.
    """
    before = contact_network(state)
    small = isinstance(state.potential, PairPotential) and state.position.size <= SMALL and not searching
    tries = _HALVES if searching else (1.0,) if small else (1.0, 0.3)
    limits = _Limits(tolerance, longest_step, max_steps, before.n_rattlers, tries, solver)
    point, trail = _walk(state, limits)
    final = state.moved(jnp.asarray(point.position), state.pairs)
    after = contact_network(final)
    energies, largest = np.array(trail).reshape(-1, 2).T
    return Polish(final, energies, largest, after, len(trail) > 1 and (not small or after.same_as(before)))


class _Limits(NamedTuple):
    """When the steps from the host end."""

    tolerance: float
    longest_step: float
    max_steps: int
    n_rattlers: int
    tries: tuple[float, ...]  # parts of a step, of which the first is taken that may be; of several, long ones are cut
    solver: LinearSolver


def _walk(state: State, limits: _Limits) -> tuple[_Point, list[tuple[float, float]]]:
    """Take steps with a factor that knows its inertia; return the last point and the energies and forces of all."""
    surface = _surface(state)
    point = _Point.at(surface, np.array(state.position))
    if not np.isfinite(point.energy):
        return point, []
    begin, factor, unknowns, trail = point.position, None, unknowns_of(state), [(point.energy, point.max_force)]
    while point.max_force > limits.tolerance and len(trail) <= limits.max_steps:
        factor = _factor(state.moved(jnp.asarray(point.position), state.pairs), limits, factor)
        if factor is None:
            break
        step, longest = _step(factor, point.force, unknowns), limits.longest_step
        if len(limits.tries) > 1:
            longest *= _LONGER
            step *= min(1.0, longest / max(_longest(step), 1e-300))
            if _longest(point.position + step - begin) > limits.max_steps * limits.longest_step:
                break
        # contacts that close on the way stiffen it
        parts = (_after(surface, point, part * step, longest * (1 + 1e-12)) for part in limits.tries)
        new = next((found for found in parts if found is not None), None)
        if new is None:
            break
        point = new
        trail.append((point.energy, point.max_force))
    return point, trail


def _longest(moves: np.ndarray) -> float:
    return float(np.sqrt(np.max(np.sum(moves**2, axis=1))))


class _Point(NamedTuple):
    """Where a Newton iteration stands."""

    position: np.ndarray
    force: np.ndarray
    energy: float
    max_force: float

    @classmethod
    def at(cls, surface: _Surface, position: np.ndarray) -> _Point:
        energy, force = surface(position)
        return cls(position, force, energy, _longest(force))


_Surface = Callable[[np.ndarray], tuple[float, np.ndarray]]


def _surface(state: State) -> _Surface:
    """Return the energy and the forces as a function of the position, for the pairs of a state."""
    native = native_surface(state)
    if native is not None:
        return native

    def compiled(position: np.ndarray) -> tuple[float, np.ndarray]:
        height, force = _energy_and_forces(state, jnp.asarray(position))
        return float(height), np.asarray(force)

    return compiled


@jax.jit
def _energy_and_forces(state: State, position: Position) -> tuple[Scalar, Position]:
    here = state.moved(position, state.pairs)
    return energy(here), free_forces(here)


def _after(surface: _Surface, point: _Point, step: np.ndarray, longest_step: float) -> _Point | None:
    """Return the point after a step; None where it may not be taken."""
    gain = float(np.vdot(point.force, step))
    if not (gain > 0 and _longest(step) <= longest_step):  # NaN is not short
        return None
    new = _Point.at(surface, point.position + step)
    visible = gain > _ROUNDING * abs(point.energy)
    falls = new.energy < point.energy if visible else new.max_force < point.max_force
    return new if falls else None


def _factor(state: State, limits: _Limits, like: Factor | None) -> Factor | None:
    """Factor the Hessian; None where it has more negative eigenvalues than rattlers could give it."""
    try:
        factor = factorise(state, like=like, definite=not limits.n_rattlers, solver=limits.solver)
    except NumericalError:
        return None
    return factor if factor.n_negative <= state.configuration.dimension * limits.n_rattlers else None


def _step(factor: Factor, force: np.ndarray, unknowns: np.ndarray) -> np.ndarray:
    step, places = np.zeros(force.size), unknowns[factor.order]
    step[places] = factor.solve(force.reshape(-1, 1)[places])[:, 0]
    return step.reshape(force.shape)
