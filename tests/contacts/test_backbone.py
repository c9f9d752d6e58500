"""Contacts, backbone and rattlers of configurations made by hand."""

import jax.numpy as jnp
import numpy as np
import pytest

from mdsens.contacts import contact_network
from mdsens.energy import State, Sum, max_reach
from mdsens.energy.foreign import EnergyFunction
from mdsens.energy.parameters import PerPair, PerParticle, PerSpecies
from mdsens.neighbors import neighbor_pairs
from mdsens.types import Configuration, FreeBox, PeriodicBox
from potentials.soft_sphere import SoftSphere
from systems import bidisperse


def hexagonal(n_x=4, n_y=3, spacing=0.98):
    """Return a perfect hexagonal lattice of overlapping discs: six contacts each."""
    cell = np.array([1.0, np.sqrt(3.0)]) * spacing
    corners = np.stack(np.meshgrid(np.arange(n_x), np.arange(n_y), indexing="ij"), axis=-1).reshape(-1, 1, 2)
    position = ((corners + np.array([[0.0, 0.0], [0.5, 0.5]])) * cell).reshape(-1, 2)
    return position, np.diag(cell * [n_x, n_y])


def network(position, matrix, alpha=2.0, sigma=1.0, species=None, epsilon=1.0):
    box = FreeBox(position.shape[1]) if matrix is None else PeriodicBox(matrix)
    species = np.zeros(len(position), int) if species is None else species
    configuration = Configuration(jnp.asarray(position), jnp.asarray(species), box, ("A", "B")[: species.max() + 1])
    pairs = neighbor_pairs(position, box, 1.2)
    return contact_network(State(configuration, SoftSphere(sigma, epsilon, alpha=alpha), pairs))


def test_a_crystal_is_all_backbone():
    position, matrix = hexagonal()
    found = network(position, matrix)
    assert found.n_rattlers == 0
    assert found.n_contacts == 3 * len(position)
    assert not found.one_sided


def test_a_crystal_just_apart_has_no_backbone():
    position, matrix = hexagonal(spacing=1.0 + 1e-8)
    assert not network(position, matrix).backbone.any()


def test_rattlers_are_removed_recursively():
    # a vacancy of seven sites holds a chain: each link leans on the one before, none has three contacts once the
    # last one has gone; the crystal around stays
    position, matrix = hexagonal(8, 5)
    centre = np.diag(matrix) / 2
    shift = position - centre
    shift -= np.round(shift / np.diag(matrix)) * np.diag(matrix)
    crystal = position[np.linalg.norm(shift, axis=1) > 1.6]
    middle = centre - np.array([0.5, 0.0])
    chain = np.array([middle, middle + np.array([0.99, 0.0])])
    found = network(np.vstack([crystal, chain]), matrix)
    np.testing.assert_array_equal(np.flatnonzero(~found.backbone), [len(crystal), len(crystal) + 1])
    assert np.all(found.backbone[found.i] & found.backbone[found.j])


def test_a_chain_hanging_on_a_free_cluster_goes_link_by_link():
    # a rigid four-disc rhombus has vertices with two contacts only, so everything must go: 2D needs three contacts
    a = 0.98
    rhombus = a * np.array([[0.0, 0.0], [1.0, 0.0], [0.5, np.sqrt(0.75)], [1.5, np.sqrt(0.75)]])
    assert not network(rhombus, None).backbone.any()
    # a wheel: the hub has six contacts, every rim disc three; a tail of two discs goes, the wheel stays
    angles = np.arange(6) * np.pi / 3
    wheel = a * np.vstack([np.zeros(2), np.stack([np.cos(angles), np.sin(angles)], axis=1)])
    tail = np.array([[2 * a, 0.0], [3 * a, 0.0]])
    found = network(np.vstack([wheel, tail]), None)
    np.testing.assert_array_equal(found.backbone, [True] * 7 + [False] * 2)
    assert found.n_contacts == 12


