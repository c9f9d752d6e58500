"""Systems that are periodic along some axes only: strips and slabs of Lennard-Jones particles, their surfaces free."""

import jax.numpy as jnp
import numpy as np
import pytest

from mdsens.energy.paths import select
from mdsens.errors import UserError
from mdsens.observables import energy
from mdsens.pressure import relax_at_pressure, rerelaxed
from mdsens.relaxation import relax
from mdsens.response import linear_response
from mdsens.results import Verdict
from mdsens.sensitivity import observable_sensitivity, position_sensitivity
from mdsens.types import Configuration, PeriodicBox
from potentials.lennard_jones import LennardJones

LAW = LennardJones(1.0, onset=1.6, cutoff=2.0)
PATHS = ["lennard_jones.sigma", "lennard_jones.epsilon", "box.strain[0,0]", "box.matrix[0,0]"]


def strip(n_columns=6, n_rows=5, periodic=True):
    """Return a strip of the hexagonal crystal, rows along x: periodic along them, or in both directions."""
    spacing, height = 1.11, 1.11 * np.sqrt(3) / 2
    rows, columns = (index.ravel() for index in np.indices((n_rows, n_columns)))
    position = np.stack([(columns + 0.5 * (rows % 2)) * spacing, rows * height], axis=1)
    box = PeriodicBox(np.diag([n_columns * spacing, n_rows * height if periodic else 1.0]), (True, periodic))
    return Configuration(jnp.asarray(position), jnp.zeros(len(position), int), box)


@pytest.fixture(scope="module")
def relaxation():
    found = relax(LAW, strip(periodic=False))
    assert found.verdict is Verdict.CONVERGED
    return found


def test_a_strip_has_two_translations_and_no_pressure(relaxation):
    modes = linear_response(relaxation).zero_modes
    assert (modes.translations, modes.rotations, modes.floppy) == (2, 0, 0)
    assert np.isnan(relaxation.pressure)


def test_a_surface_costs_energy_and_draws_the_outer_rows_away(relaxation):
    bulk = relax(LAW, strip(n_rows=4))
    excess = relaxation.energy - bulk.energy * 30 / 24
    assert 0.3 < excess / (2 * 6 * 1.11) < 3.0  # epsilon/sigma: about a bond and a half per particle of an edge
    height = np.unique(np.round(np.asarray(relaxation.state.position)[:, 1], 9))
    gaps = np.diff(height)
    assert len(gaps) == 4
    np.testing.assert_allclose(gaps[0], gaps[-1], atol=1e-8)
    assert abs(gaps[0] - gaps[1]) > 1e-4


def test_derivatives_of_the_surface_energy_are_differences_of_re_relaxed_strips(relaxation):
    response, selection = linear_response(relaxation), select(relaxation.state, PATHS)
    found = observable_sensitivity(response, energy, selection)
    moved = position_sensitivity(response, selection)
    h = 1e-5
    for k in range(len(PATHS)):
        direction = selection.part(slice(k, k + 1)).combined(np.ones(1))
        ends = [rerelaxed(relaxation, direction, sign * h) for sign in (1, -1)]
        difference = (ends[0].energy - ends[1].energy) / (2 * h)
        assert found.values[k] == pytest.approx(difference, rel=1e-6, abs=1e-8)
        rate = np.asarray(ends[0].state.position - ends[1].state.position) / (2 * h)
        rate -= rate.mean(axis=0)
        np.testing.assert_allclose(moved.values[k], rate, atol=1e-6 * max(np.abs(rate).max(), 1e-3))


def test_the_unit_of_length_scales_a_strip(relaxation):
    # sigma dE/dsigma + L dE/dL = 0: the height of the box means nothing
    response = linear_response(relaxation)
    found = observable_sensitivity(response, energy, select(relaxation.state, PATHS[:1] + PATHS[3:]))
    width = float(relaxation.state.configuration.box.matrix[0, 0])
    assert found.values[0] + width * found.values[1] == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("path", ["box.length", "box.strain[1,1]", "box.matrix[1,1]", "box.strain[0,1]"])
def test_along_a_free_axis_there_is_no_parameter(relaxation, path):
    with pytest.raises(UserError, match="there is no parameter"):
        select(relaxation.state, [path])


def test_constant_pressure_is_refused_by_name():
    with pytest.raises(UserError, match="periodic along axis 0 only and has no volume"):
        relax_at_pressure(LAW, strip(periodic=False), 0.0)


def test_particles_may_leave_the_box_along_a_free_axis(relaxation):
    start = strip(periodic=False)
    away = Configuration(start.position + jnp.array([0.0, 1234.5]), start.species, start.box)
    assert relax(LAW, away).energy == pytest.approx(relaxation.energy, rel=1e-12)


@pytest.mark.parametrize("periodic", [(False, False), (True,), (True, True, False)])
def test_a_box_says_along_which_axes_it_is_periodic(periodic):
    with pytest.raises(ValueError, match="truth values"):
        PeriodicBox(np.eye(2), periodic)
