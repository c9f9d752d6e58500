"""How far numbers of a relaxed state may differ when computed again: their own errors, by place in the file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mdsens import io
from mdsens.sensitivity import BoxResponse, PositionSensitivity

Errors = dict[str, np.ndarray | float]

SOFTEST = "analyses/spectrum/softest_mode"
_CLEAR = 1e-6  # of the largest eigenvalue: nearer ones have modes without a direction of their own
_ROUNDING = 1e-13
_POSITION = 1e-11  # of a position relaxed again, units of length
_BISECTED = 1e-7  # of a step found by bisection


def own_errors(answer: io.Run) -> Errors:
    """Return the errors of derivatives as they are estimated now, and of what is made of them."""
    errors: Errors = {}
    positions = answer.positions
    for name, error in zip(io.sensitivity_names(positions.paths), positions.certificate.error, strict=True):
        errors[f"particles/trajectory/{name}/value"] = float(error)
    if positions.paths:
        errors["sensitivity/jacobian"] = np.asarray(positions.certificate.error)[:, None, None]
    if positions.box is not None:
        errors |= _box_errors(positions, positions.box)
    for record in answer.observables:
        for path, error in zip(record.paths, record.certificate.error, strict=True):
            errors[f"sensitivity/{record.name}/{path.replace('/', '|')}"] = float(error)
        scale = np.abs(record.values * record.parameter_values).sum()
        errors[f"sensitivity/{record.name}@value"] = io.ROUNDING * float(scale)
    if "independence" in answer.analyses:
        errors |= _independence_errors(answer.analyses["independence"])
    if "validity" in answer.analyses:
        errors |= _validity_errors(answer.analyses["validity"])
    if "spectrum" in answer.analyses:
        gap, largest = _gap(answer.analyses["spectrum"])
        errors[SOFTEST] = _ROUNDING * largest / max(gap, _ROUNDING * largest)
    return errors


def without_direction(answer: io.Run) -> dict[str, str]:
    """Return why the softest mode cannot be compared, where another is as soft."""
    if "spectrum" not in answer.analyses:
        return {}
    gap, largest = _gap(answer.analyses["spectrum"])
    reason = "modes as soft as one another have no directions of their own"
    return {} if gap > _CLEAR * largest else {rf"{SOFTEST}|analyses/spectrum/participation_ratios": reason}


def _gap(spectrum: Mapping[str, Any]) -> tuple[float, float]:
    """Return by how much the softest eigenvalue differs from the next, and the largest."""
    values = np.append(np.asarray(spectrum["eigenvalues"]), np.inf)
    return float(values[1] - values[0]), float(np.abs(values[:-1]).max())


def _box_errors(positions: PositionSensitivity, box: BoxResponse) -> Errors:
    """Return the errors of displacements, strains and volumes from those of the positions."""
    error = np.asarray(positions.certificate.error)
    size = np.maximum(np.linalg.norm(positions.values.reshape(len(error), -1), axis=1), np.finfo(float).tiny)
    relative = (error / size)[:, None, None]
    return {
        "pressure/displacements": error[:, None, None],
        "pressure/strain_rates": relative * np.abs(box.strains).max(axis=(1, 2), keepdims=True),
        "pressure/volume_rates": relative[:, 0, 0] * np.abs(box.volumes),
    }


def _independence_errors(table: Mapping[str, Any]) -> Errors:
    """Return errors of relative derivatives from those of derivatives, and of directions by perturbation theory."""
    place, noise, singular = "analyses/independence/", float(table["noise"]), np.asarray(table["singular_values"])
    gaps = np.abs(singular[:, None] - singular) + np.diag(np.full(len(singular), np.inf))
    direction = noise / np.maximum(np.minimum(gaps.min(axis=1), singular), np.finfo(float).tiny)
    return {
        f"{place}jacobian": np.asarray(table["error"]),
        f"{place}relative": noise,
        f"{place}singular_values": noise,
        f"{place}observable_directions": direction[None, :],
        f"{place}parameter_directions": direction[:, None],
        f"{place}independent": noise / max(float(singular.min()), np.finfo(float).tiny),
    }


def _validity_errors(table: Mapping[str, Any]) -> Errors:
    """Return errors of what relaxing again shows."""
    place, steps = "analyses/validity/", ("observed_change", "predicted_change")
    errors: Errors = {f"{place}{name}": _BISECTED * np.abs(np.nan_to_num(np.asarray(table[name]))) for name in steps}
    return errors | {f"{place}{name}": _POSITION for name in ("position_error", "displacement")}
