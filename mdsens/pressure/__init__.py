"""States at constant pressure: box and positions relaxed together, and their joint derivatives."""

from mdsens.pressure.freedom import free_strains
from mdsens.pressure.records import JointSensitivity, box_rates, joint_tangents
from mdsens.pressure.relaxation import (
    PressureRelaxation,
    PressureSettings,
    relax_at_pressure,
    rerelaxed_at_pressure,
    taken_as_relaxed_at_pressure,
)
from mdsens.pressure.sensitivity import (
    joint_sensitivity,
    observable_at_pressure,
    observables_at_pressure,
    pressure_response,
)

__all__ = [
    "JointSensitivity",
    "PressureRelaxation",
    "PressureSettings",
    "box_rates",
    "free_strains",
    "joint_sensitivity",
    "joint_tangents",
    "observable_at_pressure",
    "observables_at_pressure",
    "pressure_response",
    "relax_at_pressure",
    "rerelaxed_at_pressure",
    "taken_as_relaxed_at_pressure",
]
