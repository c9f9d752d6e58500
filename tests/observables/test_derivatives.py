"""Derivatives of every observable against re-relaxed states, and forward against adjoint."""

import numpy as np
import pytest

from mdsens.sensitivity import observable_sensitivities, position_sensitivity

from .conftest import STEP, SYSTEMS, built, evaluated


@pytest.fixture(scope="module", params=list(SYSTEMS))
def system(request):
    return built(request.param)


def derivatives(system):
    """Return the derivatives of all observables, forward."""
    positions = position_sensitivity(system.response, system.selection)
    found = system.made(system.response)
    return observable_sensitivities(system.response, found, system.selection, positions=positions)


def quotients(system):
    """Return central differences of re-relaxed states, shape (m, k)."""
    columns, count = [], len(system.selection.paths)
    for k, value in enumerate(system.selection.values):
        direction = system.selection.combined(np.eye(count)[k])
        ends = [evaluated(system, system.again(direction, sign * STEP * value)) for sign in (1, -1)]
        columns.append((ends[0] - ends[1]) / (2 * STEP * value))
    return np.stack(columns, axis=1)


def test_derivatives_of_all_observables_are_those_of_relaxed_states(system):
    found = derivatives(system)
    expected = quotients(system)
    names = [record.name for record in found]
    values = np.stack([record.values for record in found])
    sizes = np.abs([record.value for record in found])[:, None] / np.abs(found[0].parameter_values)
    # rounding of the values over the step bounds what a difference can say of small derivatives
    allowed = 1e-5 * np.abs(expected) + 1e-6 * sizes
    wrong = [
        (names[row], found[0].paths[column], values[row, column], expected[row, column])
        for row, column in np.argwhere(np.abs(values - expected) > allowed)
    ]
    assert not wrong
    assert all((record.certificate.error <= 1e-6 * np.abs(record.values) + 1e-9).all() for record in found)


def test_adjoint_and_forward_agree():
    system = built("binary crystal")
    names = ("bulk_modulus", "enthalpy", "bond_order[6,1.1,1.5]")
    response = system.response
    observables = {name: made for name, made in system.made(response).items() if name in names}
    positions = position_sensitivity(response, system.selection)
    forward = observable_sensitivities(response, observables, system.selection, positions=positions)
    adjoint = observable_sensitivities(response, observables, system.selection)
    for one, other in zip(forward, adjoint, strict=True):
        assert (one.way, other.way) == ("forward", "adjoint")
        assert one.value == other.value
        np.testing.assert_allclose(one.values, other.values, rtol=1e-9, atol=1e-10 * np.abs(one.values).max())


def test_the_cheaper_way_is_chosen():
    system = built("free cluster")
    observables = system.made(system.response)
    few = {"energy": observables["energy"], "distance": observables["distance"]}
    assert {record.way for record in observable_sensitivities(system.response, few, system.selection)} == {"adjoint"}
    more = {**few, "coordination": observables["coordination[1.0,1.4]"]}
    found = observable_sensitivities(system.response, more, system.selection)
    assert {record.way for record in found} == {"forward"}
    expected = observable_sensitivities(system.response, few, system.selection)
    np.testing.assert_allclose(found[1].values, expected[1].values, rtol=1e-10, atol=1e-15)
