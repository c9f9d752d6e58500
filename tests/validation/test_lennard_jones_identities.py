"""Derivatives of the fcc Lennard-Jones crystal at no pressure, which its units alone decide, box response included."""

import numpy as np
import pytest

from mdsens.energy.paths import select
from mdsens.observables import bulk_modulus, elastic_tensor, energy, modulus, shear_modulus_in_plane
from mdsens.pressure import relax_at_pressure
from mdsens.response import linear_response
from mdsens.results import check
from mdsens.sensitivity import observable_sensitivities, position_sensitivity
from potentials import lennard_jones
from systems import fcc

pytestmark = pytest.mark.validation

SIGMA, EPSILON = 1.2, 1.7
EDGE, ENERGY, C11, C12 = 1.546378969360933, -8.305026504316, 101.0533899, 57.2772009  # cut at 3 sigma, reduced units


@pytest.fixture(scope="module")
def response():
    start = fcc.build(fcc.Options(n_cells=(4, 4, 4), diameter=SIGMA, spacing=1.001 * EDGE * SIGMA / np.sqrt(2)))
    options = lennard_jones.Options(cutoff=3.0, truncation="cut", epsilon=EPSILON)
    law = lennard_jones.build(options, start.diameters, 1)
    found = relax_at_pressure(law, start.configuration, 0.0)
    check(found.verdict)
    return linear_response(found)


@pytest.fixture(scope="module")
def selection(response):
    return select(response.state, ["lennard_jones.sigma", "lennard_jones.epsilon"])


@pytest.fixture(scope="module")
def joint(response, selection):
    return position_sensitivity(response, selection)


def test_the_lattice_constant_is_a_length(response, joint):
    edge = float(response.state.configuration.box.volume) ** (1 / 3) / 4
    assert edge == pytest.approx(EDGE * SIGMA, rel=1e-11)
    slopes = joint.box.volumes[:2] / (3 * 4**3 * edge**2)
    assert slopes[0] == pytest.approx(edge / SIGMA, rel=1e-8)
    assert slopes[1] == pytest.approx(0.0, abs=1e-8 * edge / EPSILON)


@pytest.mark.slow
def test_energy_and_moduli_have_the_slopes_of_their_units(response, selection, joint):
    tensor = elastic_tensor(response.fixed)
    unit = np.eye(3)
    first, second = np.outer(unit[0], unit[0]), np.outer(unit[1], unit[1])
    observables = {
        "energy": energy,
        "bulk": bulk_modulus(tensor),
        "C44": shear_modulus_in_plane(tensor, 1, 2),
        "C11": modulus(tensor, first),
        "C12": modulus(tensor, first, second),
        "tetragonal": modulus(tensor, (first - second) / 2),
    }
    stiffness = {"bulk": (C11 + 2 * C12) / 3, "C44": C12, "C11": C11, "C12": C12, "tetragonal": (C11 - C12) / 2}
    expected = {"energy": 256 * ENERGY * EPSILON} | {k: v * EPSILON / SIGMA**3 for k, v in stiffness.items()}
    for found in observable_sensitivities(response, observables, selection, positions=joint):
        value, power = found.value, 0 if found.name == "energy" else -3
        assert value == pytest.approx(expected[found.name], rel=1e-8)
        assert found.values[0] == pytest.approx(power * value / SIGMA, rel=1e-8, abs=1e-8 * abs(value) / SIGMA)
        assert found.values[1] == pytest.approx(value / EPSILON, rel=1e-8)
