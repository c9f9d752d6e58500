"""From a configuration to a minimum of the energy, with a verdict and the history of the way."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mdsens.contacts import Network, contact_network, with_contacts
from mdsens.energy import (
    PairPotential,
    Potential,
    State,
    check_system,
    energy,
    free_forces,
    has_pressure,
    max_reach,
    pressure,
)
from mdsens.energy.entries import reordered
from mdsens.energy.native_law import native_terms
from mdsens.errors import UserError
from mdsens.given import shown
from mdsens.hessian import factorise
from mdsens.hessian.any_energy import unknowns_of
from mdsens.linear import Factor
from mdsens.neighbors import SMALL, spatial_order
from mdsens.relaxation.approach import is_far_from_rest, milder
from mdsens.relaxation.descent import Reach, find_pairs, fitting_grid
from mdsens.relaxation.masses import force_rounding
from mdsens.relaxation.newton import Polish, polish
from mdsens.relaxation.reasons import reason
from mdsens.relaxation.relaxed import History, Relaxation
from mdsens.relaxation.saddles import off_the_saddle
from mdsens.relaxation.scales import Scales
from mdsens.relaxation.settings import RelaxationSettings
from mdsens.relaxation.starts import refuse_coincident, refuse_endless, refuse_nonfinite
from mdsens.relaxation.way import Descent, Recorder
from mdsens.results import Verdict
from mdsens.types import Configuration, PeriodicBox, Scalar, replaced

_FAR = 100.0  # boxes from the origin: two digits are lost there
_NEARLY = 1e-9  # epsilon/sigma, of a state where another relaxation begins
_UNJAMMED_PRESSURE = 1e-8  # epsilon/sigma^d
_FIRST_POLISH = 1e-4  # epsilon/sigma: the contact network has mostly settled there
_SADDLES = 5  # from which it goes on
_MOVE = 0.4  # of the skin
_SEARCH = 100  # Newton steps where the minimiser stalls
_LARGE_POLISH = 1e-5  # the same for large systems, whose networks settle later and whose steps cost less than a factor


def relax(
    potential: Potential,
    configuration: Configuration,
    settings: RelaxationSettings | None = None,
    *,
    progress: Callable[[int, float], Any] | None = None,
    approach: bool = True,
    refuse: bool = True,
) -> Relaxation:
    """Relax a configuration to a minimum of the energy at fixed box.

    The minimiser runs in compiled segments; whenever a particle has moved half a skin the pairs are listed anew, and
    particles that are neighbours in space are neighbours in memory. Below a largest force of 1e-4 epsilon/sigma (1e-5
    for more than 300 particles) Newton steps try to finish from there. Unless the backbone stays
    as it is, the Hessian is positive and they converge, the attempt is forgotten and the minimiser goes on, as if
    nothing had happened, to a third of the force (a tenth for small systems, in which a step is cheaper than an
    attempt). Where it comes to rest at a saddle it goes on from a place of lower energy along the mode of negative
    curvature; a start that rests at one stays there. Where a particle starts a hundred boxes away or farther, all are
    replaced by their images inside the box: out there the digits of a coordinate do not suffice for a small force.

    Args:
        potential: The law.
        configuration: Where to start; no two particles at the same place.
        settings: How to relax; the defaults reach a max force of 1e-12 epsilon/sigma.
        progress: Called with (steps so far, largest force) after every segment.
        approach: Whether contacts whose energies are more than a thousand times apart begin where milder ones rest
            (``mdsens.relaxation.approach``), unless they start near rest; that part of the way is not in the history.
        refuse: Whether a start at which the energy is not finite is refused; else it has the verdict ``NONFINITE``.

    Returns:
        The relaxed state with its verdict; look at it (or call ``mdsens.results.check``) before using the numbers.

    Raises:
        UserError: When particles coincide, the energy is not finite, would be wrong in so small a cell, or reaches
            images without end.
    """
    begun = time.perf_counter()
    settings = _checked(potential, configuration, settings)
    configuration = _near_the_box(configuration)
    longest = _checked_reach(potential, configuration, settings)
    order = _memory_order(potential, configuration, longest)
    back = np.argsort(order)
    recorder = Recorder(progress, back)
    given = State.unlisted(configuration, potential)
    state = _taken_in_order(given, order)
    skin = settings.skin * longest
    reach = Reach(longest, skin, fitting_grid(state, state.position, longest, skin))
    pairs, reach = find_pairs(state, state.position, reach, 0)
    state = state.with_pairs(pairs)
    refuse_coincident(state, longest, order)
    mild = milder(potential) if approach else None
    if mild is not None and bool(is_far_from_rest(state)):
        near = relax(mild, configuration, dataclasses.replace(settings, max_force=_NEARLY), refuse=refuse)
        nearer = replaced(configuration, {"position": near.state.position})
        return relax(potential, nearer, settings, progress=progress, approach=False, refuse=refuse)
    recorder.keep(state.position)
    measure = Scales.found(state)
    target = settings.max_force * measure.force
    first = _FIRST_POLISH if configuration.n_particles <= SMALL else _LARGE_POLISH
    threshold = max(target, first * measure.energy / measure.length) if settings.newton else target
    descent = Descent(state, reach, measure, settings, recorder)
    if refuse and not descent.is_finite:
        refuse_nonfinite(given.with_pairs(find_pairs(given, given.position, descent.reach, 0)[0]))
    goal = _Goal(threshold, target, back, begun)
    found = _descended(given, descent, goal)
    for _ in range(_SADDLES):
        stuck = found.verdict is Verdict.SADDLE and recorder.n_descent > 0
        longest_move = _MOVE * min(settings.skin * measure.length, descent.reach.skin)
        position = off_the_saddle(found, longest_move) if stuck else None
        if position is None:
            break
        start = _taken_in_order(given.moved(position, given.pairs), order)
        pairs, reach = find_pairs(start, start.position, descent.reach, descent.capacity)
        descent = Descent(start.with_pairs(pairs), reach, descent.scales, settings, recorder)
        found = _descended(given, descent, goal)
    return found


class _Goal(NamedTuple):
    """How far down: the force where Newton steps are first tried, that asked for; the particles' order, the start."""

    first: float
    target: float
    back: np.ndarray
    begun: float


