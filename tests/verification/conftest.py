"""A few small packings with their responses, relaxed once."""

from __future__ import annotations

import dataclasses

import pytest

from mdsens.energy.paths import Selection, select
from mdsens.relaxation import Relaxation, relax
from mdsens.response import LinearResponse, linear_response
from mdsens.results import check
from mdsens.sensitivity import PositionSensitivity, position_sensitivity
from potentials import soft_sphere
from systems import bidisperse


@dataclasses.dataclass(frozen=True)
class Case:
    """One relaxed packing and what verification asks for."""

    relaxation: Relaxation
    response: LinearResponse
    selection: Selection
    sensitivity: PositionSensitivity


CASES = {
    "2D with rattlers": ({"n_particles": 32, "packing_fraction": 0.86, "seed": 2}, {}),
    "3D Hertzian with rattlers": (
        {"n_particles": 32, "dimension": 3, "packing_fraction": 0.68, "seed": 4},
        {"alpha": 2.5},
    ),
}
PATHS = ("soft_sphere.sigma[A]", "box.matrix[0,1]")


@pytest.fixture(scope="session", params=CASES.values(), ids=CASES)
def case(request) -> Case:
    system, potential = request.param
    start = bidisperse.build(bidisperse.Options(**system))
    law = soft_sphere.build(soft_sphere.Options(**potential), start.diameters, 2)
    relaxation = relax(law, start.configuration)
    check(relaxation.verdict)
    response, selection = linear_response(relaxation), select(relaxation.state, PATHS)
    return Case(relaxation, response, selection, position_sensitivity(response, selection))


@pytest.fixture(scope="session")
def planar() -> Case:
    """A packing of discs without rattlers, and one parameter."""
    start = bidisperse.build(bidisperse.Options(n_particles=32, seed=0))
    law = soft_sphere.build(soft_sphere.Options(), start.diameters, 2)
    relaxation = relax(law, start.configuration)
    response, selection = linear_response(relaxation), select(relaxation.state, PATHS[:1])
    return Case(relaxation, response, selection, position_sensitivity(response, selection))
