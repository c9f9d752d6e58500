"""Parameters from positions: recovered to the last digits, bounds kept, failures named, gradients right."""

import dataclasses

import numpy as np
import pytest

from mdsens.errors import UserError
from mdsens.fitting import (
    FitSettings,
    Outcome,
    Target,
    descend,
    fit_positions,
    match_forces,
    parameter_errors,
    perturbed,
)
from mdsens.fitting.cases import with_values
from mdsens.fitting.target import linearised, linearised_at_target, relaxed_at
from potentials.lennard_jones import LennardJones
from systems import fcc


@pytest.fixture(scope="module")
def fit(near):
    return fit_positions(near)


def test_the_parameters_are_recovered_from_the_positions_alone(fit, near, true):
    assert fit.outcome is Outcome.CONVERGED
    assert fit.residual <= 1e-10
    assert fit.n_relaxations <= 10
    assert parameter_errors(near.selection.values, true, fit.identified).max() > 1e-3  # the start was off
    assert parameter_errors(fit.values, true, fit.identified).max() < 1e-8
    assert fit.error.max() < 1e-8


def test_the_energy_scale_is_named_and_held(fit, near):
    assert len(fit.identified.words) == 1
    law = near.potential.name
    assert fit.identified.words[0] == f"an overall scale of {law}.epsilon[A,A], [A,B], [B,B]"
    logarithms = np.log(fit.values / near.selection.values)
    assert abs(logarithms[3:].mean()) < 1e-9


def test_convergence_is_quadratic_at_the_end(fit):
    residuals = [step.residual for step in fit.iterations if step.accepted]
    assert residuals[-1] < 100 * residuals[-2] ** 1.5


def test_every_iteration_is_recorded_and_reported(near, fit):
    seen = []
    again = fit_positions(near, progress=lambda k, step: seen.append((k, step.residual)))
    assert seen == [(k + 1, step.residual) for k, step in enumerate(again.iterations)]
    assert [step.residual for step in fit.iterations] == [residual for _, residual in seen]
    assert all(step.verdict == "converged" and step.loss == 0.5 * step.residual**2 for step in fit.iterations)


def test_the_jacobian_is_a_difference_of_re_relaxed_displacements(discs):
    logarithms = np.log(discs.selection.values)
    here = linearised(discs, relaxed_at(discs, logarithms, discs.configuration))
    step = np.array([1.0, -0.5, 0.3, 1.0, -1.0, 0.5]) * 1e-6
    ends = [relaxed_at(discs, logarithms + sign * step, discs.configuration).displacement for sign in (1, -1)]
    expected = 0.5 * (ends[0] - ends[1]).ravel()
    np.testing.assert_allclose(here.jacobian @ step, expected, atol=1e-4 * np.abs(expected).max())


def test_at_the_target_the_minimum_is_predicted_to_first_order(discs):
    # the error of the prediction is of second order in the perturbation
    sizes, misses = (1e-4, 1e-5), []
    for size in sizes:
        off = perturbed(discs, size, 3)
        logarithms = np.log(off.selection.values)
        found = relaxed_at(off, logarithms, off.configuration).displacement
        predicted = linearised_at_target(off, logarithms).displacement
        misses.append(np.linalg.norm(predicted - found.ravel()) / np.linalg.norm(found))
    assert misses[1] < 0.2 * misses[0]


def test_bounds_are_kept_and_named(discs):
    off = perturbed(discs, 0.02, 3)
    settings = FitSettings(bounds=(0.999, 1.001))
    found = fit_positions(off, settings)
    factors = np.array([step.values for step in found.iterations]) / off.selection.values
    assert factors.min() >= 0.999 - 1e-12
    assert factors.max() <= 1.001 + 1e-12
    assert found.outcome is Outcome.AT_BOUND
    assert "widen the bounds" in found.outcome.sentence


