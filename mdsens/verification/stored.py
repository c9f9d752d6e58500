"""The relaxed state that a file holds, judged where it is, and checks that it is what the file says."""

from __future__ import annotations

import dataclasses

import numpy as np

from mdsens.energy import Barostat, Potential
from mdsens.io import StoredPressure, StoredRun
from mdsens.pressure import taken_as_relaxed_at_pressure
from mdsens.relaxation import PressureSettings, Relaxation, RelaxationSettings, taken_as_relaxed
from mdsens.results import Verdict
from mdsens.verification.checks import Check, same


def judged(
    stored: StoredRun,
    potential: Potential,
    settings: RelaxationSettings,
    *,
    pressure: float | None = None,
    box: PressureSettings | None = None,
) -> Relaxation:
    """Judge the state of a file as it is: nothing moves, and its way is the stored one.

    Args:
        stored: The file.
        potential: Its law.
        settings: How positions were relaxed.
        pressure: The pressure, where another source than the file knows it.
        box: How the box was relaxed; by default its stress may deviate as much as the file says.
    """
    found = taken_as_relaxed(potential, stored.configuration, settings.allowing_rounding(potential))
    path = np.concatenate([stored.history.path[:-1], stored.position[None]])
    history = dataclasses.replace(stored.history, path=path, path_step=stored.history.path_step[-len(path) :])
    found, held = dataclasses.replace(found, settings=settings, history=history), stored.constant_pressure
    if held is None:
        return found
    allowed = held.stress_error if box is None else box.stress_error
    barostat = Barostat(held.value if pressure is None else pressure, held.strains)
    box = box or PressureSettings(relaxation=settings)
    found = taken_as_relaxed_at_pressure(found, barostat, box, 2.0 * max(allowed, 1e-12))
    assert found.box is not None
    volumes = np.append(held.volumes[:-1], found.box.volumes)
    return dataclasses.replace(
        found, box=dataclasses.replace(found.box, volumes=volumes, stress_errors=held.stress_errors)
    )


def rest_checks(stored: StoredRun, found: Relaxation) -> list[Check]:
    """Return whether the state of a file is at rest, ends the stored way, and has the stored verdict.

    Args:
        stored: The file.
        found: Its state, from ``judged``.
    """
    checks = [*_force_checks(stored, found), *_pressure_checks(stored.constant_pressure, found)]
    end = np.array_equal(stored.history.path[-1:], stored.position[None])
    checks.append(same("last frame of the way against the stored positions", end))
    # where a relaxation that did not arrive stopped, and why, only its way says
    stopped = not stored.verdict.stationary and found.verdict is not Verdict.CONVERGED
    words = f"{stored.verdict.value}, and {found.verdict.value} at the stored positions"
    return [*checks, same("verdict", found.verdict is stored.verdict or stopped, words)]


def _force_checks(stored: StoredRun, found: Relaxation) -> list[Check]:
    potential, unit = found.state.potential, found.force_unit
    force, distance = found.max_force / unit, abs(found.max_force - stored.max_force) / unit
    allowed = 1e-6 * force + 1e-12 * max(potential.stiffness, 1.0)
    checks = [Check("stored largest force against that of the state", distance, allowed)]
    if stored.verdict.stationary:
        label = "largest force at the stored positions, epsilon/sigma"
        checks.insert(0, Check(label, force, found.settings.allowing_rounding(potential).max_force))
    return checks


def _pressure_checks(held: StoredPressure | None, found: Relaxation) -> list[Check]:
    now = found.box
    if held is None or now is None:
        return []
    distance = abs(now.stress_error - held.stress_error)
    allowed = 1e-6 * now.stress_error + 1e-12 * found.force_unit
    end = len(held.volumes) > 0 and bool(np.isclose(held.volumes[-1], now.volumes[-1], rtol=1e-12, atol=0))
    return [
        Check("stored stress error against that of the state", distance, allowed),
        same("last volume of the way against the stored box", end),
    ]
