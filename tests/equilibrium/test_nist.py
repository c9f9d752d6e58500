"""The Lennard-Jones fluid that NIST has published, cut at 3 sigma with long-range corrections.

Source: NIST Standard Reference Simulation Website, doi:10.18434/T4M88Q.
"""

import numpy as np
import pytest

from mdsens.energy import State
from mdsens.energy.parameters import PerSpecies
from mdsens.energy.paths import select
from mdsens.equilibrium import (
    Equilibration,
    Tail,
    ThermalSettings,
    averages,
    replica_keys,
    sample,
    thermal_observable,
)
from potentials.lennard_jones import LennardJones
from potentials.lennard_jones_tail import tail_energy, tail_pressure
from systems import fcc

DENSITY = 0.776
COLD, WARM = (0.85, -5.5121, 6.7714e-3), (0.90, -5.4689, 0.24056)  # T, U/N, p
REFERENCE_ERRORS = np.array([4e-4, 0.0])  # as published; that of p is small beside ours


def sampled(temperature, seed):
    start = fcc.build(fcc.Options(n_cells=(4, 4, 4), spacing=2 ** (1 / 6) * DENSITY ** (-1 / 3)))
    law = LennardJones(PerSpecies([1.0]), cutoff=3.0, truncation="cut")
    state = State.unlisted(start.configuration, law)
    tail = Tail(tail_energy, tail_pressure)
    observables = {name: thermal_observable(name, temperature, tail) for name in ("energy_per_particle", "pressure")}
    settings = ThermalSettings(
        temperature=temperature, n_samples=320, n_equilibration=80, sample_every=20, friction=2.0, skin=0.12
    )
    return averages(sample(state, observables, select(state), settings, replica_keys(seed, range(4))))


@pytest.mark.slow
@pytest.mark.validation
def test_energy_pressure_and_their_derivatives_are_those_of_nist():
    temperature, *reference = COLD
    found = sampled(temperature, 0)
    assert found.verdict is Equilibration.EQUILIBRATED
    assert found.error[0] < 0.005
    assert np.all(np.abs(found.mean - reference) < 3 * np.hypot(found.error, REFERENCE_ERRORS))
    # U = eps u(T/eps), so dU/deps = u - T du/dT, about -6.25 at T = 0.875; dp/dsigma = 3 (rho dp/drho - p), about 24
    slope = (WARM[1] - COLD[1]) / (WARM[0] - COLD[0])
    middle = 0.5 * (WARM[1] + COLD[1]) - 0.5 * (WARM[0] + COLD[0]) * slope
    epsilon, sigma = (found.paths.index(f"lennard_jones.{name}") for name in ("epsilon", "sigma[A]"))
    assert abs(found.slope[0, epsilon] - middle) < 3 * found.slope_error[0, epsilon]
    assert abs(found.slope[1, sigma] - 24.0) < 3 * found.slope_error[1, sigma]
    # the same states measured in other units: d(U/N)/dsigma = 3 rho d(U/N)/drho = 3 (p - T dp/dT)/rho
    pressure_slope = (WARM[2] - COLD[2]) / (WARM[0] - COLD[0])
    by_density = 3 * (COLD[2] - temperature * pressure_slope) / DENSITY
    assert abs(found.slope[0, sigma] - by_density) < 3 * found.slope_error[0, sigma]
