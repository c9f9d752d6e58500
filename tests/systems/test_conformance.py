"""What every entry of the registry of systems promises, and what each of them promises alone."""

import math

import numpy as np
import pytest

import systems
from mdsens.config import ConfigError, validate
from mdsens.errors import UserError
from mdsens.neighbors import neighbor_pairs, smallest_height
from mdsens.types import FreeBox, PeriodicBox
from systems import bidisperse, cluster, fcc, hexagonal, l1_2, polydisperse
from systems.frozen import with_frozen

# A few settings of every kind that builds its own configuration; a new kind is tested at its defaults unless listed.
SETTINGS = {
    "bidisperse": [{}, {"dimension": 3, "n_particles": 50, "fraction": 0.3, "packing_fraction": 0.7}],
    "polydisperse": [{}, {"dimension": 3, "distribution": "lognormal", "polydispersity": 0.8}],
    "hexagonal": [{"packing_fraction": 0.95}, {"packing_fraction": 1.0, "perturbation": 0.2, "diameter": 2.0}],
    "l1_2": [{}, {"diameters": (1.0, 0.9), "vacancies": (2, 7), "perturbation": 0.1}],
    "fcc": [{"packing_fraction": 0.8}, {"packing_fraction": 0.9, "perturbation": 0.3, "n_cells": (2, 3, 4)}],
}
FREE = [{}, {"shape": "random", "n_particles": 20}, {"shape": "disc", "n_particles": 19, "dimension": 2}]
CASES = [
    (kind, settings)
    for kind in systems.REGISTRY
    if kind not in ("file", "cluster")
    for settings in SETTINGS.get(kind, [{}])
]


@pytest.fixture(params=CASES, ids=lambda case: f"{case[0]}-{case[1]}")
def case(request):
    kind, settings = request.param
    module = systems.REGISTRY[kind]
    return module, module.Options(kind=kind, **settings)


def per_particle(start):
    diameters, species = np.asarray(start.diameters), np.asarray(start.configuration.species)
    return diameters if len(diameters) == len(species) else diameters[species]


def test_the_same_options_build_the_same_start(case):
    module, options = case
    first, second = module.build(options), module.build(options)
    np.testing.assert_array_equal(first.configuration.position, second.configuration.position)
    np.testing.assert_array_equal(first.diameters, second.diameters)


def test_another_seed_builds_another_start(case):
    module, options = case
    other = options.model_copy(update={"seed": options.seed + 1})
    first, second = module.build(options), module.build(other)
    if getattr(options, "perturbation", 1.0) > 0:
        assert not np.array_equal(first.configuration.position, second.configuration.position)
    assert first.configuration.position.shape == second.configuration.position.shape


def test_the_packing_fraction_is_the_one_asked_for(case):
    module, options = case
    if not hasattr(options, "packing_fraction"):
        pytest.skip("this system has none")
    start = module.build(options)
    d = start.configuration.dimension
    unit = {2: math.pi / 4, 3: math.pi / 6}[d]
    found = unit * np.sum(per_particle(start) ** d) / float(start.configuration.box.volume)
    assert found == pytest.approx(options.packing_fraction, rel=1e-14)


def test_every_particle_lies_in_the_box(case):
    module, options = case
    configuration = module.build(options).configuration
    assert isinstance(configuration.box, PeriodicBox)
    fractional = np.asarray(configuration.position) @ np.linalg.inv(np.asarray(configuration.box.matrix)).T
    assert fractional.min() >= -1e-15
    assert fractional.max() < 1 + 1e-15


def test_species_and_diameters_agree(case):
    module, options = case
    start = module.build(options)
    species = np.asarray(start.configuration.species)
    n_species = len(start.configuration.species_names)
    assert set(species) == set(range(n_species))
    assert start.diameters.shape in ((n_species,), species.shape)
    assert start.diameters.dtype == start.configuration.position.dtype == np.float64
    assert np.all(np.asarray(start.diameters) > 0)


def test_the_box_is_rectangular_and_its_smallest_height_is_its_smallest_edge(case):
    module, options = case
    box = module.build(options).configuration.box
    edges = np.diag(np.asarray(box.matrix))
    np.testing.assert_array_equal(box.matrix, np.diag(edges))
    assert smallest_height(box) == pytest.approx(edges.min(), rel=1e-14)


