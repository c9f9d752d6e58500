"""How parameters are stored: independent entries, their order and their labels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mdsens.energy.mixing import geometric_mean
from mdsens.energy.parameters import PerPair, PerParticle, PerSpecies, Uniform, at_pairs, has_tie

SPECIES = jnp.array([0, 1, 2, 2, 1])
FIRST, SECOND = (jnp.asarray(index) for index in np.triu_indices(5, k=1))


@pytest.mark.parametrize("n_species", [1, 2, 3, 4])
def test_independent_entries_fill_the_upper_triangle_row_by_row(n_species):
    rows, columns = np.triu_indices(n_species)
    values = 1.0 + jnp.arange(len(rows), dtype=float)
    expected = np.zeros((n_species, n_species))
    expected[rows, columns] = expected[columns, rows] = values
    species = jnp.arange(n_species)
    i, j = (index.ravel() for index in jnp.meshgrid(species, species, indexing="ij"))
    parameter = PerPair(values)
    assert parameter.n_species == n_species
    np.testing.assert_array_equal(parameter.at(species, i, j), expected.ravel())


def test_labels_follow_the_entries():
    names = ("A", "B", "C")
    assert PerPair(jnp.ones(6)).labels(names) == ("[A,A]", "[A,B]", "[A,C]", "[B,B]", "[B,C]", "[C,C]")
    assert PerSpecies(jnp.ones(3)).labels(names) == ("[A]", "[B]", "[C]")
    assert PerParticle(jnp.ones(2)).labels(("A",)) == ("[0]", "[1]")
    assert Uniform(1.0).labels(names) == ("",)


def test_mixing_rules_expand_to_pairs():
    values = jnp.array([1.0, 4.0, 9.0])
    first, second = values[SPECIES[FIRST]], values[SPECIES[SECOND]]
    np.testing.assert_array_equal(PerSpecies(values).at(SPECIES, FIRST, SECOND), (first + second) / 2)
    np.testing.assert_allclose(PerSpecies(values, geometric_mean).at(SPECIES, FIRST, SECOND), np.sqrt(first * second))
    own = jnp.arange(1.0, 6.0)
    np.testing.assert_array_equal(PerParticle(own).at(SPECIES, FIRST, SECOND), (own[FIRST] + own[SECOND]) / 2)
    assert Uniform(2.0).at(SPECIES, FIRST, SECOND).shape == ()


def test_each_independent_entry_receives_the_derivative_of_its_own_pairs_once():
    weights = jnp.arange(1.0, 11.0)
    slope = jax.grad(lambda p: jnp.sum(weights * p.at(SPECIES, FIRST, SECOND)))(PerPair(jnp.ones(6))).values
    low, high = np.minimum(SPECIES[FIRST], SPECIES[SECOND]), np.maximum(SPECIES[FIRST], SPECIES[SECOND])
    table = {(a, b): 0.0 for a in range(3) for b in range(a, 3)}
    for a, b, weight in zip(low, high, np.asarray(weights), strict=True):
        table[int(a), int(b)] += float(weight)
    np.testing.assert_array_equal(slope, list(table.values()))


def test_a_tree_of_parameters_is_expanded_field_by_field():
    tree = {"sigma": PerSpecies([1.0, 2.0, 3.0]), "strength": jnp.asarray(5.0)}
    expanded = at_pairs(tree, SPECIES, FIRST, SECOND)
    assert expanded["sigma"].shape == FIRST.shape
    assert float(expanded["strength"]) == 5.0


@pytest.mark.parametrize("make", [Uniform, lambda v: PerSpecies([1.0, v]), lambda v: PerPair([1.0, v, 1.0])])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_entries_must_be_finite(make, value):
    with pytest.raises(ValueError, match="must be finite"):
        make(value)


def test_entries_are_float64():
    for parameter in (Uniform(1.0), PerSpecies([1.0, 2.0]), PerPair([1.0, 2.0, 3.0]), PerParticle(np.ones(3))):
        assert parameter.values.dtype == jnp.float64


def larger(a, b):
    return jnp.maximum(a, b)


@pytest.mark.parametrize("kind", [PerSpecies, PerParticle])
def test_a_rule_of_mixing_must_be_symmetric(kind):
    with pytest.raises(ValueError, match="a rule of mixing must be symmetric"):
        kind(jnp.array([1.0, 2.0]), lambda a, b: a)
    kind(jnp.array([1.0, 2.0]), larger)


def test_the_larger_of_two_equal_values_has_a_kink():
    assert has_tie({"sigma": PerSpecies([1.0, 1.0], larger)})
    assert has_tie({"sigma": PerParticle(np.array([1.0, 2.0, 1.0]), larger)})
    assert not has_tie({"sigma": PerSpecies([1.0, 1.1], larger)})
    assert not has_tie({"sigma": PerSpecies([1.0, 1.0]), "epsilon": PerSpecies([1.0, 1.0], geometric_mean)})
