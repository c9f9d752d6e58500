"""From a configuration to a minimum of the energy, with a verdict and the history of the way."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from mdsens.contacts import contact_network, with_contacts
from mdsens.energy import Potential, State
from mdsens.neighbors import SMALL
from mdsens.relaxation.approach import is_far_from_rest, milder
from mdsens.relaxation.descent import find_pairs
from mdsens.relaxation.judging import Way, backbone_factor, judged
from mdsens.relaxation.masses import force_rounding
from mdsens.relaxation.newton import Polish, polish
from mdsens.relaxation.preparation import (
    checked_reach,
    checked_settings,
    memory_order,
    near_the_box,
    taken_in_order,
    with_list,
)
from mdsens.relaxation.relaxed import Relaxation
from mdsens.relaxation.saddles import off_the_saddle
from mdsens.relaxation.scales import Scales
from mdsens.relaxation.settings import RelaxationSettings
from mdsens.relaxation.starts import refuse_coincident, refuse_nonfinite
from mdsens.relaxation.way import Descent, Recorder
from mdsens.results import Verdict
from mdsens.types import Configuration, replaced

_NEARLY = 1e-9  # epsilon/sigma, of a state where another relaxation begins
_FIRST_POLISH = 1e-4  # epsilon/sigma: the contact network has mostly settled there
_LARGE_POLISH = 1e-5  # the same for large systems, whose networks settle later and whose steps cost less than a factor
_SADDLES = 5  # from which it goes on
_MOVE = 0.4  # of the skin
_POLISH_MOVE = 0.04  # of the same: the longest Newton step
_SEARCH = 100  # Newton steps where the minimiser stalls


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
    settings = checked_settings(potential, configuration, settings)
    configuration = near_the_box(configuration)
    longest = checked_reach(potential, configuration, settings)
    order = memory_order(potential, configuration, longest)
    given = State.unlisted(configuration, potential)
    state, reach = with_list(taken_in_order(given, order), longest, settings)
    refuse_coincident(state, longest, order)
    mild = milder(potential) if approach else None
    if mild is not None and bool(is_far_from_rest(state)):
        near = relax(mild, configuration, dataclasses.replace(settings, max_force=_NEARLY), refuse=refuse)
        nearer = replaced(configuration, {"position": near.state.position})
        return relax(potential, nearer, settings, progress=progress, approach=False, refuse=refuse)
    recorder = Recorder(progress, np.argsort(order))
    recorder.keep(state.position)
    scales = Scales.found(state)
    descent = Descent(state, reach, scales, settings, recorder)
    if refuse and not descent.is_finite:
        refuse_nonfinite(given.with_pairs(find_pairs(given, given.position, descent.reach, 0)[0]))
    goal = _Goal(*_forces_aimed_at(settings, scales, configuration.n_particles), order, begun)
    return _past_saddles(given, descent, goal)


class _Goal(NamedTuple):
    """How far down: the force where Newton steps are first tried, that asked for; the particles' order, the start."""

    first: float
    target: float
    order: np.ndarray
    begun: float


def _forces_aimed_at(settings: RelaxationSettings, scales: Scales, n_particles: int) -> tuple[float, float]:
    """Return the force where Newton steps are first tried and the one asked for."""
    target = settings.max_force * scales.force
    first = _FIRST_POLISH if n_particles <= SMALL else _LARGE_POLISH
    return max(target, first * scales.energy / scales.length) if settings.newton else target, target


def _past_saddles(given: State, descent: Descent, goal: _Goal) -> Relaxation:
    """Descend, and where that ends at a saddle go on from beside it, a few times."""
    found = _descended(given, descent, goal)
    for _ in range(_SADDLES):
        stuck = found.verdict is Verdict.SADDLE and descent.recorder.n_descent > 0
        position = off_the_saddle(found, _MOVE * _room(descent)) if stuck else None
        if position is None:
            break
        start = taken_in_order(given.moved(position, given.pairs), goal.order)
        pairs, reach = find_pairs(start, start.position, descent.reach, descent.capacity)
        descent = Descent(start.with_pairs(pairs), reach, descent.scales, descent.settings, descent.recorder)
        found = _descended(given, descent, goal)
    return found


def _room(descent: Descent) -> float:
    """Return the skin of the list, at most that of a pair of the typical length."""
    return min(descent.settings.skin * descent.scales.length, descent.reach.skin)


def _descended(given: State, descent: Descent, goal: _Goal) -> Relaxation:
    """Let a minimiser run down from where it stands, Newton steps finish, and judge where they arrive."""
    settings, recorder, target = descent.settings, descent.recorder, goal.target
    small = given.configuration.n_particles <= SMALL
    back = np.argsort(goal.order)
    threshold, known = goal.first, target  # forces are not known better than to their rounding
    network, factor = None, None
    while True:
        verdict = descent.down_to(threshold)
        position = jnp.asarray(np.asarray(descent.position)[back])
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
        longest = _POLISH_MOVE * _room(descent)
        polished = polish(final, tolerance=target, longest_step=longest, solver=settings.linear_solver)
        if polished.settled and polished.max_force[-1] <= known:
            # pivots on the way may have been those of rattlers: the backbone at the final state decides
            loaded = with_contacts(polished.state, polished.network)
            factor = backbone_factor(loaded, polished.network, settings)
            if factor is not None and not factor.n_negative:
                final, network = polished.state, polished.network
                recorder.add(polished.energy[1:], polished.max_force[1:], newton=True)
                break
            factor = None
        # not settled yet: forget the attempt and let the minimiser go on, so that the minimum reached is its own
        threshold = max(known, threshold / (10 if small else 3))
    recorder.finish(final.position)
    way = Way(recorder.history(), recorder.largest, descent.scales, goal.begun)
    return judged(final, verdict, settings, way, network or contact_network(final), factor)


def _searched(state: State, descent: Descent, tolerance: float) -> Polish:
    """Take Newton steps with a search along each from where a minimiser stalled."""
    return polish(
        state,
        tolerance=tolerance,
        longest_step=_MOVE * _room(descent) / _SEARCH,
        max_steps=_SEARCH,
        solver=descent.settings.linear_solver,
        searching=True,
    )