def test_a_step_is_no_longer_than_the_trust_region(discs):
    # so close that the contacts are those of the target: only the relaxations are missing
    found = fit_positions(perturbed(discs, 1e-5, 3), FitSettings(largest_step=4e-7, max_relaxations=3))
    assert max(step.step for step in found.iterations) <= 4e-7 + 1e-12
    assert found.outcome is Outcome.MAX_RELAXATIONS


def test_a_start_that_unjams_the_packing_says_so(discs):
    values = discs.selection.values * np.array([0.5, 0.5, 0.5, 1, 1, 1])
    found = fit_positions(with_values(discs, values), FitSettings(max_relaxations=1, bounds=(0.1, 10.0)))
    assert found.outcome is Outcome.UNJAMMED


def test_another_basin_is_named(discs):
    # a target of another start has nothing to do with these parameters' minima
    other = discs.at(np.roll(discs.position, 7, axis=0))
    found = fit_positions(other, FitSettings(max_relaxations=2))
    assert found.outcome is Outcome.OTHER_BASIN
    assert "basin changed" in found.outcome.sentence


def test_force_matching_finds_the_parameters_without_a_relaxation(truth, true):
    far = perturbed(truth, 0.05, 1)
    matched = match_forces(far)
    fit = fit_positions(with_values(far, matched))
    assert parameter_errors(matched, true, fit.identified).max() < 1e-8
    assert (fit.outcome, fit.n_relaxations) == (Outcome.CONVERGED, 1)


def test_gradient_descent_lowers_the_loss_with_the_same_relaxations(near, fit):
    history = descend(near, FitSettings(max_relaxations=8))
    assert history[0].residual == fit.iterations[0].residual
    assert len(history) == 8
    assert min(step.loss for step in history) < history[0].loss


def test_some_parameters_can_be_fitted_alone(discs):
    one = dataclasses.replace(discs, patterns=("soft_sphere.sigma[A,B]", "soft_sphere.epsilon[A,A]"))
    found = fit_positions(perturbed(one, 0.005, 0))
    assert found.paths == ("soft_sphere.sigma[A,B]", "soft_sphere.epsilon[A,A]")
    assert found.identified.words == ()  # other energies are known and set the scale
    np.testing.assert_allclose(found.values, one.selection.values, rtol=1e-8)


@pytest.mark.parametrize(
    ("patterns", "words"),
    [(("box.length",), "the target's box is known"), (("soft_sphere.sgima",), "nearest are soft_sphere.sigma")],
)
def test_what_cannot_be_fitted_is_refused(discs, patterns, words):
    with pytest.raises(UserError, match=words):
        Target(discs.configuration, discs.potential, patterns)


def test_a_target_with_another_number_of_particles_is_refused(discs):
    with pytest.raises(UserError, match=r"shape \(39, 2\); those of this system have shape \(40, 2\)"):
        discs.at(discs.position[:-1])


@pytest.mark.parametrize(
    ("field", "value"),
    [("residual", 0.0), ("max_relaxations", 0), ("largest_step", -1.0), ("rank", float("nan")), ("bounds", (1.1, 2.0))],
)
def test_settings_out_of_range_are_refused(field, value):
    with pytest.raises(UserError, match=f"fit.{field}"):
        FitSettings(**{field: value})


def test_at_the_target_an_energy_scale_changes_nothing_either(discs):
    off = perturbed(discs, 0.01, 3)
    here = linearised_at_target(off, np.log(off.selection.values))
    scale = here.slope @ np.array([0, 0, 0, 1.0, 1.0, 1.0])
    assert np.linalg.norm(scale) < 1e-10 * np.linalg.norm(here.slope)


def test_a_perfect_crystal_at_fixed_box_determines_nothing():
    start = fcc.build(fcc.Options(n_cells=(2, 2, 2), spacing=1.1)).configuration
    law = LennardJones(1.0, onset=1.6, cutoff=2.0)
    fit = fit_positions(Target(start, law))
    assert fit.outcome is Outcome.UNDETERMINED
    assert fit.n_relaxations == 1
    assert set(fit.identified.words) == {"lennard_jones.sigma", "lennard_jones.epsilon"}
    np.testing.assert_array_equal(fit.values, 1.0)
