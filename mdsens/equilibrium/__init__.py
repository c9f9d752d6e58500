"""Thermal equilibrium at fixed volume: states sampled by jax-md's thermostats, averages and their derivatives."""

from mdsens.equilibrium.autocorrelation import Estimate, block_errors, estimate
from mdsens.equilibrium.averages import averages, contributions, influence
from mdsens.equilibrium.observables import (
    Observable,
    Tail,
    TailedEnergy,
    ThermalPressure,
    sampled_energy,
    thermal_observable,
)
from mdsens.equilibrium.samples import (
    Averages,
    Equilibration,
    Samples,
    ThermalSettings,
    check_equilibration,
    joined,
    restored,
)
from mdsens.equilibrium.sampling import n_segments, replica_keys, sample, without_overlaps
from mdsens.equilibrium.tables import thermal_tables

__all__ = [
    "Averages",
    "Equilibration",
    "Estimate",
    "Observable",
    "Samples",
    "Tail",
    "TailedEnergy",
    "ThermalPressure",
    "ThermalSettings",
    "averages",
    "block_errors",
    "check_equilibration",
    "contributions",
    "estimate",
    "influence",
    "joined",
    "n_segments",
    "replica_keys",
    "restored",
    "sample",
    "sampled_energy",
    "thermal_observable",
    "thermal_tables",
    "without_overlaps",
]
