"""The witnesses agree with right sensitivities, and catch wrong ones."""

import dataclasses

import numpy as np

from mdsens.energy import energy, pressure
from mdsens.energy.paths import select
from mdsens.pressure import rerelaxed
from mdsens.results import Verdict
from mdsens.sensitivity import observable_sensitivity, position_sensitivity
from mdsens.verification import (
    compare_with_differences,
    dense_reference,
    differences,
    scale_identities,
    step_size,
)


def overlaps(position, lengths, pairs, matrix):
    """Relative overlaps 1 - r/sigma of pairs in a parallelepiped, with NumPy alone."""
    i, j = pairs
    separation = position[i] - position[j]
    separation = separation - np.round(separation @ np.linalg.inv(matrix).T) @ matrix.T
    return 1.0 - np.linalg.norm(separation, axis=1) / lengths


def test_the_cases_hold_rattlers(case):
    assert case.relaxation.network.n_rattlers > 0


def test_differences_of_re_relaxed_states_agree(case):
    found = compare_with_differences(case.response, case.relaxation, case.sensitivity, case.selection)
    assert [difference.path for difference in found] == list(case.selection.paths)
    # truncation: the square of a relative change of 1e-4; noise: 1e-13 / lambda_min / h
    assert all(difference.agrees(1e-5) for difference in found), found


def test_a_wrong_sensitivity_disagrees(planar):
    wrong = dataclasses.replace(planar.sensitivity, values=planar.sensitivity.values * (1 + 1e-4))
    found = compare_with_differences(planar.response, planar.relaxation, wrong, planar.selection)
    assert not any(difference.agrees(1e-5) for difference in found)


def test_a_vanishing_sensitivity_is_compared_with_what_would_matter(planar):
    selection = select(planar.relaxation.state, ["soft_sphere.epsilon"])
    sensitivity = position_sensitivity(planar.response, selection)
    assert np.abs(sensitivity.values).max() < 1e-12
    (found,) = compare_with_differences(planar.response, planar.relaxation, sensitivity, selection)
    assert found.agrees(1e-5), found
    wrong = dataclasses.replace(sensitivity, values=sensitivity.values + 1e-3)
    (found,) = compare_with_differences(planar.response, planar.relaxation, wrong, selection)
    assert not found.agrees(1e-5)


def test_the_step_ends_before_a_tenth_of_the_way_to_the_next_contact(case):
    steps = step_size(case.response, case.relaxation, case.sensitivity, case.selection)
    state = case.relaxation.state
    held, species = case.relaxation.network.backbone, np.asarray(state.configuration.species)
    i, j = np.triu_indices(len(held), k=1)
    pairs = tuple(index[held[i] & held[j]] for index in (i, j))
    position, matrix = np.asarray(state.position), np.asarray(state.configuration.box.matrix)
    for k, path in enumerate(case.selection.paths):

        def gaps(h, k=k, path=path):
            diameters = np.array([0.6 + h * path.endswith("[A]"), 1.0])
            lengths = 0.5 * (diameters[species[pairs[0]]] + diameters[species[pairs[1]]])
            sheared = matrix.copy()
            sheared[0, 1] += h * path.startswith("box")
            return overlaps(position + h * case.sensitivity.values[k], lengths, pairs, sheared)

        rate = (gaps(1e-7) - gaps(-1e-7)) / 2e-7
        limit = np.min(np.abs(gaps(0.0)) / np.maximum(np.abs(rate), 1e-300))
        assert 0 < steps[k] <= 0.1 * limit * (1 + 1e-4)


def test_the_step_is_short_beside_the_parameter_even_where_that_is_zero(case):
    steps = step_size(case.response, case.relaxation, case.sensitivity, case.selection)
    edge = float(case.relaxation.state.configuration.box.length)
    assert case.selection.values[1] == 0.0
    assert np.all(steps > 0)
    assert np.all(steps <= 1e-5 * np.array([0.6, edge]) * (1 + 1e-12))


def test_a_network_that_changes_within_the_step_proves_nothing(planar, monkeypatch):
    monkeypatch.setattr(differences, "step_size", lambda *arguments: np.full(1, 3e-2))
    monkeypatch.setattr(differences, "_TRIES", 1)
    found = compare_with_differences(planar.response, planar.relaxation, planar.sensitivity, planar.selection)
    assert not found[0].same_network
    assert not found[0].agrees(np.inf)


def test_a_step_across_a_change_of_the_network_is_shortened(planar, monkeypatch):
    monkeypatch.setattr(differences, "step_size", lambda *arguments: np.full(1, 3e-2))
    found = compare_with_differences(planar.response, planar.relaxation, planar.sensitivity, planar.selection)[0]
    assert found.same_network
    assert found.step < 3e-2


def test_re_relaxed_states_stay_close_and_are_tighter(planar):
    direction = planar.selection.combined(np.ones(1))
    moved = rerelaxed(planar.relaxation, direction, 1e-6)
    assert moved.verdict is Verdict.CONVERGED
    assert moved.network.same_as(planar.relaxation.network)
    distance = np.abs(np.asarray(moved.state.position) - np.asarray(planar.relaxation.state.position))
    assert 0 < distance.max() < 1e-4
    assert float(moved.state.potential.sigma.values[0]) == 0.6 + 1e-6


def test_scale_identities_hold(case):
    found = scale_identities(case.response)
    assert len(found) == 4
    assert all(identity.violation < 1e-9 for identity in found), found


def test_scale_identities_fail_where_the_state_is_not_relaxed(planar):
    before = planar.response.state.configuration
    configuration = dataclasses.replace(before, position=before.position.at[0, 0].add(1e-4))
    state = dataclasses.replace(planar.response.state, configuration=configuration)
    response = dataclasses.replace(planar.response, state=state)
    assert max(identity.violation for identity in scale_identities(response)) > 1e-9


def test_the_dense_reference_is_the_sensitivity(case):
    reference = dense_reference(case.response.state, case.response.network, case.selection.tangents)
    for expected, found in zip(reference, case.sensitivity.values, strict=True):
        assert np.linalg.norm(found - expected) <= 1e-9 * np.linalg.norm(expected)


def test_the_dense_reference_leaves_rattlers_and_the_mean_alone(case):
    reference = dense_reference(case.response.state, case.response.network, case.selection.tangents)
    held = case.relaxation.network.backbone
    assert np.all(reference[:, ~held] == 0)
    np.testing.assert_allclose(reference[:, held].mean(axis=1), 0.0, atol=1e-12 * np.abs(reference).max())


def test_differences_of_energy_and_pressure_are_their_derivatives(planar):
    (difference,) = compare_with_differences(planar.response, planar.relaxation, planar.sensitivity, planar.selection)
    for name, observable in (("energy", energy), ("pressure", pressure)):
        found = observable_sensitivity(planar.response, observable, planar.selection, name=name)
        allowed = 1e-5 * abs(found.values[0]) + difference.slope_errors[name]
        assert abs(difference.slopes[name] - found.values[0]) <= allowed
