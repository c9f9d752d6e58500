"""Time series of observables over the canonical ensemble: replicas, each with a random key of its own."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from mdsens.energy import PairPotential, State, energy_and_forces, max_reach
from mdsens.energy.paths import Selection
from mdsens.equilibrium.dynamics import Conditions, Measured, Plan, Walker, run_segment, start
from mdsens.equilibrium.observables import Observable
from mdsens.equilibrium.samples import Samples, ThermalSettings
from mdsens.errors import NumericalError, UserError
from mdsens.neighbors import Grid, smallest_height
from mdsens.relaxation import RelaxationSettings, relax
from mdsens.relaxation.descent import Reach, find_pairs, fitting_grid
from mdsens.results import Verdict, check
from mdsens.types import PeriodicBox, replaced

SEGMENT = 1000  # steps between two looks from the host, about
_FASTEST = 6.5  # speeds that occur, units of the thermal one along an axis: one step must not use up the skin
_MORE_ROOM = 1.15  # factor by which lists grow that were too small
_MOST_ENLARGEMENTS = 20
_BEARABLE = 1e-2  # largest force to begin with, units of epsilon/sigma: below those of any thermal state
_DESCENT = 10_000  # most steps towards it
_BALANCE = 1e-8  # net force of a law that conserves momentum, relative to the sum of all forces' sizes


def sample(
    state: State,
    observables: Mapping[str, Observable],
    selection: Selection,
    settings: ThermalSettings,
    keys: Array,
    *,
    done: Callable[[], Any] = lambda: None,
) -> Samples:
    """Sample the canonical ensemble at fixed particle number, box and temperature.

    Args:
        state: Where every replica starts, with its law and parameters; its pairs are not used.
        observables: What to average, by name: pure functions ``State -> scalar``.
        selection: The parameter entries in which to differentiate, from ``mdsens.energy.paths.select(state, ...)``. An
            entry of the box is differentiated at fixed fractional coordinates.
        settings: How to sample.
        keys: A random key per replica, shape (r,); equal keys give equal trajectories.
        done: Called after each of ``n_segments(settings)`` segments, for progress.

    Returns:
        The series without their equilibration.

    Raises:
        UserError: When the box is too small for the interaction range, there is nothing to average, or the
            Nose-Hoover chain cannot serve the system.
        NumericalError: When the trajectory does not stay finite.
    """
    if not observables:
        raise UserError("there is nothing to average: name at least one observable.")
    if state.configuration.held is not None:
        raise UserError("particles are held: thermal states are sampled with all of them free (configuration.held).")
    if settings.integrator == "nose_hoover":
        _refuse_unconserved(state)
    total = settings.n_equilibration + settings.n_samples
    segments = n_segments(settings)
    state, plan, conditions = _planned(state, observables, selection, settings, math.ceil(total / segments))
    tangents = jax.tree.map(jnp.asarray, selection.tangents)
    walkers, parts = start(plan, state, conditions, keys), []
    for _ in range(segments):
        plan, walkers, measured = _segment(plan, state, conditions, tangents, walkers)
        parts.append(jax.tree.map(np.asarray, measured))
        _refuse_nonfinite(parts[-1], settings)
        done()
    kept = slice(settings.n_equilibration, total)
    whole = jax.tree.map(lambda *pieces: np.concatenate(pieces, axis=1)[:, kept], *parts)
    return Samples(
        observables=tuple(observables),
        paths=selection.paths,
        temperature=settings.temperature,
        interval=settings.interval,
        values=whole.values,
        slopes=whole.slopes,
        energy_slopes=whole.energy_slopes,
        log_weights=whole.log_weights,
        kinetic_temperature=whole.kinetic_temperature,
    )


def n_segments(settings: ThermalSettings) -> int:
    """Return in how many compiled stretches a trajectory is made."""
    total = settings.n_equilibration + settings.n_samples
    return math.ceil(total / max(1, SEGMENT // settings.sample_every))


def replica_keys(seed: int, replicas: range) -> Array:
    """Return the keys of replicas of a run, shape (r,): each depends on the seed and its own number alone."""
    return jax.vmap(lambda number: jax.random.fold_in(jax.random.key(seed), number))(jnp.array(replicas))


def without_overlaps(state: State) -> State:
    """Return the state after a descent that takes large forces away, so that a trajectory can begin there.

    Raises:
        NumericalError: When a force became infinite on the way.
    """
    settings = RelaxationSettings(max_force=_BEARABLE, max_steps=_DESCENT, newton=False)
    relaxation = relax(state.potential, state.configuration, settings)
    if relaxation.verdict is Verdict.NONFINITE:
        check(relaxation.verdict, reason=relaxation.reason)
    return relaxation.state


def _planned(
    state: State,
    observables: Mapping[str, Observable],
    selection: Selection,
    settings: ThermalSettings,
    n_samples: int,
) -> tuple[State, Plan, Conditions]:
    """List the pairs of the start and choose how they are listed from then on: the reach, the grid, the room."""
    longest = max_reach(state.potential, state.configuration)
    grid, capacity, skin = Grid((), (), 0), 1, 1.0
    if np.isfinite(longest):
        skin = max(settings.skin * longest, 2.0 * _FASTEST * settings.timestep * math.sqrt(settings.temperature))
        reach = Reach(longest, skin, fitting_grid(state, state.position, longest, skin))
        pairs, reach = find_pairs(state, state.position, reach, 0)
        state = state.with_pairs(pairs)
        grid, capacity = reach.grid, _room(int(np.count_nonzero(pairs.mask)), 1.08, reach.grid)
    plan = Plan(
        integrator=settings.integrator,
        observables=tuple(observables.values()),
        sample_every=settings.sample_every,
        n_samples=n_samples,
        grid=grid,
        capacity=capacity,
        moves_box=any(path.startswith("box.") for path in selection.paths),
    )
    numbers = (settings.temperature, settings.timestep, settings.friction, settings.thermostat_time, longest, skin)
    return state, plan, Conditions(*(jnp.asarray(number, dtype=float) for number in numbers))


def _room(n_pairs: int, factor: float, grid: Grid) -> int:
    room = 64 * math.ceil(factor * n_pairs / 64 + 1)
    return room if grid.cells else max(1, min(room, grid.n_candidates))


def _larger(grid: Grid) -> Grid:
    return Grid(grid.cells, grid.layers, math.ceil(_MORE_ROOM * grid.n_candidates)) if grid.cells else grid


def _segment(
    plan: Plan, state: State, conditions: Conditions, tangents: Any, walkers: Walker
) -> tuple[Plan, Walker, Measured]:
    """Run a segment, and again from its start with more room for as long as pairs do not fit."""
    for _ in range(_MOST_ENLARGEMENTS):
        after, measured, lacking, outrun = run_segment(plan, state, conditions, tangents, walkers)
        if np.any(np.asarray(outrun)):
            raise NumericalError(
                "a particle went farther in one step than thermal speeds allow: make thermal.timestep smaller than "
                f"{float(conditions.timestep):g}, or start without overlaps (thermal.relax_first)."
            )
        if not np.any(np.asarray(lacking)):
            return plan, after, measured
        plan = replaced(plan, {"grid": _larger(plan.grid), "capacity": _room(plan.capacity, _MORE_ROOM, plan.grid)})
    raise NumericalError("the pair list overflowed more often than allowed: the particles are collapsing.")


def _refuse_nonfinite(measured: Measured, settings: ThermalSettings) -> None:
    if not all(np.isfinite(array).all() for array in jax.tree.leaves(measured)):
        raise NumericalError(
            f"the trajectory did not stay finite with thermal.timestep = {settings.timestep:g}: make it smaller, or "
            "start from positions without overlaps (thermal.relax_first)."
        )


def _refuse_unconserved(state: State) -> None:
    """Refuse what a Nose-Hoover chain samples wrongly.

    Raises:
        UserError: For a free system, whose angular momentum would be conserved, and for an outer field, which changes
            the total momentum that the chain's count of degrees of freedom takes to be zero.
    """
    box = state.configuration.box
    if not isinstance(box, PeriodicBox) or box.dimension - sum(box.periodic) > 1:  # what can turn, keeps turning
        raise UserError(
            'thermal.integrator is "nose_hoover", which in free space and about a wire keeps the angular momentum and '
            'samples too few states: choose "langevin".'
        )
    if isinstance(state.potential, PairPotential):
        return
    # away from symmetric places, where an outer field may push as much to the left as to the right
    moves = 0.01 * smallest_height(box) * np.random.default_rng(0).standard_normal(state.position.shape)
    moved = jnp.asarray(np.asarray(state.position) + moves)
    longest = max_reach(state.potential, state.configuration)
    pairs, _ = find_pairs(state, moved, Reach(longest, 0.0, fitting_grid(state, moved, longest, 0.0)), 0)
    force = np.asarray(energy_and_forces(state.moved(moved, pairs))[1])
    if np.linalg.norm(force.sum(axis=0)) > _BALANCE * np.abs(force).sum():
        raise UserError(
            'thermal.integrator is "nose_hoover", but an outer field acts on the particles: choose "langevin".'
        )
