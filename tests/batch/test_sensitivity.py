"""Sensitivities of a batch: those of one system, of the pseudo-inverse, of differences of re-relaxed states."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from mdsens.batch import (
    observable_sensitivities,
    position_sensitivities,
    relax_batch,
    stack_systems,
)
from mdsens.energy import energy
from mdsens.energy.parameters import PerPair, PerSpecies
from mdsens.energy.paths import select
from mdsens.observables import pressure
from mdsens.relaxation import relax
from mdsens.response import linear_response
from mdsens.sensitivity import observable_sensitivity, position_sensitivity
from mdsens.types import Configuration, FreeBox
from mdsens.verification import dense_reference
from potentials import lennard_jones

PATHS = ["soft_sphere.sigma[A]", "box.length"]


@pytest.fixture(scope="module")
def alone(jammed):
    """The members' responses, each as a system of its own at the same minimum."""
    law, starts, batch = jammed
    states = [dataclasses.replace(start, position=batch.position[k]) for k, start in enumerate(starts)]
    return [linear_response(relax(law, state)) for state in states]


def test_positions_follow_as_those_of_one_system(jammed, alone):
    found = position_sensitivities(jammed[2], PATHS)
    assert found.answered.all()
    for k, response in enumerate(alone):
        selection = select(response.state, PATHS)
        one = position_sensitivity(response, selection)
        reference = dense_reference(response.state, response.network, selection.tangents)
        scale = np.linalg.norm(one.values)
        assert np.linalg.norm(found.values[k] - one.values) < 1e-9 * scale
        assert np.linalg.norm(found.values[k] - reference) < 1e-9 * scale
        np.testing.assert_array_equal(found.values[k][:, ~response.network.backbone], 0.0)


def test_certificates_are_those_of_one_system(jammed, alone):
    found = position_sensitivities(jammed[2], PATHS).certificate
    for k, response in enumerate(alone):
        one = position_sensitivity(response, select(response.state, PATHS)).certificate
        # Lanczos stops at a thousandth, the subspace iteration after four rounds
        assert found.smallest_eigenvalue[k] == pytest.approx(one.smallest_eigenvalue, rel=1e-2)
        assert found.largest_eigenvalue[k] == pytest.approx(one.largest_eigenvalue, rel=1e-9)
        assert (found.residual[k] < 1e-12).all()
        # both are made of the last digits of forces that vanish to 1e-13
        np.testing.assert_allclose(np.log10(found.error[k] / one.error), 0, atol=1)
        zero = one.zero_modes
        counts = (found.translations[k], found.rotations[k], found.rattlers[k], found.floppy[k])
        assert counts == (zero.translations, zero.rotations, zero.rattlers, zero.floppy)


def test_observables_follow_as_those_of_one_system(jammed, alone):
    found = observable_sensitivities(jammed[2], pressure, PATHS)
    for k, response in enumerate(alone):
        one = observable_sensitivity(response, pressure, select(response.state, PATHS))
        np.testing.assert_allclose(found.values[k], one.values, rtol=1e-9)
        assert found.value[k] == pytest.approx(one.value, rel=1e-10)


def test_positions_follow_as_differences_of_re_relaxed_batches(jammed):
    law, starts, batch = jammed
    h = 1e-6  # truncation of order h^2, noise 1e-13 / lambda / h; no contact changes
    relaxed = [dataclasses.replace(start, position=batch.position[k]) for k, start in enumerate(starts)]
    ends = []
    for theta in (0.6 + h, 0.6 - h):
        changed = dataclasses.replace(law, sigma=PerSpecies([theta, 1.0]))
        moved = relax_batch(stack_systems(changed, relaxed))
        np.testing.assert_array_equal(moved.backbone, batch.backbone)
        np.testing.assert_array_equal(moved.n_contacts, batch.n_contacts)
        ends.append(np.asarray(moved.position))
    difference = (ends[0] - ends[1]) / (2 * h)
    found = position_sensitivities(batch, PATHS[:1]).values[:, 0]
    for k, held in enumerate(batch.backbone):
        expected = np.where(held[:, None], difference[k] - difference[k][held].mean(axis=0), 0.0)
        assert np.linalg.norm(found[k] - expected) < 1e-5 * np.linalg.norm(expected)


def test_members_without_an_answer_are_nan_and_keep_their_verdict(packings):
    law, jammed = packings(1)
    _, loose = packings(1, packing_fraction=0.5)
    batch = relax_batch(stack_systems(law, [*loose, *jammed]))
    found = position_sensitivities(batch, PATHS[:1])
    np.testing.assert_array_equal(found.answered, [False, True])
    assert found.verdicts[0].value == "unjammed"
    assert np.isnan(found.values[0]).all()
    assert np.isfinite(found.values[1]).all()
    assert np.isnan(found.certificate.error[0]).all()
    assert found.certificate.translations.tolist() == [0, 2]


def triangle(ratio):
    """Return a triangle A-A-B at rest whose bonds with B are weaker, as a batch of one."""
    law = lennard_jones.LennardJones(1.0, PerPair([1.0, ratio, ratio]))
    position = 2 ** (1 / 6) * np.array([[0.0, 0, 0], [1, 0, 0], [0.5, 3**0.5 / 2, 0]])
    start = Configuration(jnp.asarray(position), jnp.array([0, 0, 1]), FreeBox(3), ("A", "B"))
    return relax_batch(stack_systems(law, [start]))


def reach(state):
    return jnp.linalg.norm(state.position[2] - state.position[0])


@pytest.mark.parametrize(("ratio", "told"), [(1e-3, True), (1e-11, False)])
def test_a_load_on_a_mode_that_counts_as_floppy_is_no_answer(ratio, told):
    batch = triangle(ratio)
    assert batch.converged.all()
    for found in (
        position_sensitivities(batch, ["lennard_jones.sigma"]),
        observable_sensitivities(batch, reach, ["lennard_jones.sigma"]),
    ):
        assert found.answered.tolist() == [told]
        assert np.isfinite(found.values).all() == told
    if told:
        assert found.values[0, 0] == pytest.approx(2 ** (1 / 6), abs=1e-11)


def test_errors_are_no_smaller_than_rounding():
    batch = triangle(1.0)
    found = observable_sensitivities(batch, energy, ["lennard_jones.sigma", "lennard_jones.epsilon[A,A]"])
    length, depth = found.values[0]
    assert abs(length) <= found.certificate.error[0, 0] < 1e-13  # exactly zero at the minimum
    assert abs(depth + 1.0) <= 3 * found.certificate.error[0, 1] < 1e-13
