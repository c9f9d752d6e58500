"""Many-body laws against sums over all triplets and against the known crystals."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest

from mdsens.energy import State, energy, forces
from mdsens.generic import coloured_hessian, hessian_products
from mdsens.neighbors import neighbor_pairs
from mdsens.observables.elasticity import elastic_tensor
from mdsens.parameters import PerSpecies
from mdsens.pressure import PressureSettings, relax_at_pressure
from mdsens.relax import RelaxationSettings
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
    state = found.relaxation.state
    assert (8 * float(state.configuration.box.volume) / n_atoms) ** (1 / 3) == pytest.approx(5.4309497784, abs=1e-9)
    assert found.relaxation.energy / n_atoms == pytest.approx(-4.3366, rel=1e-9)
    voigt = GIGAPASCALS * elastic_tensor(linear_response(found.relaxation)).voigt
    np.testing.assert_allclose([voigt[0, 0], voigt[0, 1], voigt[3, 3]], [151.42448, 76.42209, 56.44934], rtol=1e-6)
