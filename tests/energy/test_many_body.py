"""Many-body laws against sums over all triplets and against the known crystals."""

import itertools
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from mdsens.energy import State, TripletPotential, energy, forces, parameter
from mdsens.energy.parameters import PerSpecies
from mdsens.energy.products import hessian_products
from mdsens.errors import UserError
from mdsens.hessian.any_energy import coloured_hessian
from mdsens.neighbors import neighbor_pairs
from mdsens.observables.elasticity import elastic_tensor
from mdsens.pressure import relax_at_pressure
from mdsens.relaxation import PressureSettings, RelaxationSettings, relax
from mdsens.response import linear_response
from mdsens.types import Configuration, FreeBox, PeriodicBox
from potentials.stillinger_weber import StillingerWeber
from potentials.sutton_chen import SuttonChen

COPPER = SuttonChen(3.61, 1.2382e-2, 39.432, cutoff=7.0 / 3.61)
GIGAPASCALS = 160.2176634  # eV per cubic angstrom


def cloud(n, edge, seed=0):
    position = np.random.default_rng(seed).uniform(0, edge, (n, 3))
    return Configuration(jnp.asarray(position), jnp.zeros(n, int), FreeBox(3))


def silicon_by_triplets(position, law):
    """Return the energy of Stillinger and Weber summed over pairs and triplets one by one."""
    sigma, epsilon, lam, a, b, gamma = (
        float(x.values) for x in (law.sigma, law.epsilon, law.lam, law.A, law.B, law.gamma)
    )
    edge, total = law.cutoff * sigma, 0.0
    apart = position[None] - position[:, None]
    distance = np.linalg.norm(apart, axis=-1)
    for i, j in itertools.combinations(range(len(position)), 2):
        r = distance[i, j]
        if r < edge:
            total += epsilon * a * (b * (sigma / r) ** law.p - (sigma / r) ** law.q) * np.exp(sigma / (r - edge))
    for i in range(len(position)):
        near = [j for j in range(len(position)) if j != i and distance[i, j] < edge]
        for j, k in itertools.combinations(near, 2):
            cosine = apart[i, j] @ apart[i, k] / (distance[i, j] * distance[i, k])
            weight = np.exp(gamma * sigma / (distance[i, j] - edge) + gamma * sigma / (distance[i, k] - edge))
            total += epsilon * lam * weight * (cosine + 1 / 3) ** 2
    return total


@pytest.mark.parametrize("seed", range(3))
def test_sums_over_neighbours_are_sums_over_triplets(seed):
    law, configuration = StillingerWeber.silicon(), cloud(14, 6.5, seed)
    state = State.unlisted(configuration, law).with_every_pair()
    expected = silicon_by_triplets(np.asarray(configuration.position), law)
    assert float(energy(state)) == pytest.approx(expected, rel=1e-12)


class ByTriplets(TripletPotential):
    """The same law, its angles summed over triplets."""

    sigma: Any = parameter("length", unit={"length": 1}, above=0)
    epsilon: Any = parameter("energy scale", unit={"energy": 1}, above=0)
    lam: Any = parameter("weight of the angles", default=21.0)

    name = "by_triplets"
    cutoff = 1.8

    @property
    def pair_length(self):
        return self.sigma

    def gap(self, distance):
        ratio = distance / self.sigma
        return 1.0 / (jnp.where(ratio < 1.8 - 1e-6, ratio, 1.8 - 1e-6) - 1.8)

    def pair_energy(self, distance):
        ratio = self.sigma / distance
        return self.epsilon * 7.049556277 * (0.6022245584 * ratio**4 - 1.0) * jnp.exp(self.gap(distance))

    def triplet_energy(self, first, second, cosine):
        weight = jnp.exp(1.2 * (self.gap(first) + self.gap(second)))
        return self.epsilon * self.lam * weight * (cosine + 1 / 3) ** 2


def diamond(edge, noise):
    """Return the primitive cell of diamond, its two atoms off their places."""
    position = edge * np.array([[0.0, 0, 0], [0.25, 0.25, 0.25]])
    position = position + noise * np.random.default_rng(0).standard_normal((2, 3))
    box = PeriodicBox(0.5 * edge * np.array([[0.0, 1, 1], [1, 0, 1], [1, 1, 0]]))
    return Configuration(jnp.asarray(position), jnp.zeros(2, int), box)


@pytest.mark.parametrize("configuration", [cloud(14, 6.5), diamond(4.2, 0.1)], ids=["cloud", "dense cell of two"])
def test_triplets_about_a_centre_give_what_sums_over_neighbours_give(configuration):
    law, other = StillingerWeber.silicon(), ByTriplets(2.0951, 2.1683, most_neighbors=40)
    pairs = neighbor_pairs(configuration.position, configuration.box, 4.0)
    by_sums, by_triplets = (State(configuration, each, pairs) for each in (law, other))
    assert float(energy(by_triplets)) == pytest.approx(float(energy(by_sums)), rel=1e-13)
    scale = float(jnp.abs(forces(by_sums)).max())
    np.testing.assert_allclose(forces(by_triplets), forces(by_sums), atol=1e-12 * scale)
    vector = jnp.asarray(np.random.default_rng(1).standard_normal((1, *configuration.position.shape)))
    products = [hessian_products(state, vector) for state in (by_triplets, by_sums)]
    np.testing.assert_allclose(products[0], products[1], atol=1e-12 * float(jnp.abs(products[1]).max()))


