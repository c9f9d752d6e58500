"""The last digits: Newton steps with the factored Hessian, taken only where it is safe."""

from __future__ import annotations

import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import cho_solve
from jaxtyping import Array, Bool, Float

from mdsens.contacts import Network, contact_network
from mdsens.energy import PairPotential, State, energy, free_forces, max_force
from mdsens.errors import NumericalError
from mdsens.hessian import SMALL, LinearSolver, dense_hessian, factorise
from mdsens.hessian.any_energy import unknowns_of
from mdsens.linear import SHIFT, Factor
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

    Small systems take their steps in one compiled loop (a dense factor); what it refuses, because rattlers make the
    Hessian indefinite, and larger systems are stepped from the host with a factor that knows its inertia. In a large
    system some mode is always soft and one of many thousand contacts always opens or closes on the last stretch, which
    is no other basin: there longer steps are shortened, not refused, the network may change, and the guard is that the
    energy falls and no particle leaves the neighbourhood of its start, ``max_steps`` times ``longest_step``.

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
    point, energies, largest = _run(state, tolerance, longest_step, max_steps if small else 0)
    trail = [pair for pair in zip(energies.tolist(), largest.tolist(), strict=True) if np.isfinite(pair[0])]
    if trail and (before.n_rattlers or not small):
        tries = _HALVES if searching else (1.0,) if small else (1.0, 0.3)
        limits = _Limits(tolerance, longest_step, max_steps, before.n_rattlers, tries, solver)
        point, trail = _walk(state, point, trail, limits)
    final = state.moved(point.position, state.pairs)
    after = contact_network(final)
    energy_trail, force_trail = np.array(trail).reshape(-1, 2).T
    settled = len(trail) > 1 and (not small or after.same_as(before))
    return Polish(final, energy_trail, force_trail, after, settled)


class _Limits(NamedTuple):
    """When the steps from the host end."""

    tolerance: float
    longest_step: float
    max_steps: int
    n_rattlers: int
    tries: tuple[float, ...]  # parts of a step, of which the first is taken that may be; of several, long ones are cut
    solver: LinearSolver


def _walk(
    state: State, point: _Point, trail: list[tuple[float, float]], limits: _Limits
) -> tuple[_Point, list[tuple[float, float]]]:
    """Take steps with a factor that knows its inertia; return the last point and the energies and forces of all."""
    begin, factor, unknowns = np.asarray(state.position), None, unknowns_of(state)
    while trail[-1][1] > limits.tolerance and len(trail) <= limits.max_steps:
        factor = _factor(state.moved(point.position, state.pairs), limits, factor)
        if factor is None:
            break
        step, longest = _step(factor, point.force, unknowns), limits.longest_step
        if len(limits.tries) > 1:
            longest *= _LONGER
            step *= min(1.0, longest / max(_longest(step), 1e-300))
            away = _longest(np.asarray(point.position) + step - begin)
            if away > limits.max_steps * limits.longest_step:
                break
        for part in limits.tries:  # contacts that close on the way stiffen it
            new, taken = _after(state, point, part * step, longest * (1 + 1e-12))
            if taken:
                break
        if not taken:
            break
        point = new
        trail = [*trail, (float(point.energy), float(point.max_force))]
    return point, trail


def _longest(moves: np.ndarray) -> float:
    return float(np.sqrt(np.max(np.sum(moves**2, axis=1))))


class _Point(NamedTuple):
    """Where a Newton iteration stands."""

    position: Position
    force: Position
    energy: Scalar
    max_force: Scalar


@jax.jit
def _evaluated(state: State, position: Position) -> _Point:
    here = state.moved(position, state.pairs)
    force = free_forces(here)
    return _Point(position, force, energy(here), max_force(force))


@jax.jit
def _after(
    state: State, point: _Point, step: Position | np.ndarray, longest_step: Scalar | float
) -> tuple[_Point, Bool[Array, ""]]:
    """Return the point after a step and whether the step may be taken; else the point as it was."""
    gain = jnp.vdot(point.force, step)
    short = (gain > 0) & (jnp.max(jnp.sum(step**2, axis=1)) <= longest_step**2)  # NaN is not short
    new = _evaluated(state, point.position + step)
    visible = gain > _ROUNDING * jnp.abs(point.energy)
    falls = jnp.where(visible, new.energy < point.energy, new.max_force < point.max_force)
    taken = short & falls
    return jax.tree.map(lambda a, b: jnp.where(taken, a, b), new, point), taken


@functools.partial(jax.jit, static_argnames="max_steps")
def _run(
    state: State, tolerance: Scalar | float, longest_step: Scalar | float, max_steps: int
) -> tuple[_Point, Float[Array, " k"], Float[Array, " k"]]:
    """Take steps with a dense factor; return the last point and the energies and forces of all, NaN beyond the last."""
    blank = jnp.full(max_steps + 1, jnp.nan)
    first = _evaluated(state, state.position)
    if not max_steps:
        return first, first.energy[None], first.max_force[None]

    def unfinished(carry: tuple[_Point, Array, Array, Array, Array]) -> Array:
        point, _, _, k, taken = carry
        return taken & (point.max_force > tolerance) & (k < max_steps)

    def step(carry: tuple[_Point, Array, Array, Array, Array]) -> tuple[_Point, Array, Array, Array, Array]:
        point, energies, largest, k, _ = carry
        matrix = dense_hessian(state.moved(point.position, state.pairs))
        shift = SHIFT * jnp.max(jnp.sum(jnp.abs(matrix), axis=0))
        if state.configuration.held is not None:  # forces vanish where the identity stands
            free = ~jnp.asarray(state.configuration.held).ravel()
            matrix = jnp.where(free[:, None] & free[None, :], matrix, jnp.eye(len(free)) * jnp.max(jnp.abs(matrix)))
        lower = jax.lax.linalg.cholesky(matrix + shift * jnp.eye(len(matrix)), symmetrize_input=False)
        direction = cho_solve((lower, True), point.force.ravel()).reshape(point.force.shape)
        new, taken = _after(state, point, direction, longest_step)
        k = k + taken
        return new, energies.at[k].set(new.energy), largest.at[k].set(new.max_force), k, taken

    begin = (
        first,
        blank.at[0].set(first.energy),
        blank.at[0].set(first.max_force),
        jnp.zeros((), int),
        jnp.array(True),
    )
    point, energies, largest, _, _ = jax.lax.while_loop(unfinished, step, begin)
    return point, energies, largest


def _factor(state: State, limits: _Limits, like: Factor | None) -> Factor | None:
    """Factor the Hessian; None where it has more negative eigenvalues than rattlers could give it."""
    try:
        factor = factorise(state, like=like, definite=not limits.n_rattlers, solver=limits.solver)
    except NumericalError:
        return None
    return factor if factor.n_negative <= state.configuration.dimension * limits.n_rattlers else None


def _step(factor: Factor, force: Position, unknowns: np.ndarray) -> np.ndarray:
    step, places = np.zeros(force.size), unknowns[factor.order]
    step[places] = factor.solve(np.asarray(force).reshape(-1, 1)[places])[:, 0]
    return step.reshape(force.shape)
