r"""From a configuration to a minimum of the enthalpy U + P V, over positions and box together.

For every box the positions are relaxed; what remains, :math:`W(\varepsilon) = \min_x U + P V`, is a function of at most
six strains, whose gradient is the stress less the pressure and whose Hessian the moduli give. It goes down by Newton
steps within a trust region, each from the positions that the response predicts.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mdsens.energy import PairPotential, Potential, check_system
from mdsens.energy.parameters import Parameters
from mdsens.energy.strain import enthalpy_gradient, periodic_box, strained
from mdsens.errors import NumericalError, UserError
from mdsens.given import is_number, shown
from mdsens.pressure.freedom import BoxKind, free_strains
from mdsens.relaxation import History, Relaxation, RelaxationSettings, relax
from mdsens.relaxation.scales import scales
from mdsens.response import BorderedResponse, bordered, linear_response
from mdsens.results import Verdict
from mdsens.types import Configuration, replaced

_ROUNDING = 1e-13  # relative rounding error of an enthalpy, below which it cannot judge a step
_SOFT = 1e-3  # of the largest: smaller stiffnesses of the box are not trusted for the length of a step
_TORN = 2.0  # times that volume, in which a pull of which the particles bear
_PULL = 0.9  # less than the rest of this part tears them apart
_LARGEST = 1e3  # times the volume of the start: beyond, the box grows without bound


@dataclasses.dataclass(frozen=True)
class PressureSettings:
    """How to relax at constant pressure.

    Attributes:
        box: Which deformations are free: "isotropic", "orthorhombic" or "triclinic".
        fixed: Components of the box that keep their value, such as ``("xx",)``.
        stress_error: Largest deviation of the stress from the pressure, units of epsilon/sigma^d, > 0.
        max_box_steps: Most steps of the box, >= 1.
        max_strain: Largest strain component of a step, in (0, 0.2].
        relaxation: How positions are relaxed in every box.

    Raises:
        UserError: When a value is out of its range.
    """

    box: BoxKind = "isotropic"
    fixed: Sequence[str] = ()
    stress_error: float = 1e-12
    max_box_steps: int = 500
    max_strain: float = 0.02
    relaxation: RelaxationSettings = dataclasses.field(default_factory=RelaxationSettings)

    def __post_init__(self) -> None:
        if not (is_number(self.stress_error) and np.isfinite(self.stress_error) and self.stress_error > 0):
            raise UserError(f"stress_error is {shown(self.stress_error)}; it must be finite and greater than 0.")
        if not (is_number(self.max_box_steps) and self.max_box_steps >= 1):
            raise UserError(f"max_box_steps is {shown(self.max_box_steps)}; it must be at least 1.")
        if not (is_number(self.max_strain) and 0 < self.max_strain <= 0.2):
            raise UserError(f"max_strain is {shown(self.max_strain)}; it must be greater than 0 and at most 0.2.")


@dataclasses.dataclass(frozen=True)
class PressureRelaxation:
    """A state relaxed at constant pressure and how good it is.

    Attributes:
        relaxation: The state, relaxed in its final box; its history has the steps taken in all boxes.
        verdict: What became of it.
        pressure: The pressure asked for, units of energy per volume.
        strains: Free strains of the box, shape (s, d, d).
        stress_error: Largest deviation of the stress from the pressure along a free strain, units of energy per volume.
        enthalpy: U + P V, units of energy.
        volumes: Volume after every step of the box, the start first, shape (k,).
        stress_errors: ``stress_error`` at the same states, shape (k,).
        seconds: Wall time.
    """

    relaxation: Relaxation
    verdict: Verdict
    pressure: float
    strains: np.ndarray
    stress_error: float
    enthalpy: float
    volumes: np.ndarray
    stress_errors: np.ndarray
    seconds: float


def relax_at_pressure(
    potential: Potential,
    configuration: Configuration,
    pressure: float,
    settings: PressureSettings | None = None,
    *,
    progress: Callable[[int, float], Any] | None = None,
) -> PressureRelaxation:
    """Relax positions and box to a minimum of the enthalpy.

    Args:
        potential: The law.
        configuration: Where to start, in a periodic box.
        pressure: Pressure P, units of energy per volume.
        settings: What is free, and how far to go.
        progress: Called with (steps of the box so far, deviation of the stress) after each.

    Returns:
        The relaxed state with its verdict; look at it before using the numbers.

    Raises:
        UserError: For a free system, particles that coincide, a box too small to begin with, or a pressure that is not
            finite.
    """
    begun = time.perf_counter()
    settings = settings or PressureSettings()
    check_system(potential, configuration)
    if not (is_number(pressure) and np.isfinite(pressure)):
        raise UserError(f"the pressure is {shown(pressure)}; it must be one finite number.")
    strains = free_strains(configuration.dimension, settings.box, settings.fixed)
    here = _Here.of(relax(potential, configuration, settings.relaxation), pressure, strains)
    first_volume, trust, trail, histories = here.volume, settings.max_strain, [here], [here.relaxation.history]
    tolerance = settings.stress_error * _stress_unit(here)
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
            there = _Here.of(moved, pressure, strains)
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
    return PressureRelaxation(
        relaxation=dataclasses.replace(here.relaxation, history=_joined(histories, here.relaxation)),
        verdict=verdict,
        pressure=pressure,
        strains=strains,
        stress_error=here.error,
        enthalpy=here.enthalpy,
        volumes=np.array([at.volume for at in trail]),
        stress_errors=np.array([at.error for at in trail]),
        seconds=time.perf_counter() - begun,
    )


def taken_as_relaxed_at_pressure(
    relaxation: Relaxation, pressure: float, strains: np.ndarray, stress_error: float = 1e-12
) -> PressureRelaxation:
    """Judge a state that was relaxed at constant pressure earlier or elsewhere as it is: nothing moves.

    Args:
        relaxation: The state in its box, from ``mdsens.relaxation.taken_as_relaxed``.
        pressure: Pressure P, units of energy per volume.
        strains: Free strains of the box, shape (s, d, d), from ``free_strains``.
        stress_error: Largest deviation of the stress from the pressure, units of epsilon/sigma^d, > 0.

    Returns:
        The state with its verdict: ``STRAINED`` where the stress deviates more.
    """
    begun = time.perf_counter()
    here = _Here.of(relaxation, pressure, strains)
    strained_off = relaxation.verdict is Verdict.CONVERGED and not here.error <= stress_error * _stress_unit(here)
    return PressureRelaxation(
        relaxation=relaxation,
        verdict=Verdict.STRAINED if strained_off else relaxation.verdict,
        pressure=pressure,
        strains=strains,
        stress_error=here.error,
        enthalpy=here.enthalpy,
        volumes=np.array([here.volume]),
        stress_errors=np.array([here.error]),
        seconds=time.perf_counter() - begun,
    )


def _joined(histories: list[History], last: Relaxation) -> History:
    """Return the steps in all boxes one after another; of positions, whose box changed, only the last."""
    energy, largest, newton = (
        np.concatenate([getattr(part, name) for part in histories]) for name in ("energy", "max_force", "newton")
    )
    return History(energy, largest, newton, np.array([len(energy)]), np.asarray(last.state.position)[None])


def rerelaxed_at_pressure(
    found: PressureRelaxation,
    settings: PressureSettings,
    direction: Parameters,
    step: float,
    by_pressure: float = 0.0,
    rates: tuple[np.ndarray, np.ndarray] | None = None,
) -> PressureRelaxation:
    """Relax again, with parameters p + step * direction and pressure P + step * by_pressure.

    Args:
        found: The relaxed state.
        settings: How it was relaxed.
        direction: What the parameters do per unit of the step.
        step: The step.
        by_pressure: What the pressure does per unit of the step.
        rates: Derivatives of positions, shape (n, d), and box matrix, shape (d, d), from which the start is predicted;
            the state itself without them.
    """
    state = found.relaxation.state
    moved = jax.tree.map(lambda p, dp: p + step * dp, state.parameters, direction)
    position = state.position
    if rates is not None:
        position = position + step * jnp.asarray(rates[0])
        matrix = periodic_box(state).matrix + step * jnp.asarray(rates[1])
        moved = replaced(moved, {"box": replaced(periodic_box(state), {"matrix": matrix})})
    start = state.at(position, moved).configuration
    return relax_at_pressure(moved.potential, start, found.pressure + step * by_pressure, settings)


@dataclasses.dataclass(frozen=True)
class _Here:
    """A relaxed state seen from the pressure asked for.

    Attributes:
        relaxation: The state.
        strains: Free strains.
        pressure: The pressure.
        gradient: Derivative of the enthalpy in the strain components, shape (s,).
        error: Largest deviation of the stress from the pressure.
        volume: Volume.
        enthalpy: U + P V.
    """

    relaxation: Relaxation
    strains: np.ndarray
    pressure: float
    gradient: np.ndarray
    error: float
    volume: float
    enthalpy: float

    @classmethod
    def of(cls, relaxation: Relaxation, pressure: float, strains: np.ndarray) -> _Here:
        volume = float(periodic_box(relaxation.state).volume)
        gradient = np.asarray(enthalpy_gradient(relaxation.state, strains, pressure)[1])
        error = float(np.max(np.abs(gradient) / np.sum(strains**2, axis=(1, 2)))) / volume
        return cls(relaxation, strains, pressure, gradient, error, volume, relaxation.energy + pressure * volume)


def _stress_unit(here: _Here) -> float:
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


def _response(here: _Here) -> BorderedResponse | None:
    if here.relaxation.verdict is not Verdict.CONVERGED:
        return None
    try:
        return bordered(linear_response(here.relaxation), here.pressure, here.strains)
    except NumericalError:
        return None


def _deformed(here: _Here, step: np.ndarray, moves: np.ndarray | None) -> Configuration:
    """Return the deformed box with positions as the response predicts them."""
    state = here.relaxation.state
    if moves is not None:
        position = state.position + jnp.asarray(np.tensordot(step, moves, axes=1))
        configuration = replaced(state.configuration, {"position": position})
        state = replaced(state, {"configuration": configuration})
    return strained(state, np.tensordot(step, here.strains, axes=1)).configuration