def test_triplets_relax_the_cell_of_silicon():
    found = relax_at_pressure(ByTriplets(2.0951, 2.1683), diamond(5.6, 0.05), 0.0)
    edge = (4 * float(found.state.configuration.box.volume)) ** (1 / 3)
    assert edge == pytest.approx(5.43095, abs=1e-5)  # the sum over neighbours gives the same, as published


def test_more_neighbours_than_places_are_refused():
    with pytest.raises(UserError, match=r"particle \d has \d+ neighbours within the cutoff of by_triplets, and 4 find"):
        relax(ByTriplets(2.0951, 2.1683, most_neighbors=4), diamond(4.2, 0.0))
    state = State.unlisted(diamond(4.2, 0.0), ByTriplets(2.0951, 2.1683, most_neighbors=4)).with_every_pair(2)
    assert np.isnan(float(energy(state)))
    assert np.isnan(forces(state)).all()


@pytest.mark.parametrize("law", [StillingerWeber.silicon(), COPPER], ids=["Stillinger-Weber", "Sutton-Chen"])
def test_forces_and_the_coloured_hessian_are_derivatives(law):
    configuration = cloud(16, 7.0)
    state = State.unlisted(configuration, law).with_every_pair()
    direction = np.random.default_rng(1).standard_normal(state.position.shape)
    h = 1e-5
    ends = [State.unlisted(_moved(configuration, s * h * direction), law).with_every_pair() for s in (1, -1)]
    slope = (float(energy(ends[0])) - float(energy(ends[1]))) / (2 * h)
    assert -np.vdot(forces(state), direction) == pytest.approx(slope, rel=1e-6)
    product = np.asarray(hessian_products(state, direction[None])[0]).ravel()
    found = coloured_hessian(state) @ direction.ravel()
    np.testing.assert_allclose(found, product, atol=1e-11 * np.abs(product).max())


def _moved(configuration, step):
    return Configuration(configuration.position + jnp.asarray(step), configuration.species, configuration.box)


def test_an_atom_alone_feels_nothing():
    lonely = Configuration(jnp.array([[0.0, 0, 0], [50.0, 0, 0]]), jnp.zeros(2, int), FreeBox(3))
    for law in (StillingerWeber.silicon(), COPPER):
        state = State.unlisted(lonely, law).with_every_pair()
        assert float(energy(state)) == 0.0
        np.testing.assert_array_equal(forces(state), 0.0)


def test_images_count_as_neighbours():
    # the one-atom cell against the sum over shells of the face-centred cubic lattice
    edge = 3.61
    primitive = 0.5 * edge * np.array([[1.0, 0, 1], [1, 1, 0], [0, 1, 1]])
    primitive = primitive if np.linalg.det(primitive) > 0 else primitive[:, [1, 0, 2]]
    cell = Configuration(jnp.zeros((1, 3)), jnp.zeros(1, int), PeriodicBox(primitive))
    state = State.unlisted(cell, COPPER).with_pairs(neighbor_pairs(cell.position, cell.box, 7.0))
    count = np.arange(-5, 6)
    grid = np.stack(np.meshgrid(count, count, count), axis=-1).reshape(-1, 3)
    places = 0.5 * edge * grid[grid.sum(axis=1) % 2 == 0]
    r = np.linalg.norm(places, axis=1)
    r = r[(r > 0) & (r < 7.0)]
    end = (1 - (r / 7.0) ** 2) ** 3
    expected = 1.2382e-2 * (0.5 * np.sum((edge / r) ** 9 * end) - 39.432 * np.sqrt(np.sum((edge / r) ** 6 * end)))
    assert float(energy(state)) == pytest.approx(expected, rel=1e-13)


def test_a_law_of_one_kind_of_atom_refuses_more():
    with pytest.raises(ValueError, match=r"stillinger_weber\.sigma is a PerSpecies; .* takes one number"):
        State.unlisted(cloud(3, 2.0), StillingerWeber(PerSpecies([2.0]), 1.0))


@pytest.mark.validation
@pytest.mark.parametrize("n_atoms", [2, pytest.param(8, marks=pytest.mark.exhaustive)])
def test_silicon_has_its_known_lattice_and_moduli(n_atoms):
    edge, sites = 5.43, np.array([[0.0, 0, 0], [0.25, 0.25, 0.25]])
    matrix = 0.5 * np.array([[1.0, 0, 1], [1, 1, 0], [0, 1, 1]])
    matrix = matrix if np.linalg.det(matrix) > 0 else matrix[:, [1, 0, 2]]
    if n_atoms == 8:
        corners = np.array([[0, 0, 0], [0, 1, 1], [1, 0, 1], [1, 1, 0]]) / 2
        matrix, sites = np.eye(3), np.concatenate([corners, corners + 0.25])
    start = Configuration(jnp.asarray(edge * sites), jnp.zeros(n_atoms, int), PeriodicBox(edge * matrix))
    settings = PressureSettings(relaxation=RelaxationSettings(max_force=1e-10, skin=0.1))
    found = relax_at_pressure(StillingerWeber.silicon(), start, 0.0, settings)
    state = found.state
    assert (8 * float(state.configuration.box.volume) / n_atoms) ** (1 / 3) == pytest.approx(5.4309497784, abs=1e-9)
    assert found.energy / n_atoms == pytest.approx(-4.3366, rel=1e-9)
    voigt = GIGAPASCALS * elastic_tensor(linear_response(found.fixed)).voigt
    np.testing.assert_allclose([voigt[0, 0], voigt[0, 1], voigt[3, 3]], [151.42448, 76.42209, 56.44934], rtol=1e-6)
