"""Predictions beside re-relaxed states, and where the contacts really change."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from mdsens.contacts import Network
from mdsens.energy.parameters import Parameters
from mdsens.energy.strain import periodic_box
from mdsens.errors import UserError
from mdsens.pressure import rerelaxed
from mdsens.relaxation import Relaxation
from mdsens.results import Verdict
from mdsens.types import FreeBox
from mdsens.validity.prediction import Prediction

_BISECTIONS = 12
_DOUBLINGS = 6


@dataclasses.dataclass(frozen=True)
class Point:
    """A state relaxed again at another parameter.

    Attributes:
        verdict: What became of it.
        energy: Its energy, or its enthalpy at constant pressure.
        position: Its positions, shape (n, d).
        box: Its box matrix, shape (d, d); shape (0, 0) for a free system.
        network: Its contacts.
    """

    verdict: Verdict
    energy: float
    position: np.ndarray
    box: np.ndarray
    network: Network


Follower = Callable[[float], Point]


def follower(relaxation: Relaxation, direction: Parameters, prediction: Prediction) -> Follower:
    """Return the function step -> state relaxed again from the predicted positions, and box where it relaxes.

    Args:
        relaxation: The state.
        direction: What the parameters do per unit of the step.
        prediction: Where each relaxation starts.
    """

    def at(step: float) -> Point:
        found = rerelaxed(relaxation, direction, step, prediction.position_rate, prediction.box_rate)
        free = isinstance(found.state.configuration.box, FreeBox)
        box = np.zeros((0, 0)) if free else np.asarray(periodic_box(found.state).matrix)
        height = found.energy if found.box is None else found.box.enthalpy
        return Point(found.verdict, height, np.asarray(found.state.position), box, found.network)

    return at


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Predictions along one parameter beside states relaxed again.

    Attributes:
        step: Steps of the parameter, ascending, shape (m,).
        predicted_energy: Energy (or enthalpy) to second order, shape (m,).
        energy: That of the relaxed states, shape (m,); NaN where none was found.
        displacement: Norm of how far the backbone moved, its mean left out, shape (m,).
        position_error: Norm of what the first-order prediction misses of it, shape (m,).
        same_contacts: Whether the backbone and its contacts are still the same, shape (m,).
    """

    step: np.ndarray
    predicted_energy: np.ndarray
    energy: np.ndarray
    displacement: np.ndarray
    position_error: np.ndarray
    same_contacts: np.ndarray


def steps_around(
    prediction: Prediction, n_steps: int, nearest: float, farthest: float, unit: float | None = None
) -> np.ndarray:
    """Return steps on both sides, evenly spaced in their logarithm, ascending, shape (2 n_steps,).

    Args:
        prediction: What is predicted.
        n_steps: Number on each side.
        nearest: Smallest step, in the unit.
        farthest: Largest step, in the unit.
        unit: The unit; by default the predicted validity radius.

    Raises:
        UserError: When no unit is given and no change of a contact is predicted.
    """
    size = prediction.changes.radius if unit is None else unit
    if not np.isfinite(size):
        raise UserError(
            f"no contact changes along {prediction.path}: the law has no kink, so the derivative ends smoothly; give "
            "validity.step, the unit of the steps."
        )
    positive = size * np.geomspace(nearest, farthest, n_steps)
    return np.concatenate([-positive[::-1], positive])


def compare(
    prediction: Prediction,
    network: Network,
    at: Follower,
    steps: np.ndarray,
    *,
    done: Callable[[], None] = lambda: None,
) -> Comparison:
    """Relax again at every step and compare.

    Args:
        prediction: What is predicted.
        network: Contacts of the state.
        at: Relaxes at a step.
        steps: Steps of the parameter, shape (m,).
        done: Called after every relaxation, for progress.
    """
    rows = []
    for step in np.sort(steps):
        point = at(float(step))
        rows.append(_row(prediction, network, point, float(step)))
        done()
    energy, displacement, error, same = (np.array(column) for column in zip(*rows, strict=True))
    ordered = np.sort(steps)
    return Comparison(ordered, prediction.energy_at(ordered), energy, displacement, error, same.astype(bool))


def _row(prediction: Prediction, network: Network, point: Point, step: float) -> tuple[float, float, float, bool]:
    if point.verdict is not Verdict.CONVERGED:
        return float("nan"), float("nan"), float("nan"), False
    held = prediction.backbone
    moved = point.position[held] - prediction.position[held]
    missed = point.position[held] - prediction.position_at(step)[held]
    displacement, error = (
        float(np.linalg.norm(part - part.mean(axis=0) * prediction.drifts)) for part in (moved, missed)
    )
    return point.energy, displacement, error, point.network.same_as(network)


@dataclasses.dataclass(frozen=True)
class ObservedChange:
    """Where the contacts really change.

    Attributes:
        step: The step, with its sign, relative precision 1e-3 or so; NaN when none was found.
        words: What changes there, such as ``contact 3-17 opens`` or ``rattler 5 is caught``.
    """

    step: float
    words: str


def observed_change(network: Network, at: Follower, guess: float) -> ObservedChange:
    """Find by stepping how far the contacts stay the same.

    Args:
        network: Contacts of the state.
        at: Relaxes at a step.
        guess: Where the change is predicted, with its sign; bracketed from there, then bisected.

    Returns:
        The change; none when the contacts stay up to 64 guesses, or differ at any step tried.
    """

    def same(step: float) -> bool:
        point = at(step)
        return point.verdict is Verdict.CONVERGED and point.network.same_as(network)

    nothing = ObservedChange(float("nan"), "none found")

    low, high = 0.5 * guess, 2.0 * guess
    for _ in range(_DOUBLINGS):
        if same(low):
            break
        low, high = 0.5 * low, low
    else:
        return nothing
    for _ in range(_DOUBLINGS):
        if not same(high):
            break
        low, high = high, 2.0 * high
    else:
        return nothing
    for _ in range(_BISECTIONS):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if same(middle) else (low, middle)
    return ObservedChange(0.5 * (low + high), _difference(network, at(high)))


def _difference(before: Network, point: Point) -> str:
    """Say what became of the contacts."""
    if point.verdict is not Verdict.CONVERGED:
        return f"the state becomes {point.verdict.value}"
    after = point.network
    caught, lost = np.flatnonzero(after.backbone & ~before.backbone), np.flatnonzero(before.backbone & ~after.backbone)
    if len(caught) or len(lost):
        return "; ".join([*(f"rattler {k} is caught" for k in caught), *(f"particle {k} comes loose" for k in lost)])
    old, new = (set(zip(n.i.tolist(), n.j.tolist(), strict=True)) for n in (before, after))
    opened, closed = (sorted(tuple(sorted(pair)) for pair in pairs) for pairs in (old - new, new - old))
    return "; ".join([*(f"contact {i}-{j} opens" for i, j in opened), *(f"contact {i}-{j} closes" for i, j in closed)])