@pytest.mark.parametrize(("overlap", "counts"), [(1e-12, True), (1e-17, False)])
def test_stiff_contacts_bear_load_with_tiny_overlaps(overlap, counts):
    position, matrix = hexagonal(spacing=1.0 - overlap)
    species = np.zeros(len(position), int)
    soft = network(position, matrix, species=np.append(species[1:], 1), epsilon=PerPair([1.0, 1.0, 1.0]))
    assert not soft.backbone.any()
    species[0] = 1  # its contacts are soft, those of the others a million times as stiff
    found = network(position, matrix, species=species, epsilon=PerPair([1e6, 1.0, 1.0]))
    assert found.backbone[1:].any() == counts


def test_overlaps_below_1e_9_are_no_contacts():
    angles = np.arange(6) * np.pi / 3
    wheel = np.vstack([np.zeros(2), np.stack([np.cos(angles), np.sin(angles)], axis=1)])
    assert network((1 - 1e-8) * wheel, None).backbone.all()
    assert not network((1 - 1e-10) * wheel, None).backbone.any()


@pytest.mark.parametrize(("alpha", "one_sided"), [(2.0, True), (2.5, False)])
def test_a_touching_backbone_contact_is_one_sided_for_kinked_laws_only(alpha, one_sided):
    # a square lattice with overlapping neighbours whose diagonals just touch: sigma = sqrt(2) spacing
    position = np.stack(np.meshgrid(np.arange(4.0), np.arange(4.0)), axis=-1).reshape(-1, 2) / np.sqrt(2.0)
    found = network(position, np.eye(2) * 4 / np.sqrt(2.0), alpha=alpha)
    assert found.backbone.all()
    assert found.one_sided is one_sided


def test_networks_are_compared_by_particles_and_contacts():
    position, matrix = hexagonal()
    first, second = network(position, matrix), network(position * 1.0, matrix)
    assert first.same_as(second)
    assert not first.same_as(network(*hexagonal(spacing=0.5 * 1.02 / 0.51 * 1.01)))


def test_elsewhere_a_rattler_is_a_particle_without_stiffness():
    # a spring between particles 0 and 1; particle 2 feels nothing
    law = EnergyFunction(lambda x, p, box: p["k"] * (jnp.linalg.norm(x[0] - x[1]) - 1.0) ** 2, {"k": 1.0})
    configuration = Configuration(jnp.array([[0.0, 0.0], [1.0, 0.0], [5.0, 5.0]]), jnp.zeros(3, int), FreeBox(2))
    found = contact_network(State.unlisted(configuration, law).with_every_pair())
    np.testing.assert_array_equal(found.backbone, [True, True, False])
    assert found.n_contacts == 0


def test_derivatives_at_a_tie_are_one_sided():
    start = bidisperse.build(bidisperse.Options(n_particles=16, packing_fraction=1.0)).configuration
    tied, apart = (SoftSphere(PerSpecies(sizes, jnp.maximum)) for sizes in ([0.9, 0.9], [0.9, 0.91]))
    assert contact_network(State.unlisted(start, tied).with_every_pair()).one_sided
    assert not contact_network(State.unlisted(start, apart).with_every_pair()).one_sided


def test_a_touching_pair_of_a_sum_is_one_sided():
    position, matrix = hexagonal(spacing=1.0)
    configuration = Configuration(jnp.asarray(position), jnp.zeros(len(position), int), PeriodicBox(matrix))
    pairs = neighbor_pairs(position, configuration.box, 1.2)
    both = Sum({"discs": SoftSphere(1.0 + 1e-10), "wide": SoftSphere(1.1)})
    assert contact_network(State(configuration, both, pairs)).one_sided
    assert not contact_network(State(configuration, Sum({"wide": SoftSphere(1.1)}), pairs)).one_sided


def test_the_range_is_that_of_the_pairs_that_occur():
    # a rule that exceeds both diameters, and one of a species without particles
    def wide(a, b):
        return 0.9 * (a + b)

    position, matrix = hexagonal()
    n = len(position)
    for sigma in (PerSpecies([1.0, 1.0, 5.0], wide), PerParticle(np.ones(n), wide)):
        species = jnp.arange(n) % 2
        here = Configuration(jnp.asarray(position), species, PeriodicBox(matrix), ("A", "B", "C"))
        assert max_reach(SoftSphere(sigma), here) == pytest.approx(1.8)
