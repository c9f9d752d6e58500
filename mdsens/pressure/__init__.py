"""States at constant pressure: box and positions relaxed together, and their joint derivatives."""

from mdsens.pressure.freedom import free_strains
from mdsens.pressure.records import JointCertificate, JointSensitivity, PressureObservable
from mdsens.pressure.relaxation import PressureRelaxation, PressureSettings, relax_at_pressure
from mdsens.pressure.sensitivity import (
    joint_sensitivity,
    observable_at_pressure,
    pressure_response,
)

__all__ = [
    "JointCertificate",
    "JointSensitivity",
    "PressureObservable",
    "PressureRelaxation",
    "PressureSettings",
    "free_strains",
    "joint_sensitivity",
    "observable_at_pressure",
    "pressure_response",
    "relax_at_pressure",
]
