"""Names of parameter entries and the directions they stand for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mdsens.energy import State
from mdsens.energy.foreign import EnergyFunction
from mdsens.energy.parameters import Parameters, PerPair, PerParticle, PerSpecies, Uniform
from mdsens.energy.paths import scaling_direction, select
from mdsens.errors import UserError
from mdsens.types import Configuration, FreeBox, PeriodicBox
from potentials.soft_sphere import SoftSphere

BOX = PeriodicBox(np.array([[4.0, 1.0], [0.0, 5.0]]))


def state(law, box=BOX, names=("A", "B")):
    position = jnp.asarray(np.random.default_rng(0).uniform(size=(4, 2)))
    species = jnp.arange(4) % len(names)
    return State.unlisted(Configuration(position, species, box, names), law).with_every_pair()


PAIRS = state(SoftSphere(PerPair([0.6, 0.8, 1.0]), Uniform(2.0)))
SPECIES = state(SoftSphere(PerSpecies([0.6, 1.0]), PerPair([1.0, 2.0, 3.0])))
PARTICLES = state(SoftSphere(PerParticle(np.array([0.5, 0.6, 0.7, 0.8])), Uniform(1.0)))


def test_by_default_every_entry_of_the_potential_is_chosen():
    assert select(PAIRS).paths == (
        "soft_sphere.sigma[A,A]",
        "soft_sphere.sigma[A,B]",
        "soft_sphere.sigma[B,B]",
        "soft_sphere.epsilon",
    )
    assert select(SPECIES).paths[:2] == ("soft_sphere.sigma[A]", "soft_sphere.sigma[B]")
    assert select(PARTICLES).paths[3] == "soft_sphere.sigma[3]"


def test_values_and_units_go_with_the_names():
    selection = select(PAIRS, ["soft_sphere.epsilon", "soft_sphere.sigma[A,B]", "box.length", "box.matrix[0,1]"])
    np.testing.assert_allclose(selection.values, [2.0, 0.8, np.sqrt(20.0), 1.0])
    assert selection.units == ("energy", "length", "length", "length")


def test_a_prefix_stands_for_all_its_entries():
    assert select(SPECIES, ["soft_sphere.epsilon"]).paths == tuple(
        f"soft_sphere.epsilon[{pair}]" for pair in ("A,A", "A,B", "B,B")
    )
    assert len(select(PARTICLES, ["soft_sphere.sigma"]).paths) == 4


@pytest.mark.parametrize("name", ["soft_sphere.sigma[B,A]", "soft_sphere.sigma[A, B]", "soft_sphere.sigma[A,B]"])
def test_species_come_in_any_order(name):
    assert select(PAIRS, [name]).paths == ("soft_sphere.sigma[A,B]",)


def test_entries_of_the_box_are_ordered():
    assert select(PAIRS, ["box.matrix[1,0]"]).paths == ("box.matrix[1,0]",)


def test_every_direction_changes_its_own_entry_by_one():
    names = ["soft_sphere.sigma[A,B]", "soft_sphere.epsilon", "box.matrix[1,0]"]
    tangents = select(PAIRS, names).tangents
    np.testing.assert_array_equal(tangents.potential.sigma.values, [[0, 1, 0], [0, 0, 0], [0, 0, 0]])
    np.testing.assert_array_equal(tangents.potential.epsilon.values, [0, 1, 0])
    np.testing.assert_array_equal(tangents.box.matrix, [np.zeros((2, 2)), np.zeros((2, 2)), [[0, 0], [1, 0]]])


def test_the_length_of_the_box_scales_its_matrix():
    direction = select(PAIRS, ["box.length"]).tangents.box.matrix[0]
    step = 1e-6
    grown = PeriodicBox(BOX.matrix + step * direction)
    assert float(grown.length - BOX.length) / step == pytest.approx(1.0, rel=1e-8)
    np.testing.assert_allclose(grown.matrix / BOX.matrix[0, 0], BOX.matrix / BOX.matrix[0, 0] * (1 + step / BOX.length))


def test_contraction_and_combination_are_linear():
    selection = select(PAIRS, ["soft_sphere.sigma", "box.length"])
    weights = np.array([1.0, -2.0, 3.0, 0.5])
    gradient = jax.tree.map(lambda leaf: jnp.cos(leaf), PAIRS.parameters)
    combined = selection.combined(weights)
    expected = sum(jnp.vdot(a, b) for a, b in zip(jax.tree.leaves(combined), jax.tree.leaves(gradient), strict=True))
    assert weights @ selection.contract(gradient) == pytest.approx(float(expected), rel=1e-14)
    assert selection.contract(gradient)[1] == pytest.approx(np.cos(0.8))


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [
        ("soft_sphere.sigm", r"soft_sphere\.sigma"),
        ("soft_sphere.sigma[A,C]", r"soft_sphere\.sigma\[A,"),
        ("softsphere.epsilon", r"soft_sphere\.epsilon"),
        ("box.lenght", r"box\.length"),
        ("temperature", "soft_sphere|box"),
    ],
)
def test_an_unknown_name_suggests_the_nearest_ones(name, suggestion):
    with pytest.raises(UserError, match=suggestion):
        select(PAIRS, [name])


@pytest.mark.parametrize(
    "patterns",
    [
        ["soft_sphere.sigma", "soft_sphere.sigma[A,A]"],
        ["soft_sphere.sigma[A,B]", "soft_sphere.sigma[B,A]"],
        ["soft_sphere.epsilon", "soft_sphere.epsilon"],
        ["box.strain[0,1]", "box.strain[1,0]"],
    ],
)
def test_an_entry_that_is_named_twice_is_refused(patterns):
    with pytest.raises(UserError, match="is named 2 times"):
        select(PAIRS, patterns)


def test_a_symmetric_pair_of_labels_may_be_named_in_either_order():
    assert select(PAIRS, ["box.strain[1,0]"]).paths == ("box.strain[0,1]",)
    assert select(PAIRS, ["soft_sphere.sigma[B,A]"]).paths == ("soft_sphere.sigma[A,B]",)


def test_indices_of_arrays_keep_their_order():
    params = {"site": np.array([[1.0, 2.0], [3.0, 4.0]])}
    configuration = Configuration(jnp.zeros((2, 2)).at[1].set(1.0), jnp.zeros(2, int), FreeBox(2))
    law = EnergyFunction(lambda x, p, box: jnp.sum(p["site"]) * jnp.sum(x**2), params, "trap")
    here = State.unlisted(configuration, law)
    for path, value in (("trap.site[0,1]", 2.0), ("trap.site[1,0]", 3.0)):
        found = select(here, [path])
        assert (found.paths, found.values.tolist()) == ((path,), [value])


def test_an_unclosed_bracket_is_no_name():
    with pytest.raises(UserError, match="there is no parameter"):
        select(PAIRS, ["soft_sphere.sigma[A"])


def test_choosing_nothing_is_refused():
    with pytest.raises(UserError, match="no parameter was chosen"):
        select(PAIRS, [])


def test_a_free_system_has_no_box_entries():
    free = state(SoftSphere(PerSpecies([0.6, 1.0]), Uniform(1.0)), box=FreeBox(2))
    with pytest.raises(UserError, match=r"box\.length"):
        select(free, ["box.length"])


def test_scaling_directions_hold_the_entries_of_their_unit():
    lengths, energies = scaling_direction(PAIRS, "length"), scaling_direction(PAIRS, "energy")
    np.testing.assert_array_equal(lengths.potential.sigma.values, [0.6, 0.8, 1.0])
    np.testing.assert_array_equal(lengths.box.matrix, BOX.matrix)
    assert float(lengths.potential.epsilon.values) == 0.0
    assert float(energies.potential.epsilon.values) == 2.0
    assert not np.asarray(energies.box.matrix).any()
    assert isinstance(lengths, Parameters)


def test_plain_arrays_are_named_by_their_index():
    params = {"sigma": jnp.array([1.0, 2.0]), "epsilon": jnp.asarray(1.0)}
    configuration = Configuration(jnp.zeros((2, 2)).at[1].set(1.0), jnp.zeros(2, int), FreeBox(2))
    law = EnergyFunction(lambda x, p, box: p["epsilon"] * jnp.sum(p["sigma"]) * jnp.sum(x**2), params, "toy")
    selection = select(State.unlisted(configuration, law))
    assert selection.paths == ("toy.epsilon", "toy.sigma[0]", "toy.sigma[1]")


@pytest.mark.parametrize("value", [np.float32(1.0), jnp.asarray(1.0, dtype=jnp.float32), np.ones(3, np.float32)])
def test_parameters_that_lost_digits_are_refused(value):
    with pytest.raises(ValueError, match="float32 and lost digits"):
        EnergyFunction(lambda x, p, box: p["epsilon"] * jnp.sum(x**2), {"epsilon": value})


@pytest.mark.parametrize("value", [1, 1.0, np.float64(1.0), np.int64(1), jnp.asarray(1)])
def test_numbers_become_float64_arrays(value):
    law = EnergyFunction(lambda x, p, box: p["epsilon"] * jnp.sum(x**2), {"epsilon": value})
    assert law.params["epsilon"].dtype == jnp.float64