def test_bidisperse_reproduces_the_seed_experiment():
    start = bidisperse.build(bidisperse.Options())
    theta = 0.6
    length = np.sqrt(64 * np.pi * (theta**2 + 1) / 4 / 0.98)
    assert float(start.configuration.box.matrix[0, 0]) == length  # to the last digit
    assert length == pytest.approx(8.352, abs=5e-4)
    np.testing.assert_array_equal(start.configuration.species, np.repeat([0, 1], 64))
    np.testing.assert_array_equal(start.diameters, [0.6, 1.0])


def test_bidisperse_counts_follow_the_fraction():
    options = bidisperse.Options(n_particles=50, fraction=0.3)
    assert np.bincount(np.asarray(bidisperse.build(options).configuration.species)).tolist() == [15, 35]


def test_bidisperse_refuses_a_species_without_particles():
    with pytest.raises(UserError, match="at least one"):
        bidisperse.build(bidisperse.Options(n_particles=4, fraction=0.01))


@pytest.mark.parametrize("distribution", ["uniform", "lognormal"])
def test_polydisperse_moments_are_those_of_the_distribution(distribution):
    options = polydisperse.Options(n_particles=40_000, mean_diameter=2.0, polydispersity=0.3, distribution=distribution)
    diameters = np.asarray(polydisperse.build(options).diameters)
    # the standard errors at n = 40 000 are 0.15 % of the mean and about 0.5 % of the spread: several of each
    assert diameters.mean() == pytest.approx(2.0, rel=5 * 0.3 / 200)
    assert diameters.std() / diameters.mean() == pytest.approx(0.3, rel=0.05)


def test_polydisperse_refuses_a_uniform_distribution_that_reaches_zero():
    with pytest.raises(UserError, match=r"0\.6.*lognormal"):
        polydisperse.build(polydisperse.Options(polydispersity=0.6))


@pytest.mark.parametrize("module", [hexagonal, fcc])
@pytest.mark.parametrize("both", [{}, {"spacing": 1.0, "packing_fraction": 0.9}])
def test_lattices_need_exactly_one_of_spacing_and_packing_fraction(module, both):
    with pytest.raises(UserError, match="exactly one"):
        module.build(module.Options(**both))


@pytest.mark.parametrize(("module", "coordination"), [(hexagonal, 6), (fcc, 12)])
def test_lattice_sites_have_their_neighbours_at_the_spacing(module, coordination):
    start = module.build(module.Options(spacing=0.9))
    configuration = start.configuration
    pairs = neighbor_pairs(configuration.position, configuration.box, 0.9 * 1.001)
    i, j = (np.asarray(index)[np.asarray(pairs.mask)] for index in (pairs.i, pairs.j))
    separation = configuration.position[i] - configuration.position[j]
    distance = np.linalg.norm(configuration.box.displacement(separation), axis=1)
    np.testing.assert_allclose(distance, 0.9, rtol=1e-13)
    assert set(np.bincount(np.concatenate([i, j]))) == {coordination}


@pytest.mark.parametrize("module", [hexagonal, fcc])
def test_a_perturbation_stays_within_its_amplitude(module):
    amplitude, spacing = 0.1, 0.9
    perfect = module.build(module.Options(spacing=spacing)).configuration
    moved = module.build(module.Options(spacing=spacing, perturbation=amplitude)).configuration
    shift = np.asarray(perfect.box.displacement(moved.position - perfect.position))
    assert 0 < np.abs(shift).max() <= amplitude * spacing * (1 + 1e-12)


def distances(configuration):
    i, j = np.triu_indices(configuration.n_particles, k=1)
    separation = configuration.position[i] - configuration.position[j]
    return np.linalg.norm(np.asarray(configuration.box.displacement(separation)), axis=1)