def _descended(given: State, descent: Descent, goal: _Goal) -> Relaxation:
    """Let a minimiser run down from where it stands, Newton steps finish, and judge where they arrive."""
    settings, recorder, target = descent.settings, descent.recorder, goal.target
    small = given.configuration.n_particles <= SMALL
    threshold, known = goal.first, target  # forces are not known better than to their rounding
    network, factor = None, None
    while True:
        verdict = descent.down_to(threshold)
        position = jnp.asarray(np.asarray(descent.position)[goal.back])
        listed, _ = find_pairs(given, position, descent.reach, descent.capacity)
        final = given.moved(position, listed)
        if verdict is Verdict.STALLED and settings.newton:
            known = max(target, float(force_rounding(final)))
            searched = _searched(final, descent, known)
            if searched.max_force[-1] <= known:
                final, network, verdict = searched.state, searched.network, Verdict.CONVERGED
                recorder.add(searched.energy[1:], searched.max_force[1:], newton=True)
            break
        if verdict is not Verdict.CONVERGED or recorder.largest <= known:
            break
        known = max(target, float(force_rounding(final)))
        longest = 0.04 * min(settings.skin * descent.scales.length, descent.reach.skin)
        polished = polish(final, tolerance=target, longest_step=longest, solver=settings.linear_solver)
        if polished.settled and polished.max_force[-1] <= known:
            # pivots on the way may have been those of rattlers: the backbone at the final state decides
            loaded = with_contacts(polished.state, polished.network)
            factor = _backbone_factor(loaded, polished.network, settings)
            if factor is not None and not factor.n_negative:
                final, network = polished.state, polished.network
                recorder.add(polished.energy[1:], polished.max_force[1:], newton=True)
                break
            factor = None
        # not settled yet: forget the attempt and let the minimiser go on, so that the minimum reached is its own
        threshold = max(known, threshold / (10 if small else 3))
    recorder.finish(final.position)
    way = _Way(recorder.history(), recorder.largest, descent.scales, goal.begun)
    return _judged(final, verdict, settings, way, network or contact_network(final), factor)


