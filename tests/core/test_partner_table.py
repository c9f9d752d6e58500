"""The table of partners, and forces summed from both sides of every pair."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mdsens.energy import State, energy_and_forces
from mdsens.pairs import PairList, neighbor_pairs, padded_pairs, partner_counts, partner_table
from mdsens.relax.descent import fitting_rows
from mdsens.types import Configuration, PeriodicBox
from potentials import soft_sphere
from systems import bidisperse


@pytest.fixture(scope="module")
def state() -> State:
    start = bidisperse.build(bidisperse.Options(n_particles=400, seed=3))
    law, params = soft_sphere.build(soft_sphere.Options(), start.diameters, 2)
    pairs = neighbor_pairs(start.configuration.position, start.configuration.box, 1.3, capacity=5000)
    return State(start.configuration, law, params, pairs)


def test_every_pair_stands_in_two_columns(state: State):
    n, pairs = 400, state.pairs
    counts = np.asarray(partner_counts(pairs, n))
    table = np.asarray(partner_table(pairs, n, int(counts.max())))
    i, j = (np.asarray(index)[np.asarray(pairs.mask)] for index in (pairs.i, pairs.j))
    expected = [set(j[i == k]) | set(i[j == k]) for k in range(n)]
    assert [set(column) - {k} for k, column in enumerate(table.T)] == expected
    assert ((table != np.arange(n)).sum(axis=0) == counts).all()


def test_a_table_of_no_pairs_is_padding():
    empty = padded_pairs(np.zeros(0, int), np.zeros(0, int), 4)
    np.testing.assert_array_equal(partner_table(empty, 3, 2), np.tile(np.arange(3), (2, 1)))
    np.testing.assert_array_equal(partner_counts(empty, 3), 0)


def test_a_particle_that_is_second_in_all_its_pairs_finds_places_for_all():
    pairs = PairList(np.arange(5), np.full(5, 5), np.ones(5, bool))
    table = np.asarray(partner_table(pairs, 6, 5))
    assert set(table[:, 5]) == set(range(5))


@pytest.mark.parametrize("triclinic", [False, True])
def test_both_sides_give_the_energy_and_the_forces(state: State, triclinic: bool):
    configuration = state.configuration
    if triclinic:
        shear = jnp.array([[1.0, 0.2], [0.0, 1.0]])
        box = PeriodicBox(shear @ configuration.box.matrix)
        configuration = Configuration(
            configuration.position @ shear.T, configuration.species, box, configuration.species_names
        )
        pairs = neighbor_pairs(configuration.position, box, 1.3, capacity=5000)
        state = State(configuration, state.potential, state.params, pairs)
    rows = int(partner_counts(state.pairs, 400).max()) + 1
    evaluate = state.potential.with_fixed_images(configuration, state.params, state.pairs, rows)
    moved = configuration.position + 0.01 * jax.random.normal(jax.random.key(0), (400, 2))
    expected = energy_and_forces(state.at(moved, state.parameters))
    for found, wanted in zip(evaluate(moved), expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-13)


def test_rows_fit_with_one_to_spare_and_are_kept_while_they_do(state: State):
    most = int(partner_counts(state.pairs, 400).max())
    close = neighbor_pairs(state.position, state.configuration.box, 0.5)
    assert fitting_rows(state, close, 0) == 0  # few have partners at all: most rows would be padding
    rows = fitting_rows(state, state.pairs, 0)
    assert rows in (most + 1, most + 2)
    assert fitting_rows(state, state.pairs, rows) == rows
    assert fitting_rows(state, state.pairs, most) == most
    assert fitting_rows(state, state.pairs, most - 1) == rows