@pytest.mark.parametrize("settings", FREE)
def test_a_cluster_has_its_particles_about_the_origin_and_none_too_close(settings):
    options = cluster.Options(spacing=1.0, **settings)
    configuration = cluster.build(options).configuration
    assert isinstance(configuration.box, FreeBox)
    assert configuration.position.shape == (options.n_particles, options.dimension)
    np.testing.assert_allclose(configuration.position.mean(axis=0), 0.0, atol=1e-12)
    assert distances(configuration).min() > 0.5


@pytest.mark.parametrize(
    ("shape", "n", "d", "bonds"),
    [
        ("icosahedron", 13, 3, 42),
        ("icosahedron", 55, 3, 234),
        ("truncated_octahedron", 38, 3, 144),
        ("simplex", 4, 3, 6),
    ],
)
def test_a_cluster_has_the_bonds_of_its_shape(shape, n, d, bonds):
    options = cluster.Options(shape=shape, n_particles=n, dimension=d, spacing=1.0)
    found = distances(cluster.build(options).configuration)
    assert np.sum(found < 1.06 * found.min()) == bonds


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"n_particles": 14}, "13, 55"),
        ({"shape": "disc", "n_particles": 7}, "of 2 dimensions"),
        ({"shape": "simplex", "n_particles": 5}, "has 2, 3, 4 particles"),
    ],
)
def test_a_cluster_that_does_not_exist_is_refused(settings, words):
    with pytest.raises(UserError, match=words):
        cluster.build(cluster.Options(**settings))


def test_vacancies_leave_their_sites_empty_and_the_rest_in_place():
    whole = np.asarray(fcc.build(fcc.Options(spacing=1.0)).configuration.position)
    holed = np.asarray(fcc.build(fcc.Options(spacing=1.0, vacancies=(0, 5))).configuration.position)
    np.testing.assert_array_equal(holed, np.delete(whole, [0, 5], axis=0))
    with pytest.raises(UserError, match="site 108; the lattice has 108"):
        fcc.build(fcc.Options(spacing=1.0, vacancies=(108,)))


def test_every_b_of_l1_2_has_twelve_a_around_it():
    configuration = l1_2.build(l1_2.Options(edge=np.sqrt(2))).configuration
    species = np.asarray(configuration.species)
    assert np.bincount(species).tolist() == [81, 27]
    pairs = neighbor_pairs(configuration.position, configuration.box, 1.001)
    i, j = (np.asarray(index)[np.asarray(pairs.mask)] for index in (pairs.i, pairs.j))
    assert not np.any((species[i] == 1) & (species[j] == 1))
    mixed = species[i] != species[j]
    partners = np.bincount(np.where(species[i] == 1, i, j)[mixed], minlength=len(species))
    assert set(partners[species == 1]) == {12}


def test_frozen_particles_are_chosen_by_number_species_and_layer():
    options = bidisperse.Options(
        n_particles=20,
        frozen=[{"particles": [3], "components": ["x"]}, {"species": ["B"], "axis": "y", "below": 1.0}],
    )
    start = bidisperse.build(options).configuration
    held = np.asarray(with_frozen(start, options.frozen).held)
    low = (np.asarray(start.species) == 1) & (np.asarray(start.position)[:, 1] <= 1.0)
    np.testing.assert_array_equal(held, np.stack([low | (np.arange(20) == 3), low], axis=1))
    assert with_frozen(start, ()) is start


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"particles": [20]}, r"system.frozen\[0\] names particle 20; there are 20"),
        ({"species": ["C"]}, "'C'; there are A, B"),
        ({"axis": "z", "below": 1.0}, "'z' in 2 dimensions"),
        ({"axis": "x", "below": -1.0}, "chooses no particle"),
        ({"species": ["A", "B"]}, "at least one free"),
    ],
)
def test_what_cannot_be_frozen_is_named(entry, words):
    options = bidisperse.Options(n_particles=20, frozen=[entry])
    with pytest.raises(UserError, match=words):
        with_frozen(bidisperse.build(options).configuration, options.frozen)


@pytest.mark.parametrize(
    ("entry", "words"), [({}, "name particles"), ({"axis": "x"}, "below, above"), ({"below": 1}, "axis")]
)
def test_an_entry_of_frozen_says_whom_it_means(entry, words):
    with pytest.raises(ConfigError, match=words):
        validate(bidisperse.Options, {"frozen": [entry]}, "system")
