"""Predicted changes of contacts and predicted energies and structures against states relaxed again."""

import dataclasses
import functools

import jax.numpy as jnp
import numpy as np
import pytest

from mdsens.contacts import Network
from mdsens.energy.paths import select
from mdsens.errors import UserError
from mdsens.pressure import relax_at_pressure
from mdsens.relaxation import PressureSettings, RelaxationSettings, relax
from mdsens.response import linear_response
from mdsens.results import Verdict, check
from mdsens.sensitivity import position_sensitivity
from mdsens.types import PeriodicBox
from mdsens.validity import (
    compare,
    contact_changes,
    follower,
    observed_change,
    predict,
    steps_around,
)
from mdsens.validity.stepping import Point
from potentials import lennard_jones, soft_sphere
from systems import bidisperse, cluster, fcc

PATHS = ("soft_sphere.sigma[A]", "box.length", "box.strain[0,1]")


@functools.cache
def packing():
    start = bidisperse.build(bidisperse.Options(n_particles=64, seed=1))
    law = soft_sphere.build(soft_sphere.Options(), start.diameters, 2)
    found = relax(law, start.configuration, RelaxationSettings(max_force=1e-13))
    check(found.verdict)
    return found


@functools.cache
def predictions():
    relaxation = packing()
    response = linear_response(relaxation)
    selection = select(relaxation.state, PATHS)
    positions = position_sensitivity(response, selection)
    return selection, predict(relaxation.state, response, selection, positions)


@functools.cache
def at_pressure():
    start = bidisperse.build(bidisperse.Options(n_particles=64, packing_fraction=0.95, seed=1))
    law = soft_sphere.build(soft_sphere.Options(), start.diameters, 2)
    settings = PressureSettings(box="triclinic", relaxation=RelaxationSettings(max_force=1e-13))
    found = relax_at_pressure(law, start.configuration, 0.05, settings)
    check(found.verdict)
    selection, response = select(found.state, ["soft_sphere.sigma[A]"]), linear_response(found)
    return found, selection, predict(found.state, response, selection, position_sensitivity(response, selection))


def checked(prediction, network, at):
    """Check a prediction at a hundredth and a tenth of its radius."""
    radius = prediction.changes.radius
    steps = radius * np.array([-0.1, -0.01, 0.01, 0.1])
    found = compare(prediction, network, at, steps)
    assert found.same_contacts.all()
    beyond = found.energy - prediction.energy - steps * prediction.slope
    error = np.abs(found.energy - found.predicted_energy)
    # what is left is of third order: a hundredth of a hundredth, up to rounding
    rounding = 1e-15 * abs(prediction.energy)
    assert (error <= 0.02 * np.abs(beyond) + rounding).all()
    missed = found.position_error / found.displacement
    assert missed[[0, 3]].max() < 0.05
    np.testing.assert_allclose(missed[[1, 2]] / missed[[0, 3]], 0.1, rtol=0.1)  # first order in the step


def _distance(point, pair):
    """Return the distance of the nearest images of a pair."""
    i, j = pair
    apart = PeriodicBox(point.box).displacement(jnp.asarray(point.position[i] - point.position[j]))
    return float(np.linalg.norm(np.asarray(apart)))


@pytest.mark.parametrize("k", range(len(PATHS)))
def test_predictions_hold_inside_the_radius(k):
    selection, found = predictions()
    at = follower(packing(), selection.combined(np.eye(len(PATHS))[k]), found[k])
    checked(found[k], packing().network, at)


@pytest.mark.parametrize("k", [0, 1])
def test_the_first_change_is_found_where_it_is_predicted(k):
    selection, found = predictions()
    at = follower(packing(), selection.combined(np.eye(len(PATHS))[k]), found[k])
    for sign, change in ((1, found[k].changes.up), (-1, found[k].changes.down)):
        seen = observed_change(packing().network, at, sign * change.step)
        assert sign * seen.step == pytest.approx(change.step, rel=0.3)
        if k == 0 and change.step == found[k].changes.radius:
            assert sign * seen.step == pytest.approx(change.step, rel=0.05)
            assert seen.words == str(change)


def network(pairs, n_held, n=5):
    i, j = np.array(pairs).reshape(-1, 2).T
    return Network(i, j, np.zeros((2, len(i)), int), np.arange(n) < n_held, one_sided=False)


