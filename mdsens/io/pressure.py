"""What a state relaxed at constant pressure has besides: its pressure, the way of its box, and the box's response."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from mdsens.io.hdf5 import write_attributes
from mdsens.io.reading import attributes, child, numbers
from mdsens.relaxation import BoxRelaxation
from mdsens.sensitivity import BoxResponse

_GROUP = "pressure"


@dataclasses.dataclass(frozen=True)
class StoredPressure:
    """A relaxation at constant pressure as its file has it.

    Attributes:
        value: The pressure asked for, units of energy per volume.
        stress_error: Largest deviation of the stress from it along a free strain, units of energy per volume.
        enthalpy: U + P V, units of energy.
        strains: Free strains of the box, shape (s, d, d).
        volumes: Volume after every step of the box, the start first.
        stress_errors: ``stress_error`` at the same states.
        strain_rates: Strain of the box per unit of every parameter, shape (k, d, d); k = 0 without sensitivities.
        volume_rates: dV/dp, shape (k,).
        displacements: What particles move beyond following the box, shape (k, n, d).
    """

    value: float
    stress_error: float
    enthalpy: float
    strains: np.ndarray
    volumes: np.ndarray
    stress_errors: np.ndarray
    strain_rates: np.ndarray
    volume_rates: np.ndarray
    displacements: np.ndarray


def write_pressure(
    file: Any, pressure: float, strains: np.ndarray, found: BoxRelaxation, box: BoxResponse | None
) -> None:
    """Store the group ``/pressure``."""
    group = file.create_group(_GROUP)
    write_attributes(group, {"value": pressure, "stress_error": found.stress_error, "enthalpy": found.enthalpy})
    group["strains"] = strains
    group["volumes"], group["stress_errors"] = found.volumes, found.stress_errors
    if box is not None:
        group["strain_rates"], group["volume_rates"] = box.strains, box.volumes
        group["displacements"] = box.displacements


def read_pressure(file: Any, shape: tuple[int, int]) -> StoredPressure | None:
    """Read it for positions of the given shape; None for a state at fixed box."""
    if _GROUP not in file:
        return None
    group, d = child(file, _GROUP), shape[1]
    k = len(numbers(group, "volume_rates", (None,))) if "volume_rates" in group else 0
    rates = {"strain_rates": (k, d, d), "volume_rates": (k,), "displacements": (k, *shape)}
    arrays: dict[str, Any] = {
        name: numbers(group, name, size, finite=True) if k else np.zeros(size) for name, size in rates.items()
    }
    volumes = numbers(group, "volumes", (None,))
    return StoredPressure(
        **attributes(group, dict.fromkeys(("value", "stress_error", "enthalpy"), ("f", ()))),
        strains=numbers(group, "strains", (None, d, d), finite=True),
        volumes=volumes,
        stress_errors=numbers(group, "stress_errors", (len(volumes),)),
        **arrays,
    )
