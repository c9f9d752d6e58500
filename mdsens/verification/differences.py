"""Central differences of states that are relaxed again with changed parameters."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import jax
import numpy as np
from jaxtyping import Array

from mdsens.contacts import Network
from mdsens.energy import PairPotential, State
from mdsens.energy.paths import PRESSURE, Selection
from mdsens.energy.strain import periodic_box
from mdsens.hessian.derivatives import joint_drift
from mdsens.pressure import rerelaxed
from mdsens.relaxation import Relaxation
from mdsens.response import LinearResponse
from mdsens.results import Verdict
from mdsens.sensitivity import PositionSensitivity
from mdsens.types import PeriodicBox
from mdsens.validity.changes import contact_changes

_LARGEST_STEP = 1e-5  # of the parameter's value: keeps the curvature error of the difference below 1e-7 or so
_SMALLEST_STEP = 1e-10
_SAFETY = 0.1  # of the step at which the first contact is predicted to change
_CURVATURE = 1e-4  # relative change of the sensitivity over the step; its square is the error of a central difference
_NEGLIGIBLE = 1e-3  # of |x - mean|/|p|: smaller sensitivities (zero, by symmetry or scale) are compared with this
_LEAST_PRESSURE = 1e-3  # where it is smaller, steps are measured in this one
_TRIES = 4
_ROUNDING = 1e-13  # of an energy or a pressure


@dataclasses.dataclass(frozen=True)
class Difference:
    """A sensitivity beside a central difference of re-relaxed states.

    Attributes:
        path: The parameter entry.
        step: The step h, units of the parameter.
        relative_difference: |difference quotient - sensitivity| / |sensitivity| over the backbone, zero modes
            removed; where the sensitivity is negligible, over a thousandth of |x - mean|/|p|.
        same_network: Whether the backbone network was the same at both ends; when not, the difference proves nothing.
        slopes: The difference quotients of "energy" and "pressure" between the same states.
        slope_errors: What rounding leaves of each.
    """

    path: str
    step: float
    relative_difference: float
    same_network: bool
    slopes: Mapping[str, float]
    slope_errors: Mapping[str, float]

    def agrees(self, tolerance: float) -> bool:
        """Return whether the difference is meaningful and within the tolerance."""
        return self.same_network and self.relative_difference <= tolerance


def step_size(
    response: LinearResponse, relaxation: Relaxation, sensitivity: PositionSensitivity, selection: Selection
) -> np.ndarray:
    r"""Choose the step of a central difference for every entry, shape (k,).

    A tenth of the smallest backbone gap over its rate, :math:`|g_{ij}|/|dg_{ij}/dp|` with the relative overlap
    :math:`g = 1 - r/\sigma`, so that no contact opens or closes within it; at most 1e-5 of the parameter's value
    (for components of the box: of its length); and so short that the sensitivity itself changes by no more than a
    ten-thousandth (its square is the error of a central difference).
    """
    sizes = _natural_sizes(response.state, selection)
    largest = np.minimum(_LARGEST_STEP * sizes, _CURVATURE / _growth_rates(response, sensitivity, selection))
    potential = response.state.potential
    if not isinstance(potential, PairPotential):
        return largest
    changes = contact_changes(
        relaxation.state, response.network, sensitivity.values, sensitivity.whole(selection), (potential.cutoff,)
    )
    limits = np.array([change.radius for change in changes])
    return np.maximum(np.minimum(_SAFETY * limits, largest), _SMALLEST_STEP * sizes)


def _natural_sizes(state: State, selection: Selection) -> np.ndarray:
    """Return |p| of every entry, but the box's length for its components and 1 for zeros, shape (k,)."""
    sizes, box = np.abs(selection.values), state.configuration.box
    if isinstance(box, PeriodicBox):
        lengths = [path.startswith("box.") and not path.startswith("box.strain") for path in selection.paths]
        sizes = np.where(lengths, float(box.length), sizes)
    sizes = np.where([path == PRESSURE for path in selection.paths], np.maximum(sizes, _LEAST_PRESSURE), sizes)
    return np.where(sizes > 0, sizes, 1.0)


def _negligible(state: State, network: Network, selection: Selection) -> np.ndarray:
    """Return the norm below which a sensitivity is too small to be compared with itself, shape (k,)."""
    position = np.asarray(state.position)[network.backbone]
    spread = float(np.linalg.norm(position - position.mean(axis=0)))
    return _NEGLIGIBLE * spread / _natural_sizes(state, selection)


