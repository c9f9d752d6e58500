"""Derivatives that are exactly zero: zero within their error, which is neither too small nor inflated."""

import jax.numpy as jnp
import numpy as np
import pytest

from mdsens.energy import energy
from mdsens.energy.paths import select
from mdsens.pressure import relax_at_pressure
from mdsens.response import linear_response
from mdsens.sensitivity import observable_sensitivity, position_sensitivity
from mdsens.sensitivity.certified import relative
from mdsens.types import Configuration, PeriodicBox
from potentials import lennard_jones

CORNERS = np.array([[0, 0, 0], [0, 1, 1], [1, 0, 1], [1, 1, 0]]) / 2
PATHS = ["lennard_jones.sigma", "lennard_jones.epsilon", "box.length"]


@pytest.fixture(scope="module")
def crystal():
    """Return an fcc crystal of 32 atoms at no pressure."""
    cells = np.stack(np.meshgrid(*[np.arange(2)] * 3, indexing="ij"), axis=-1).reshape(-1, 1, 3)
    start = Configuration(
        jnp.asarray(1.55 * (cells + CORNERS).reshape(-1, 3)), jnp.zeros(32, int), PeriodicBox.cubic(3.1, 3)
    )
    return relax_at_pressure(lennard_jones.LennardJones(1.0), start, 0.0)


@pytest.mark.parametrize("way", ["adjoint", "forward"])
def test_the_energy_of_a_crystal_without_pressure_ignores_its_length(crystal, way):
    response, selection = linear_response(crystal.fixed), select(crystal.fixed.state, PATHS)
    positions = position_sensitivity(response, selection) if way == "forward" else None
    found = observable_sensitivity(response, energy, selection, positions=positions)
    assert found.way == way
    height = float(crystal.energy)
    errors = found.certificate.error
    for k in (0, 2):
        assert abs(found.values[k]) < errors[k] < 1e-13 * abs(height)
    assert np.isnan(found.certificate.relative_error[[0, 2]]).all()
    assert found.values[1] == pytest.approx(height, rel=1e-14)
    assert found.certificate.relative_error[1] < 1e-14


def test_at_constant_pressure_too(crystal):
    response, selection = linear_response(crystal), select(crystal.state, PATHS[:2])
    for positions in (None, position_sensitivity(response, selection)):
        found = observable_sensitivity(response, energy, selection, positions=positions)
        assert abs(found.values[0]) < found.certificate.error[0] < 2e-13 * abs(crystal.energy)
        assert np.isnan(found.certificate.relative_error[0])
        assert found.certificate.relative_error[1] < 1e-14


def test_positions_on_lattice_sites_ignore_both_parameters(crystal):
    response, selection = linear_response(crystal.fixed), select(crystal.fixed.state, PATHS[:2])
    found = position_sensitivity(response, selection)
    assert (np.linalg.norm(found.values, axis=(1, 2)) < found.certificate.error).all()
    assert (found.certificate.error < 1e-12).all()
    assert np.isnan(found.certificate.relative_error).all()


def test_zero_within_its_error_has_no_relative_error():
    found = relative(np.array([1e-13, 1e-13, 0.0]), np.array([1.0, 1e-14, 0.0]))
    np.testing.assert_array_equal(found, [1e-13, np.nan, np.nan])