def _searched(state: State, descent: Descent, tolerance: float) -> Polish:
    """Take Newton steps with a search along each from where a minimiser stalled."""
    far = _MOVE * min(descent.settings.skin * descent.scales.length, descent.reach.skin)
    return polish(
        state,
        tolerance=tolerance,
        longest_step=far / _SEARCH,
        max_steps=_SEARCH,
        solver=descent.settings.linear_solver,
        searching=True,
    )


def taken_as_relaxed(
    potential: Potential,
    configuration: Configuration,
    settings: RelaxationSettings | None = None,
    *,
    history: History | None = None,
) -> Relaxation:
    """Judge a state that was relaxed earlier or elsewhere as it is: no particle moves.

    Args:
        potential: The law.
        configuration: The state; no two particles at the same place.
        settings: The tolerance ``max_force`` by which it counts as relaxed, and how pairs are listed and solved with.
        history: The way there, where it is known.

    Returns:
        The state with its verdict, as ``relax`` returns it: ``MAX_STEPS`` where a force exceeds the tolerance.

    Raises:
        UserError: When particles coincide or the energy would be wrong in so small a cell.
    """
    begun = time.perf_counter()
    settings = _checked(potential, configuration, settings)
    longest = _checked_reach(potential, configuration, settings)
    given, skin = State.unlisted(configuration, potential), settings.skin * longest
    reach = Reach(longest, skin, fitting_grid(given, given.position, longest, skin))
    state = given.with_pairs(find_pairs(given, given.position, reach, 0)[0])
    refuse_coincident(state, longest, np.arange(configuration.n_particles))
    largest = float(np.linalg.norm(np.asarray(_forces(state)), axis=1).max())
    measure = Scales.found(state)
    relaxed = largest <= max(settings.max_force * measure.force, float(force_rounding(state)))
    stopped = Verdict.MAX_STEPS if np.isfinite(largest) else Verdict.NONFINITE
    if history is None:
        nothing, here = np.zeros(0), np.asarray(state.position)[None]
        history = History(nothing, nothing, nothing.astype(bool), np.zeros(1, dtype=int), here)
    way = _Way(history, largest, measure, begun)
    return _judged(state, Verdict.CONVERGED if relaxed else stopped, settings, way, contact_network(state), None)


class _Way(NamedTuple):
    """How a state came about: its history, the largest force left, what it is measured with, when the work began."""

    history: History
    largest: float
    scales: Scales
    begun: float


def _judged(
    state: State,
    verdict: Verdict,
    settings: RelaxationSettings,
    way: _Way,
    network: Network,
    factor: Factor | None,
) -> Relaxation:
    loaded = with_contacts(state, network)
    unit = float(way.scales.force * way.scales.length ** (1 - state.configuration.dimension))  # of pressures
    height, value = _energy_and_pressure(state)
    if verdict is Verdict.CONVERGED:
        if _is_unjammed(state, network, value / unit):
            verdict, factor = Verdict.UNJAMMED, None
        else:
            factor = factor or _backbone_factor(loaded, network, settings)
            verdict = Verdict.SADDLE if factor is not None and factor.n_negative else Verdict.CONVERGED
    return Relaxation(
        state=state,
        verdict=verdict,
        network=network,
        energy=height,
        max_force=way.largest,
        pressure=value,
        force_unit=way.scales.force,
        settings=settings,
        history=way.history,
        seconds=time.perf_counter() - way.begun,
        loaded=loaded,
        factor=factor,
        reason="" if verdict.stationary else reason(state, way.history),
    )


