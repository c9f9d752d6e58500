"""Fits to structures whose box relaxes, too: positions and edges of the box together."""

import jax.numpy as jnp
import numpy as np
import pytest

from mdsens.energy.parameters import PerPair, PerSpecies, Uniform
from mdsens.errors import UserError
from mdsens.fitting import Outcome, Target, descend, fit_positions, match_forces, perturbed
from mdsens.fitting.target import linearised, linearised_at_target, relaxed_at
from mdsens.pressure import relax_at_pressure
from mdsens.relaxation import PressureSettings
from mdsens.results import Verdict
from potentials.lennard_jones import LennardJones
from potentials.soft_sphere import SoftSphere
from systems import bidisperse, fcc

PRESSURE = 0.05


def exact(box, patterns=None):
    """Return a target of 24 discs at a pressure, in a box of some shape, whose starting parameters are the answer."""
    start = bidisperse.build(bidisperse.Options(n_particles=24, packing_fraction=1.0, seed=2))
    law, settings = SoftSphere(PerSpecies(start.diameters), PerPair([1.0, 1.2, 0.8])), PressureSettings(box=box)
    found = relax_at_pressure(law, start.configuration, PRESSURE, settings)
    assert found.verdict is Verdict.CONVERGED
    return Target(found.state.configuration, law, patterns, settings, PRESSURE)


@pytest.fixture(scope="module", params=["isotropic", "triclinic"])
def truth(request):
    return exact(request.param)


def test_every_parameter_is_recovered_for_the_pressure_sets_the_energy_scale(truth):
    near = perturbed(truth, 0.01, 3)
    fit = fit_positions(near)
    assert fit.outcome is Outcome.CONVERGED
    assert not fit.identified.words
    np.testing.assert_allclose(fit.values, truth.selection.values, rtol=1e-9)


def test_the_pressure_can_be_fitted_where_energies_are_known():
    truth = exact("isotropic", ("soft_sphere.sigma", "pressure"))
    fit = fit_positions(perturbed(truth, 0.01, 3))
    assert fit.outcome is Outcome.CONVERGED
    assert fit.paths[-1] == "pressure"
    np.testing.assert_allclose(fit.values, truth.selection.values, rtol=1e-9)


def test_the_jacobian_is_a_difference_of_re_relaxed_deviations(truth):
    near = perturbed(truth, 0.003, 1)
    logarithms = np.log(near.selection.values)
    jacobian = linearised(near, relaxed_at(near, logarithms, near.configuration)).jacobian
    for k in (0, 2):
        step = np.zeros(len(logarithms))
        step[k] = 1e-6
        ends = [relaxed_at(near, logarithms + sign * step, near.configuration).deviation for sign in (1, -1)]
        expected = (ends[0] - ends[1]) / 2e-6
        np.testing.assert_allclose(jacobian[:, k], expected, atol=1e-6 * np.abs(expected).max())


def test_at_the_target_the_minimum_is_predicted_to_first_order(truth):
    misses = []
    for size in (1e-4, 5e-5):
        off = perturbed(truth, size, 5)
        logarithms = np.log(off.selection.values)
        found = relaxed_at(off, logarithms, off.configuration).deviation
        predicted = linearised_at_target(off, logarithms)
        misses.append(np.linalg.norm(predicted.displacement - found) / np.linalg.norm(found))
        assert misses[-1] < 0.05
    assert misses[1] < 0.7 * misses[0]


def test_matched_forces_and_stresses_give_every_parameter(truth):
    matched = match_forces(perturbed(truth, 0.03, 2))
    np.testing.assert_allclose(matched, truth.selection.values, rtol=1e-6)


def test_descent_lowers_the_loss():
    steps = descend(perturbed(exact("isotropic"), 0.005, 3))
    assert steps[-1].loss < 0.7 * steps[0].loss


def test_a_lattice_constant_gives_a_length():
    law = LennardJones(1.0, onset=1.6, cutoff=2.0)
    settings = PressureSettings()
    start = fcc.build(fcc.Options(n_cells=(1, 1, 1), spacing=1.1)).configuration
    wanted = relax_at_pressure(law, start, 0.0, settings).state.configuration
    off = LennardJones(Uniform(jnp.array(1.01)), onset=1.6, cutoff=2.0)
    fit = fit_positions(Target(wanted, off, ("lennard_jones.sigma",), settings, 0.0))
    assert fit.outcome is Outcome.CONVERGED
    np.testing.assert_allclose(fit.values, 1.0, rtol=1e-10)


def test_a_pressure_without_a_box_that_relaxes_is_refused(truth):
    with pytest.raises(UserError, match="give both pressure and PressureSettings"):
        Target(truth.configuration, truth.potential, pressure=0.1)
    with pytest.raises(UserError, match="give both pressure and PressureSettings"):
        Target(truth.configuration, truth.potential, settings=PressureSettings())