def _growth_rates(response: LinearResponse, sensitivity: PositionSensitivity, selection: Selection) -> np.ndarray:
    """Return the relative change of every sensitivity per unit of its parameter as the particles move, shape (k,)."""
    rates, floors = [], _negligible(response.state, response.network, selection)
    box, state = sensitivity.box, response.state
    for k, value in enumerate(sensitivity.values):
        tangent = jax.tree.map(lambda leaf, k=k: leaf[k : k + 1], selection.tangents)
        moved, components = (value, np.zeros(0)) if box is None else (box.displacements[k], box.components[k])
        change = response.solve_joint(*(-np.asarray(part) for part in joint_drift(state, tangent, moved, components)))
        real = response.border.followed(*change[:2], np.asarray(state.position))
        rates.append(np.linalg.norm(real) / max(np.linalg.norm(value), floors[k]))
    return np.maximum(rates, np.finfo(float).tiny)


def compare_with_differences(
    response: LinearResponse, relaxation: Relaxation, sensitivity: PositionSensitivity, selection: Selection
) -> list[Difference]:
    """Re-relax from x* at p + h and p - h and compare the difference quotient with the sensitivity.

    Args:
        response: The factored Hessian.
        relaxation: The relaxed state x*; at constant pressure box and positions are relaxed again.
        sensitivity: dx/dp to check.
        selection: The entries it was computed for.

    Returns:
        One comparison per entry, at constant pressure of positions and box matrix together; a step across which the
        backbone network changes is retried a tenth as long, up to
        three times.
    """
    steps = step_size(response, relaxation, sensitivity, selection)
    return [_difference(response, relaxation, sensitivity, selection, k, float(step)) for k, step in enumerate(steps)]


def _difference(
    response: LinearResponse,
    relaxation: Relaxation,
    sensitivity: PositionSensitivity,
    selection: Selection,
    k: int,
    step: float,
) -> Difference:
    weights = np.zeros(len(selection.paths))
    weights[k] = 1.0
    direction, value, box = selection.combined(weights), sensitivity.values[k], sensitivity.box
    # a floppy system drifts on its way, and elsewhere its sensitivity is another: it starts where x(p + h) should be
    rate = value if response.zero_modes.floppy else None
    for _ in range(_TRIES):
        ends = [rerelaxed(relaxation, direction, sign * step, rate) for sign in (1, -1)]
        same = all(end.verdict is Verdict.CONVERGED and end.network.same_as(relaxation.network) for end in ends)
        if same:
            break
        step /= 10

    def quotient(of: Callable[[State], Array]) -> np.ndarray:
        above, below = (np.asarray(of(end.state)) for end in ends)
        return np.asarray((above - below) / (2 * step))

    held, floor = relaxation.network.backbone, _negligible(relaxation.state, relaxation.network, selection)[k]
    actual = response.without_zero_modes(quotient(lambda state: state.position))[held].ravel()
    expected = value[held].ravel()
    if box is not None:
        expected = response.without_zero_modes(value)[held].ravel()
        actual = np.concatenate([actual, quotient(lambda state: periodic_box(state).matrix).ravel()])
        expected = np.concatenate([expected, box.rates[k].ravel()])
    distance = np.linalg.norm(actual - expected) / max(np.linalg.norm(expected), floor)
    return Difference(selection.paths[k], step, float(distance), same, *_slopes(ends, step))


def _slopes(ends: Sequence[Relaxation], step: float) -> tuple[dict[str, float], dict[str, float]]:
    """Return difference quotients of energy and pressure, and what rounding leaves of them."""
    slopes, errors = {}, {}
    for name in ("energy", "pressure"):
        above, below = (float(getattr(end, name)) for end in ends)
        slopes[name] = (above - below) / (2 * step)
        errors[name] = _ROUNDING * max(abs(above), abs(below), _summed(ends[0], name)) / step
    force, size = max(end.max_force / end.force_unit for end in ends), abs(ends[0].pressure)
    errors["pressure"] += force * max(size, _summed(ends[0], "pressure")) / step
    return slopes, errors


def _summed(end: Relaxation, name: str) -> float:
    """Return how large the parts are that add up to a pressure and may cancel: an energy per volume; else nothing."""
    box = end.state.configuration.box
    if name != "pressure" or not (isinstance(box, PeriodicBox) and box.is_periodic):
        return 0.0
    return abs(float(end.energy) / float(box.volume))
