"""What a state is called: relaxed, a saddle, unjammed, or not there yet; of one relaxed elsewhere, too."""

from __future__ import annotations

import math
import time
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mdsens.contacts import Network, contact_network, with_contacts
from mdsens.energy import PairPotential, Potential, State, energy, free_forces, has_pressure, pressure
from mdsens.energy.native_law import native_terms
from mdsens.hessian import factorise
from mdsens.hessian.any_energy import unknowns_of
from mdsens.linear import Factor
from mdsens.relaxation.masses import force_rounding
from mdsens.relaxation.preparation import checked_reach, checked_settings, with_list
from mdsens.relaxation.reasons import reason
from mdsens.relaxation.relaxed import History, Relaxation
from mdsens.relaxation.scales import Scales
from mdsens.relaxation.settings import RelaxationSettings
from mdsens.relaxation.starts import refuse_coincident
from mdsens.results import Verdict
from mdsens.types import Configuration, PeriodicBox, Scalar

_UNJAMMED_PRESSURE = 1e-8  # epsilon/sigma^d
_forces = jax.jit(free_forces)


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
    settings = checked_settings(potential, configuration, settings)
    longest = checked_reach(potential, configuration, settings)
    state, _ = with_list(State.unlisted(configuration, potential), longest, settings)
    refuse_coincident(state, longest, np.arange(configuration.n_particles))
    largest = float(np.linalg.norm(np.asarray(_forces(state)), axis=1).max())
    measure = Scales.found(state)
    relaxed = largest <= max(settings.max_force * measure.force, float(force_rounding(state)))
    stopped = Verdict.MAX_STEPS if np.isfinite(largest) else Verdict.NONFINITE
    if history is None:
        nothing, here = np.zeros(0), np.asarray(state.position)[None]
        history = History(nothing, nothing, nothing.astype(bool), np.zeros(1, dtype=int), here)
    way = Way(history, largest, measure, begun)
    return judged(state, Verdict.CONVERGED if relaxed else stopped, settings, way, contact_network(state), None)


class Way(NamedTuple):
    """How a state came about: its history, the largest force left, what it is measured with, when the work began."""

    history: History
    largest: float
    scales: Scales
    begun: float


def judged(
    state: State,
    verdict: Verdict,
    settings: RelaxationSettings,
    way: Way,
    network: Network,
    factor: Factor | None,
) -> Relaxation:
    """Return the record of where a way ended, with its verdict.

    Args:
        state: The state, all its pairs listed, particles in their own order.
        verdict: How the way ended: only ``CONVERGED`` is looked into.
        settings: How it was relaxed.
        way: How it came about.
        network: Its contacts.
        factor: That of its backbone's Hessian, where it is at hand.
    """
    loaded = with_contacts(state, network)
    unit = float(way.scales.force * way.scales.length ** (1 - state.configuration.dimension))  # of pressures
    height, value = _energy_and_pressure(state)
    if verdict is Verdict.CONVERGED:
        if _is_unjammed(state, network, value / unit):
            verdict, factor = Verdict.UNJAMMED, None
        else:
            factor = factor or backbone_factor(loaded, network, settings)
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


def backbone_factor(loaded: State, network: Network, settings: RelaxationSettings) -> Factor | None:
    """Factor the Hessian of the backbone; None when there is no backbone."""
    moving = len(unknowns_of(loaded, network.backbone)) > 0
    return factorise(loaded, network.backbone, solver=settings.linear_solver) if moving else None


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