def _is_unjammed(state: State, network: Network, reduced_pressure: float) -> bool:
    """Return whether a packing has no rigid backbone or carries no pressure (in units of epsilon/sigma^d).

    Without a pressure, contacts between what is held are what a packing can lean on.
    """
    if not (isinstance(state.potential, PairPotential) and state.potential.contact):
        return False
    if not len(unknowns_of(state, network.backbone)):
        return True
    if state.configuration.held is not None and math.isnan(reduced_pressure):
        return not network.n_contacts
    return not reduced_pressure >= _UNJAMMED_PRESSURE


def _backbone_factor(loaded: State, network: Network, settings: RelaxationSettings) -> Factor | None:
    """Factor the Hessian of the backbone; None when there is no backbone."""
    moving = len(unknowns_of(loaded, network.backbone)) > 0
    return factorise(loaded, network.backbone, solver=settings.linear_solver) if moving else None


def _checked(
    potential: Potential, configuration: Configuration, settings: RelaxationSettings | None
) -> RelaxationSettings:
    """Return the settings after refusing arguments of other kinds."""
    check_system(potential, configuration)
    if settings is not None and not isinstance(settings, RelaxationSettings):
        raise UserError(f"settings are {shown(settings)}; they must be RelaxationSettings(max_force=..., ...).")
    potential.check_entries(configuration)
    return settings or RelaxationSettings()


def _checked_reach(potential: Potential, configuration: Configuration, settings: RelaxationSettings) -> float:
    """Return the interaction range after refusing cells for which the energy would be wrong, or the list endless."""
    potential.check_cell(configuration)
    longest = max_reach(potential, configuration)
    refuse_endless(configuration, (1 + settings.skin) * longest)
    return longest


def _near_the_box(configuration: Configuration) -> Configuration:
    """Return the configuration with images inside the box if a particle lies so far off that its digits are lost."""
    box = configuration.box
    if not isinstance(box, PeriodicBox):
        return configuration
    fractional = np.asarray(configuration.position) @ np.linalg.inv(np.asarray(box.matrix)).T
    # a topology counts images from where particles are
    if np.abs(fractional[:, list(box.periodic)]).max() < _FAR or configuration.topology:
        return configuration
    return replaced(configuration, {"position": box.wrap(configuration.position)})


def _memory_order(potential: Potential, configuration: Configuration, longest: float) -> np.ndarray:
    """Return the order in which pair laws are evaluated: neighbours in space lie together in memory."""
    if isinstance(potential, PairPotential):
        return spatial_order(configuration.position, configuration.box, longest)
    return np.arange(configuration.n_particles)


def _taken_in_order(state: State, order: np.ndarray) -> State:
    """Return the state with its particles in another order; the pair list is not translated."""
    configuration = state.configuration
    # on the host: JAX's indexing outside compiled code takes a millisecond
    names = ("position", "species", *(["held"] if configuration.held is not None else []))
    changes = {name: jnp.asarray(np.asarray(getattr(configuration, name))[order]) for name in names}
    return replaced(
        state, {"configuration": replaced(configuration, changes), "potential": reordered(state.potential, order)}
    )


_forces = jax.jit(free_forces)


def _energy_and_pressure(state: State) -> tuple[float, float]:
    """Return the energy and the pressure, which is NaN for a free system and where the energy does not follow it."""
    terms, box = native_terms(state), state.configuration.box
    if terms is None:
        height, value = _compiled_energy_and_pressure(state)
        return float(height), float(value)
    if not (isinstance(box, PeriodicBox) and has_pressure(state)):
        return float(terms.value.sum()), math.nan
    return float(terms.value.sum()), -float(terms.slope @ terms.distance) / (box.dimension * float(box.volume))


@jax.jit
def _compiled_energy_and_pressure(state: State) -> tuple[Scalar, Scalar]:
    return energy(state), pressure(state) if has_pressure(state) else jnp.full((), jnp.nan)
