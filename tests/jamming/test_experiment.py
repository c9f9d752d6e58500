"""One member of the experiment: its slopes against differences, and what it records of a start it cannot answer."""

import dataclasses

import numpy as np
import pytest

from mdsens.jamming.experiment import start_member, sweep_member
from mdsens.relaxation import RelaxationSettings, relax
from mdsens.results import check
from potentials import soft_sphere
from systems import bidisperse

PATH = "soft_sphere.sigma[A]"
STEPS = [1, 5, 20]


def problem(**options):
    start = bidisperse.build(bidisperse.Options(**{"n_particles": 32, **options}))
    law = soft_sphere.build(soft_sphere.Options(), start.diameters, 2)
    return law, start.configuration


@pytest.fixture(scope="module")
def swept():
    law, configuration = problem()
    relaxation = relax(law, configuration)
    check(relaxation.verdict)
    return relaxation, sweep_member(law, configuration, RelaxationSettings(), PATH)


def energy_at(relaxation, theta, *, box_follows):
    """Relax again from x* with another diameter of A, scaled with a box at the same packing fraction or in the same."""
    law, configuration = problem(diameters=(theta, 1.0))
    before = relaxation.state.configuration
    box = configuration.box if box_follows else before.box
    position = before.position * (box.length / before.box.length)
    start = dataclasses.replace(configuration, position=position, box=box)
    moved = relax(law, start, RelaxationSettings(max_force=1e-13))
    check(moved.verdict)
    assert moved.network.same_as(relaxation.network)
    return moved.energy


@pytest.mark.parametrize(("name", "box_follows"), [("slope_total", True), ("slope_fixed_box", False)])
def test_slopes_are_those_of_re_relaxed_energies(swept, name, box_follows):
    relaxation, record = swept
    h = 1e-5  # truncation of order h^2 = 1e-10 times third derivatives; noise 1e-16 / h
    ends = [energy_at(relaxation, 0.6 + sign * h, box_follows=box_follows) for sign in (1, -1)]
    assert float(record[name]) == pytest.approx((ends[0] - ends[1]) / (2 * h), rel=1e-6)


def test_the_box_follows_at_constant_packing_fraction(swept):
    _, record = swept
    edges = [float(problem(diameters=(0.6 + sign * 1e-6, 1.0))[1].box.length) for sign in (1, -1)]
    assert float(record["box_rate"]) == pytest.approx((edges[0] - edges[1]) / 2e-6, rel=1e-8)


def test_a_start_is_judged_against_the_dense_reference():
    record = start_member(*problem(), RelaxationSettings(), PATH, STEPS)
    assert record["verdict"] == "converged"
    assert float(record["implicit_final_error"]) < 1e-9
    assert float(record["difference_error"]) < 1e-5
    assert float(record["certified_error"]) < 1e-9
    assert record["unrolled_error"].shape == record["implicit_l1"].shape == (3,)
    # after one step of FIRE the positions have hardly begun to follow
    assert float(record["unrolled_error"][0]) == pytest.approx(1.0, abs=0.1)
    assert float(record["reference_l1"]) == pytest.approx(np.abs(record["sensitivity"]).sum(), rel=1e-9)


def test_an_unjammed_start_is_recorded_with_its_verdict_and_nothing_else():
    unjammed = problem(packing_fraction=0.5)
    jammed = start_member(*problem(), RelaxationSettings(), PATH, STEPS)
    record = start_member(*unjammed, RelaxationSettings(), PATH, STEPS)
    assert record["verdict"] == "unjammed"
    numbers = ("energy", "reference_l1", "implicit_final_error", "difference_error", "sensitivity", "implicit_l1")
    assert all(np.isnan(record[name]).all() for name in numbers)
    assert np.isfinite(record["position"]).all()
    shapes = [{name: np.shape(entry) for name, entry in found.items()} for found in (record, jammed)]
    assert shapes[0] == shapes[1]  # so that the records stack
    swept = sweep_member(*unjammed, RelaxationSettings(), PATH)
    assert swept["verdict"] == "unjammed"
    assert all(np.isnan(swept[name]) for name in ("energy", "slope_total", "slope_fixed_box", "magnitude", "l1"))