@pytest.mark.parametrize(
    ("after", "words"),
    [
        (network([(0, 1), (1, 2)], 4), "contact 0-2 opens"),
        (network([(0, 1), (1, 2), (0, 2), (1, 3)], 4), "contact 1-3 closes"),
        (network([(0, 1), (1, 2), (0, 2), (3, 4)], 5), "rattler 4 is caught"),
        (network([(0, 1), (1, 2), (0, 2)], 3), "particle 3 comes loose"),
    ],
)
def test_what_changed_is_said(after, words):
    before = network([(0, 1), (1, 2), (0, 2)], 4)
    point = Point(Verdict.CONVERGED, 0.0, np.zeros((5, 2)), np.eye(2), after)
    at = lambda step: dataclasses.replace(point, network=before if step < 1.5 else after)  # noqa: E731
    found = observed_change(before, at, 1.0)
    assert found.words == words
    assert found.step == pytest.approx(1.5, rel=1e-3)
    assert np.isnan(observed_change(before, lambda step: dataclasses.replace(point, network=before), 1.0).step)


def test_predictions_hold_at_constant_pressure_in_parameter_and_pressure():
    found, selection, predicted = at_pressure()
    assert [prediction.path for prediction in predicted] == ["soft_sphere.sigma[A]", "pressure"]
    assert predicted[1].slope == pytest.approx(found.box.volumes[-1], rel=1e-12)  # dH/dP = V
    for k, prediction in enumerate(predicted):
        at = follower(found, selection.combined(np.eye(2)[k]), prediction)
        checked(prediction, found.network, at)
        change = min(prediction.changes.up, prediction.changes.down, key=lambda c: c.step)
        sign = 1 if change is prediction.changes.up else -1
        seen = observed_change(found.network, at, sign * change.step).step
        assert sign * seen == pytest.approx(change.step, rel=0.15)
        # what is left is curvature: a thousandth of the way the gap has closed by a thousandth of itself
        start, near = (_distance(at(part * sign * change.step), change.pair) for part in (0.0, 1e-3))
        diameters = np.asarray(found.state.potential.sigma.values)
        species = np.asarray(found.state.configuration.species)[list(change.pair)]
        grown = 1e-3 * sign * change.step * (1 - k) * np.mean(species == 0)  # of the mean diameter, which is A's
        length = np.mean(diameters[species])
        gap = 1 - start / length
        assert near / (length + grown) - start / length == pytest.approx(1e-3 * gap, rel=2e-3)


def test_a_smooth_law_has_no_kink_and_needs_a_unit_of_steps():
    start = cluster.build(cluster.Options(shape="random", n_particles=8, seed=1))
    law = lennard_jones.build(lennard_jones.Options(onset=8.0, cutoff=9.0), start.diameters, 1)
    relaxation = relax(law, start.configuration)
    response, selection = linear_response(relaxation), select(relaxation.state, ["lennard_jones.sigma[A]"])
    positions = position_sensitivity(response, selection)
    prediction = predict(relaxation.state, response, selection, positions)[0]
    assert prediction.changes.radius == np.inf
    assert str(prediction.changes.up) == "no contact changes"
    with pytest.raises(UserError, match="the law has no kink"):
        steps_around(prediction, 3, 0.1, 1.0)
    assert len(steps_around(prediction, 3, 0.1, 1.0, unit=0.01)) == 6
    # asked for its cutoff, a kink is found all the same
    changes = contact_changes(relaxation.state, relaxation.network, positions.values, selection.tangents, (1.5,))
    assert np.isfinite(changes[0].radius) == bool(np.isfinite(changes[0].up.step) or np.isfinite(changes[0].down.step))


def test_where_a_cut_law_jumps_is_a_kink_like_any_other():
    start = fcc.build(fcc.Options(n_cells=(3, 3, 3), spacing=1.0955, vacancies=(5,)))
    law = lennard_jones.build(lennard_jones.Options(cutoff=1.9, truncation="cut"), start.diameters, 1)
    assert law.kinks == (1.9,)
    relaxation = relax(law, start.configuration)
    check(relaxation.verdict)
    response, selection = linear_response(relaxation), select(relaxation.state, ["box.length"])
    positions = position_sensitivity(response, selection)
    prediction = predict(relaxation.state, response, selection, positions)[0]
    change = prediction.changes.up
    assert (change.kink, change.closes) == (1.9, False)
    at = follower(relaxation, selection.combined(np.ones(1)), prediction)
    seen = observed_change(relaxation.network, at, change.step)
    assert seen.step == pytest.approx(change.step, rel=0.02)
