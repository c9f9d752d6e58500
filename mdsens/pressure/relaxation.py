r"""From a configuration to a minimum of the enthalpy U + P V, over positions and box together.

For every box the positions are relaxed; what remains, :math:`W(\varepsilon) = \min_x U + P V`, is a function of at most
six strains, whose gradient is the stress less the pressure and whose Hessian the moduli give. It goes down by Newton
steps within a trust region, each from the positions that the response predicts.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

from mdsens.energy import Barostat, PairPotential, Potential, check_system
from mdsens.energy.stiffness import scales
from mdsens.energy.strain import enthalpy_gradient, periodic_box, strained, stress_deviation
from mdsens.errors import NumericalError, UserError
from mdsens.given import is_number, shown
from mdsens.relaxation import BoxRelaxation, History, PressureSettings, Relaxation, free_strains, relax
from mdsens.response import Border, bordered, linear_response
from mdsens.results import Verdict
from mdsens.types import Configuration, replaced

_ROUNDING = 1e-13  # relative rounding error of an enthalpy, below which it cannot judge a step
_SOFT = 1e-3  # of the largest: smaller stiffnesses of the box are not trusted for the length of a step
_TORN = 2.0  # times that volume, in which a pull of which the particles bear
_PULL = 0.9  # less than the rest of this part tears them apart
_LARGEST = 1e3  # times the volume of the start: beyond, the box grows without bound


def relax_at_pressure(
    potential: Potential,
    configuration: Configuration,
    pressure: float,
    settings: PressureSettings | None = None,
    *,
    progress: Callable[[int, float], Any] | None = None,
) -> Relaxation:
    """Relax positions and box to a minimum of the enthalpy.

    Args:
        potential: The law.
        configuration: Where to start, in a periodic box.
        pressure: Pressure P, units of energy per volume.
        settings: What is free, and how far to go.
        progress: Called with (steps of the box so far, deviation of the stress) after each.

    Returns:
        The relaxed state with its verdict and its barostat; look at the verdict before using the numbers.

    Raises:
        UserError: For a free system, particles that coincide, a box too small to begin with, or a pressure that is not
            finite.
    """
    settings = settings or PressureSettings()
    check_system(potential, configuration)
    if not (is_number(pressure) and np.isfinite(pressure)):
        raise UserError(f"the pressure is {shown(pressure)}; it must be one finite number.")
    barostat = Barostat(pressure, free_strains(configuration.dimension, settings.box, settings.fixed))
    return relax_under(barostat, potential, configuration, settings, progress=progress)


def relax_under(
    barostat: Barostat,
    potential: Potential,
    configuration: Configuration,
    settings: PressureSettings,
    *,
    progress: Callable[[int, float], Any] | None = None,
    refuse: bool = True,
) -> Relaxation:
    """Relax as ``relax_at_pressure`` does, with these free strains in place of those of the settings.

    A start whose energy is not finite is refused, or has the verdict ``NONFINITE``, as for ``relax``.
    """
    begun, pressure = time.perf_counter(), float(barostat.pressure)
    here = _Here.of(relax(potential, configuration, settings.relaxation, refuse=refuse), barostat)
    first_volume, trust, trail, histories = here.volume, settings.max_strain, [here], [here.relaxation.history]
    tolerance = settings.stress_error * _unit(here)
    verdict = Verdict.STRAINED
    for k in range(settings.max_box_steps):
        if progress is not None:
            progress(k, here.error)
        if here.volume > _LARGEST * first_volume or _has_nothing_to_hold_it(here, pressure, first_volume):
            verdict = Verdict.EVAPORATED
            break
        if here.error <= tolerance or not here.relaxation.verdict.stationary:
            verdict = here.relaxation.verdict
            break
        step, moves, gain = _step(here, trust)
        try:
            moved = relax(potential, _deformed(here, step, moves), settings.relaxation, refuse=False)
            there = _Here.of(moved, barostat)
        except UserError:
            verdict = Verdict.BOX_TOO_SMALL
            break
        histories.append(there.relaxation.history)
        visible = gain > _ROUNDING * max(abs(here.enthalpy), abs(here.relaxation.energy))
        falls = there.enthalpy < here.enthalpy if visible else there.error < here.error
        if falls:
            trust = min(2.0 * trust, settings.max_strain)
            here = there
            trail.append(here)
        else:
            trust = 0.25 * min(trust, float(np.abs(step).max()))
            if trust < 1e-14:
                break
    whole = dataclasses.replace(here.relaxation, history=_joined(histories, here.relaxation))
    return _with_box(whole, here, verdict, trail, settings, begun)


def taken_as_relaxed_at_pressure(
    relaxation: Relaxation, barostat: Barostat, settings: PressureSettings, stress_error: float | None = None
) -> Relaxation:
    """Judge a state that was relaxed at constant pressure earlier or elsewhere as it is: nothing moves.

    Args:
        relaxation: The state in its box, from ``mdsens.relaxation.taken_as_relaxed``.
        barostat: Pressure and free strains of the box, from ``free_strains``.
        settings: How box and positions were relaxed.
        stress_error: Largest deviation of the stress from the pressure, units of epsilon/sigma^d, > 0; that of the
            settings by default.

    Returns:
        The state with its verdict: ``STRAINED`` where the stress deviates more.
    """
    begun, here = time.perf_counter(), _Here.of(relaxation, barostat)
    most = settings.stress_error if stress_error is None else stress_error
    strained_off = relaxation.verdict is Verdict.CONVERGED and not here.error <= most * _unit(here)
    verdict = Verdict.STRAINED if strained_off else relaxation.verdict
    return _with_box(relaxation, here, verdict, [here], settings, begun)


def _with_box(
    relaxation: Relaxation, here: _Here, verdict: Verdict, trail: list[_Here], settings: PressureSettings, begun: float
) -> Relaxation:
    """Return a relaxation with what became of its box."""
    box = BoxRelaxation(
        stress_error=here.error,
        enthalpy=here.enthalpy,
        volumes=np.array([at.volume for at in trail]),
        stress_errors=np.array([at.error for at in trail]),
        settings=settings,
    )
    state, seconds = relaxation.state.under(here.barostat), time.perf_counter() - begun
    return dataclasses.replace(relaxation, state=state, verdict=verdict, seconds=seconds, box=box)


def _joined(histories: list[History], last: Relaxation) -> History:
    """Return the steps in all boxes one after another; of positions, whose box changed, only the last."""
    energy, largest, newton = (
        np.concatenate([getattr(part, name) for part in histories]) for name in ("energy", "max_force", "newton")
    )
    return History(energy, largest, newton, np.array([len(energy)]), np.asarray(last.state.position)[None])


@dataclasses.dataclass(frozen=True)
class _Here:
    """A relaxed state in its box seen from the pressure asked for.

    Attributes:
        relaxation: The state.
        barostat: Free strains and pressure.
        gradient: Derivative of the enthalpy in the strain components, shape (s,).
        error: Largest deviation of the stress from the pressure.
        volume: Volume.
        enthalpy: U + P V.
    """

    relaxation: Relaxation
    barostat: Barostat
    gradient: np.ndarray
    error: float
    volume: float
    enthalpy: float

    @classmethod
    def of(cls, relaxation: Relaxation, barostat: Barostat) -> _Here:
        state = relaxation.state.under(barostat)
        volume = float(periodic_box(state).volume)
        gradient = np.asarray(enthalpy_gradient(state)[1])
        error = stress_deviation(state)
        height = relaxation.energy + float(barostat.pressure) * volume
        return cls(relaxation, barostat, gradient, error, volume, height)


def _unit(here: _Here) -> float:
    """Return the unit epsilon/sigma^d of stress tolerances."""
    state = here.relaxation.state
    length = float(scales(state.potential, state.configuration)[0])
    return here.relaxation.force_unit * length ** (1 - state.configuration.dimension)


def _has_nothing_to_hold_it(here: _Here, pressure: float, first_volume: float) -> bool:
    """Return whether nothing acts between the particles, or next to nothing in a grown box, and the pressure pulls."""
    potential = here.relaxation.state.potential
    contact = isinstance(potential, PairPotential) and potential.contact
    torn = pressure < 0 and here.volume > _TORN * first_volume and here.error >= _PULL * abs(pressure)
    return torn or (contact and here.relaxation.verdict is Verdict.UNJAMMED and pressure <= 0)


def _step(here: _Here, trust: float) -> tuple[np.ndarray, np.ndarray | None, float]:
    """Return the next strain components, how particles move under each of them, and the enthalpy to be gained."""
    found = _response(here)
    if found is None:  # nothing is known of the stiffness: go straight along the stress
        step = -here.gradient / max(float(np.abs(here.gradient).max()), 1e-300) * trust
        return step, None, float(-here.gradient @ step)
    values, vectors = np.linalg.eigh(found.stiffness)
    sizes = np.maximum(np.abs(values), _SOFT * np.abs(values).max())
    step = -vectors @ ((vectors.T @ here.gradient) / sizes)
    step *= min(1.0, trust / max(float(np.abs(step).max()), 1e-300))
    return step, found.moves, float(-here.gradient @ step - 0.5 * sizes @ (vectors.T @ step) ** 2)


def _response(here: _Here) -> Border | None:
    if here.relaxation.verdict is not Verdict.CONVERGED:
        return None
    try:
        return bordered(linear_response(here.relaxation), here.barostat).border
    except NumericalError:
        return None


def _deformed(here: _Here, step: np.ndarray, moves: np.ndarray | None) -> Configuration:
    """Return the deformed box with positions as the response predicts them."""
    state = here.relaxation.state
    if moves is not None:
        position = state.position + jnp.asarray(np.tensordot(step, moves, axes=1))
        configuration = replaced(state.configuration, {"position": position})
        state = replaced(state, {"configuration": configuration})
    return strained(state, np.tensordot(step, np.asarray(here.barostat.strains), axes=1)).configuration
