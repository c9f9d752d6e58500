"""Observables against exact values of crystals and clusters, and what they refuse."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mdsens.energy import State
from mdsens.errors import NumericalError, UserError
from mdsens.observables import (
    RECIPES,
    Workbench,
    bond_order,
    check_names,
    contact_number,
    coordination,
    distance_to,
    eigenvalue,
    elastic_tensor,
    function_of_moduli,
    independence,
    isostatic_contact_number,
    made,
    overlap_distribution,
    overlaps,
    participation_ratio,
    radial_distribution,
    rattler_fraction,
    structure_factor,
    vibrations,
)
from mdsens.relaxation import relax
from mdsens.response import linear_response
from mdsens.sensitivity import Certificate, ObservableSensitivity, ZeroModes
from mdsens.types import Configuration, FreeBox
from potentials import lennard_jones, soft_sphere
from systems import cluster, fcc, hexagonal

from .conftest import built


def unrelaxed(start, law=lennard_jones, **options):
    potential = law.build(law.Options(**options), start.diameters, 1)
    return State.unlisted(start.configuration, potential).with_every_pair()


@pytest.fixture(scope="module")
def crystal():
    return unrelaxed(fcc.build(fcc.Options(spacing=1.1, n_cells=(2, 2, 2))), cutoff=1.3, onset=1.2)


@pytest.fixture(scope="module")
def plane():
    return unrelaxed(hexagonal.build(hexagonal.Options(spacing=0.97, n_cells=(6, 4))), soft_sphere)


def test_bond_order_of_crystals(crystal, plane):
    # J. Chem. Phys. 138, 044501 (2013), table I: q4 and q6 of twelve fcc neighbours
    assert float(bond_order(crystal, 6)(crystal)) == pytest.approx(0.57452, abs=5e-6)
    assert float(bond_order(crystal, 4)(crystal)) == pytest.approx(0.19094, abs=5e-6)
    assert float(bond_order(plane, 6)(plane)) == pytest.approx(1.0, abs=1e-13)
    assert float(bond_order(plane, 5)(plane)) == pytest.approx(0.0, abs=1e-7)
    np.testing.assert_allclose(bond_order(crystal, 6).per_particle(crystal), 0.57452, atol=5e-6)


def test_bond_order_does_not_depend_on_orientation():
    system = built("free cluster")
    state = system.response.state
    turn = np.linalg.qr(np.random.default_rng(0).standard_normal((3, 3)))[0]
    turned = state.at(state.position @ turn.T, state.parameters)
    for degree in (3, 4, 6):
        order = bond_order(state, degree)
        assert float(order(turned)) == pytest.approx(float(order(state)), rel=1e-12)


def test_coordination_counts_the_first_shell(crystal, plane):
    assert float(coordination(crystal)(crystal)) == pytest.approx(12.0, abs=1e-12)
    assert float(coordination(plane)(plane)) == pytest.approx(6.0, abs=1e-12)


def test_the_radial_distribution_holds_the_first_shell(crystal):
    r = np.linspace(0.9, 1.3, 200)
    g = np.array([float(radial_distribution(crystal, float(x), 0.03)(crystal)) for x in r])
    density = crystal.configuration.n_particles / float(crystal.configuration.box.volume)
    assert np.trapezoid(g * 4 * np.pi * r**2 * density, r) == pytest.approx(12.0, rel=1e-2)


def test_the_structure_factor_of_a_crystal_is_its_number_of_particles_at_a_bragg_peak(crystal):
    q = 2 * np.pi * np.sqrt(3) / (1.1 * np.sqrt(2))  # (111)
    found = structure_factor(crystal, q, 1e-3)
    assert float(found(crystal)) == pytest.approx(crystal.configuration.n_particles, rel=1e-10)
    box = float(crystal.configuration.box.length)
    between = structure_factor(crystal, 2 * np.pi / box, 1e-3)
    assert float(between(crystal)) == pytest.approx(0.0, abs=1e-20)


def test_partial_radial_distributions_add_up():
    system = built("binary crystal")
    state = system.response.state
    counts = np.bincount(np.asarray(state.configuration.species))
    parts = {
        pair: float(radial_distribution(state, 1.1, 0.05, tuple(pair))(state)) for pair in ("AA", "AB", "BA", "BB")
    }
    assert parts["AB"] == parts["BA"]
    total = float(radial_distribution(state, 1.1, 0.05)(state)) * counts.sum() ** 2
    weights = {"AA": counts[0] ** 2, "AB": counts[0] * counts[1], "BA": counts[0] * counts[1], "BB": counts[1] ** 2}
    assert sum(parts[pair] * weight for pair, weight in weights.items()) == pytest.approx(total, rel=1e-12)


def relaxed_cluster(n, shape="icosahedron"):
    start = cluster.build(cluster.Options(shape=shape, n_particles=n))
    law = lennard_jones.build(lennard_jones.Options(onset=50.0, cutoff=60.0), start.diameters, 1)
    return relax(law, start.configuration)


def test_a_pair_vibrates_with_twice_its_curvature():
    found = vibrations(linear_response(relaxed_cluster(2, "simplex")))
    np.testing.assert_allclose(found.eigenvalues, [2 * 72 / 2 ** (1 / 3)], rtol=1e-10)
    np.testing.assert_allclose(found.participation_ratios, 1.0, rtol=1e-12)
    np.testing.assert_allclose(found.frequencies**2, found.eigenvalues)


def test_degenerate_modes_have_a_mean_and_no_shape_of_their_own():
    relaxation = relaxed_cluster(13)
    response = linear_response(relaxation)
    found = vibrations(response)
    assert len(found.eigenvalues) == 3 * 13 - 6
    together = found.cluster(0)
    assert len(together) == 5  # the softest of the icosahedron: H_g
    value = float(eigenvalue(found, 2)(response.state))
    assert value == pytest.approx(found.eigenvalues[together].mean(), rel=1e-10)
    with pytest.raises(NumericalError, match="one of 5 with the same eigenvalue"):
        participation_ratio(found, 0)


def test_the_softest_modes_by_iteration_are_those_of_the_dense_spectrum(monkeypatch):
    response = built("3D packing").response
    every = vibrations(response)
    monkeypatch.setattr("mdsens.observables.spectrum.MOST_DENSE", 0)
    few = vibrations(response, 4)
    np.testing.assert_allclose(few.eigenvalues, every.eigenvalues[:4], rtol=1e-9)
    assert not few.complete
    with pytest.raises(UserError, match="too many"):
        vibrations(response)
    with pytest.raises(UserError, match="ask for more modes"):
        few.cluster(3)


def test_a_moved_turned_and_shuffled_copy_is_at_no_distance():
    state = built("free cluster").response.state
    rng = np.random.default_rng(1)
    turn = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    turn *= np.linalg.det(turn)
    copy = (np.asarray(state.position) @ turn.T + [1.0, -2.0, 0.5])[rng.permutation(12)]
    target = dataclasses.replace(state.configuration, position=jnp.asarray(copy))
    found = distance_to(state, target)
    assert float(found(state)) == pytest.approx(0.0, abs=1e-20)
    assert float(distance_to(state, target, rotate=False)(state)) > 1e-3


def icosahedron(scale=1.0):
    """Return a state of 13 particles around the origin: singular values of its moments are equal by symmetry."""
    start = cluster.build(cluster.Options(shape="icosahedron", n_particles=13)).configuration
    centred = start.position - jnp.mean(start.position, axis=0)
    law = lennard_jones.Law(1.0, onset=50.0, cutoff=60.0)
    return State.unlisted(dataclasses.replace(start, position=scale * centred), law)


def along(found, state):
    return lambda x: found(state.at(x, state.parameters))


@pytest.mark.parametrize("scale", [1.0, 1.1])
def test_the_distance_to_a_symmetric_copy_has_the_derivative_of_differences(scale):
    # the best rotation is unique while the sum of the two smaller singular values is not zero, equal or not
    state, target = icosahedron(scale), icosahedron().configuration
    distance = along(distance_to(state, target), state)
    slope = jax.grad(distance)
    some = jnp.asarray(np.random.default_rng(3).standard_normal((13, 3)))
    step = 1e-5
    moved = [state.position + step * some, state.position - step * some]
    difference = (distance(moved[0]) - distance(moved[1])) / (2 * step)
    # rounding 1e-16 over a step of 1e-5, and third derivatives of order one times its square
    assert float(jnp.vdot(slope(state.position), some)) == pytest.approx(float(difference), abs=1e-9)
    curvature = jax.jvp(slope, (state.position,), (some,))[1]
    np.testing.assert_allclose(curvature, (slope(moved[0]) - slope(moved[1])) / (2 * step), atol=1e-9)
    held = 2 * (state.position - jnp.asarray(target.position)) / 13
    np.testing.assert_allclose(slope(state.position), held, atol=1e-15)


def test_the_distance_of_a_line_has_a_derivative_and_that_of_a_symmetric_mirror_image_none():
    law = lennard_jones.Law(1.0)
    corners = jnp.array([[1.0, 1.0, 1.0], [1.0, -1.0, -1.0], [-1.0, 1.0, -1.0], [-1.0, -1.0, 1.0]])
    line = jnp.array([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [2.1, 0.0, 0.0]])

    def slope(position, target):
        n = len(position)
        there = Configuration(target, jnp.zeros(n, int), FreeBox(3), ("A",))
        state = State.unlisted(Configuration(position, jnp.zeros(n, int), FreeBox(3), ("A",)), law)
        return jax.grad(along(distance_to(state, there, exchange=False), state))(position)

    apart = 0.1 * (line - jnp.mean(line, axis=0))
    np.testing.assert_allclose(slope(1.1 * line, line), 2 * apart / 3, atol=1e-14)
    assert np.isnan(slope(-corners, corners)).any()


def test_a_shifted_and_shuffled_packing_is_at_no_distance_across_the_box():
    state = built("2D packing").response.state
    configuration = state.configuration
    order = np.random.default_rng(2).permutation(configuration.n_particles)
    shifted = configuration.box.wrap(configuration.position + jnp.array([3.3, -1.7]))[order]
    target = Configuration(shifted, configuration.species[order], configuration.box, configuration.species_names)
    assert float(distance_to(state, target)(state)) == pytest.approx(0.0, abs=1e-20)


def test_a_target_of_another_system_is_refused():
    state = built("free cluster").response.state
    fewer = Configuration(state.position[:5], state.configuration.species[:5], FreeBox(3), ("A",))
    with pytest.raises(UserError, match="the target has 5 particles in 3 dimensions, the state 12 in 3"):
        distance_to(state, fewer)
    other = dataclasses.replace(state.configuration, species_names=("A", "B"), species=jnp.arange(12) % 2)
    with pytest.raises(UserError, match="other numbers of particles per species"):
        distance_to(state, other)


def test_counts_of_a_packing():
    system = built("2D packing")
    network = system.relaxation.network
    assert contact_number(network) == 2 * network.n_contacts / 59
    assert isostatic_contact_number(network, 2) == pytest.approx(4 - 4 / 59)
    assert rattler_fraction(network) == pytest.approx(1 / 60)
    density, edges = overlap_distribution(system.response.state)
    assert np.sum(density * np.diff(edges)) == pytest.approx(1.0)
    with pytest.raises(UserError, match="law of contact"):
        overlaps(built("free cluster").response.state)


def test_a_function_of_singular_moduli_is_refused():
    tensor = elastic_tensor(built("2D packing").response)
    with pytest.raises(NumericalError, match="singular"):
        function_of_moduli(tensor, lambda matrix: 1.0 / (matrix[0, 0] - matrix[0, 0]))


def record(name, value, values):
    values = np.asarray(values, float)
    error = np.full(len(values), 1e-12)
    certificate = Certificate(
        0.0, error, error, error, error, 1.0, 1.0, ZeroModes(2, 0, 0, 0), one_sided=False, at_any_point=False, method=""
    )
    paths = tuple(f"p[{k}]" for k in range(len(values)))
    ones = np.ones(len(values))
    return ObservableSensitivity(name, value, paths, ones, ("none",) * len(values), values, "adjoint", certificate)


def test_slaved_observables_are_found():
    one, two = [1.0, 0.0, 2.0, 0.0], [0.0, 1.0, 1.0, 0.0]
    found = independence([record("a", 1.0, one), record("b", 1.0, two), record("sum", 2.0, np.add(one, two))])
    assert found.rank == 2
    np.testing.assert_allclose(found.independent, 0.0, atol=1e-12)
    alone = independence([record("a", 1.0, [1.0, 0.0]), record("b", 5.0, [0.0, 3.0])])
    assert alone.rank == 2
    np.testing.assert_allclose(alone.independent, 1.0)
    rebuilt = alone.observable_directions * alone.singular_values @ alone.parameter_directions
    np.testing.assert_allclose(rebuilt, alone.relative, atol=1e-14)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("bulk_modulos", "did you mean bulk_modulus"),
        ("bond_order", r"has 0 arguments; it is bond_order\[degree"),
        ("bond_order[x]", "not a number 0, 1, 2"),
        ("structure_factor[a]", "which is not a number"),
        ("shear_modulus[0,0]", "two different axes"),
        ("C44", "no C44 in 2 dimensions"),
        ("distance", "needs a target"),
        ("coordination[2.0,1.0]", "0 < begin < end"),
        ("radial_distribution[A,C,1.0,0.1]", "no species 'C'"),
        ("radial_distribution[A,1.0,0.1]", "takes"),
        ("structure_factor[0.01,0.001]", "no wave vector"),
        ("structure_factor[1000.0]", "wave vectors"),
        ("bond_order[99]", "between 1 and 12"),
        ("eigenvalue[500]", "there is no mode 500"),
        ("density_of_states[0.5,-1.0]", "0 < width"),
    ],
)
def test_an_observable_that_does_not_exist_is_refused(name, words):
    response = built("2D packing").response
    with pytest.raises(UserError, match=words):
        made(name, Workbench.at(response))


def test_moduli_and_vibrations_need_a_relaxed_state():
    state = built("2D packing").response.state
    for name in ("bulk_modulus", "eigenvalue[0]"):
        with pytest.raises(UserError, match="those of a relaxed state"):
            made(name, Workbench(state))


def test_every_name_is_known_and_its_words_say_so():
    check_names(["energy", "C11", *(f"{name}[0,1]" for name in ("stress",))])
    assert all(recipe.words for recipe in RECIPES.values())


def test_an_observable_with_a_kink_is_refused_by_name_and_particle():
    from mdsens.sensitivity import observable_sensitivity

    system = built("free cluster")
    kinked = lambda state: jnp.sqrt(jnp.sum((state.position[3] - state.position[3]) ** 2))  # noqa: E731
    with pytest.raises(NumericalError, match=r"derivative of kinked is not finite in the position of particle 3"):
        observable_sensitivity(system.response, kinked, system.selection, name="kinked")
