"""The stored packing of the seed experiment: a fixed witness against any change of solvers."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from mdsens.energy import forces, max_force
from mdsens.energy.parameters import PerSpecies, Uniform
from mdsens.energy.paths import select
from mdsens.hessian import hessian
from mdsens.io import read_configuration
from mdsens.linear import sparse_lu
from mdsens.relaxation import relax
from mdsens.response import linear_response
from mdsens.sensitivity import position_sensitivity
from potentials.soft_sphere import SoftSphere

DATA = Path(__file__).parents[2] / "data"


@pytest.fixture(scope="module")
def relaxation():
    """Start from the file; it is relaxed already."""
    configuration, _ = read_configuration(DATA / "seed_packing.npz")
    return relax(SoftSphere(PerSpecies([0.6, 1.0]), Uniform(1.0)), configuration)


@pytest.mark.validation
def test_the_stored_packing_is_a_minimum(relaxation):
    configuration, diameters = read_configuration(DATA / "seed_packing.npz")
    stored = relaxation.state.at(configuration.position, relaxation.state.parameters)
    assert float(max_force(forces(stored))) < 1e-12
    assert relaxation.energy == pytest.approx(0.5446481177641126, rel=1e-12)
    assert sorted(set(diameters)) == [0.6, 1.0]


@pytest.mark.validation
@pytest.mark.parametrize("solver", ["banded", "sparse"])
def test_its_sensitivity_is_the_stored_reference(relaxation, solver):
    response = linear_response(relaxation)
    if solver == "sparse":
        bare = dataclasses.replace(
            relaxation, factor=sparse_lu(hessian(relaxation.loaded, relaxation.network.backbone))
        )
        response = linear_response(bare)
    assert solver in response.method
    values = position_sensitivity(response, select(relaxation.state, ["soft_sphere.sigma[A]"])).values[0]
    reference = np.loadtxt(DATA / "seed_packing_d_position_d_sigma_A.csv", delimiter=",")
    assert np.linalg.norm(values - reference) < 1e-9 * np.linalg.norm(reference)
