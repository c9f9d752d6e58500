"""Scales are found, not assumed: unlike sizes, units, species nobody has, and energies that declare nothing."""

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mdsens.energy import Locality, State
from mdsens.energy.foreign import EnergyFunction, NeighborEnergyFunction
from mdsens.energy.parameters import PerPair, PerParticle, PerSpecies, Uniform
from mdsens.errors import UserError
from mdsens.neighbors import pair_distances
from mdsens.relaxation import MINIMIZERS, RelaxationSettings, relax
from mdsens.relaxation.approach import milder
from mdsens.relaxation.scales import Scales, scales
from mdsens.results import Verdict
from mdsens.types import Configuration, FreeBox, PeriodicBox
from potentials import soft_sphere
from systems import bidisperse

DONE = (Verdict.CONVERGED, Verdict.UNJAMMED)


def packing(n=200, small=0.6, alpha=2.0, **options):
    start = bidisperse.build(bidisperse.Options(n_particles=n, diameters=(small, 1.0), **options))
    return soft_sphere.SoftSphere(PerSpecies(start.diameters), alpha=alpha), start.configuration


def in_units(problem, length, energy):
    law, start = problem
    box = PeriodicBox(start.box.matrix * length)
    scaled = soft_sphere.SoftSphere(PerSpecies(law.sigma.values * length), Uniform(law.epsilon.values * energy))
    return scaled, Configuration(start.position * length, start.species, box, start.species_names)


@pytest.mark.parametrize(("small", "alpha"), [(0.2, 2.0), (0.1, 2.0), (0.3, 2.5)])
def test_packings_of_unlike_sizes_converge(small, alpha):
    found = relax(*packing(small=small, alpha=alpha, packing_fraction=0.95))
    assert found.verdict is Verdict.CONVERGED
    assert len(found.history.energy) < 10_000
    assert found.max_force <= 2e-12


@pytest.mark.exhaustive
@pytest.mark.parametrize("rule", MINIMIZERS)
@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize(("d", "phi"), [(2, 0.9), (2, 0.95), (3, 0.7)])
def test_every_packing_of_sizes_one_to_ten_converges(rule, seed, d, phi):
    problem = packing(small=0.1, dimension=d, packing_fraction=phi, seed=seed)
    assert relax(*problem, RelaxationSettings(minimizer=MINIMIZERS[rule])).verdict in DONE


@pytest.mark.exhaustive
@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize(("d", "phi"), [(2, 0.9), (2, 0.95), (3, 0.7)])
def test_every_large_packing_of_sizes_one_to_ten_converges(seed, d, phi):
    assert relax(*packing(2000, 0.1, dimension=d, packing_fraction=phi, seed=seed)).verdict in DONE


def test_a_species_nobody_has_changes_nothing():
    law, start = packing(64, packing_fraction=0.95)
    without = relax(law, start)
    three = dataclasses.replace(start, species_names=("A", "B", "C"))
    wide = dataclasses.replace(law, sigma=PerSpecies(jnp.append(law.sigma.values, 2.0)))
    found = relax(wide, three)
    np.testing.assert_array_equal(found.state.position, without.state.position)
    assert found.force_unit == without.force_unit


def test_a_pair_nobody_is_in_changes_nothing():
    position = jnp.array([[0.1, 0.1], [0.9, 0.2], [0.5, 0.9]])
    start = Configuration(position, jnp.array([0, 0, 1]), PeriodicBox.cubic(1.6, 2), ("A", "B"))
    assert scales(soft_sphere.SoftSphere(PerPair([1.0, 1.2, 9.0]), 3.0), start) == (1.2, 3.0)
    each = soft_sphere.SoftSphere(PerParticle(jnp.array([0.5, 1.0, 2.0])), 3.0)
    assert scales(each, start) == (2.0, 3.0)


@pytest.mark.parametrize("n", [64, 400])
def test_powers_of_two_as_units_give_the_same_path_bit_for_bit(n):
    problem = packing(n, packing_fraction=0.95)
    settings = RelaxationSettings(newton=False, max_force=1e-6)
    found = relax(*problem, settings)
    scaled = relax(*in_units(problem, 2.0**-33, 2.0**-70), settings)
    np.testing.assert_array_equal(scaled.history.energy, found.history.energy * 2.0**-70)
    np.testing.assert_array_equal(scaled.state.position, found.state.position * 2.0**-33)


@pytest.mark.parametrize(("length", "energy"), [(1e10, 1.0), (1e-10, 1e-21)])
def test_every_unit_leads_to_the_same_minimum(length, energy):
    problem = packing(64, packing_fraction=0.95)
    found, scaled = relax(*problem), relax(*in_units(problem, length, energy))
    assert scaled.verdict is Verdict.CONVERGED
    assert scaled.energy == pytest.approx(found.energy * energy, rel=1e-12)
    assert scaled.network.same_as(found.network)


def bare_lennard_jones(position, epsilon, box):
    i, j = np.triu_indices(len(position), 1)
    r = jnp.linalg.norm(box.displacement(position[i] - position[j]), axis=-1)
    cut = jnp.where(r < 2.5, (1 - r / 2.5) ** 3, 0.0)
    return jnp.sum(4 * epsilon * (r**-12 - r**-6) * cut)


def test_a_noisy_lennard_jones_crystal_finds_its_places():
    lattice = np.array([[(i + 0.5 * (j % 2)) * 1.09, j * 1.09 * np.sqrt(3) / 2] for j in range(10) for i in range(10)])
    noisy = lattice + 0.06 * np.random.default_rng(0).standard_normal(lattice.shape)
    box = PeriodicBox(np.diag([10.9, 10.9 * np.sqrt(3) / 2]))
    found = relax(EnergyFunction(bare_lennard_jones, 1.0), Configuration(jnp.asarray(noisy), jnp.zeros(100, int), box))
    assert found.verdict is Verdict.CONVERGED
    assert found.energy == pytest.approx(-52.2302, abs=1e-4)


def morse(position, rho, box):
    i, j = np.triu_indices(len(position), 1)
    bond = jnp.exp(-rho * (jnp.linalg.norm(position[i] - position[j], axis=-1) - 1.0))
    return jnp.sum(bond * (bond - 2.0))


def icosahedron():
    golden = (1 + 5**0.5) / 2
    corners = np.array([[0, s, t * golden] for s in (1, -1) for t in (1, -1)])
    corners = np.concatenate([corners, np.roll(corners, 1, axis=1), np.roll(corners, 2, axis=1)])
    position = np.concatenate([np.zeros((1, 3)), corners / np.linalg.norm(corners[0])])
    return Configuration(jnp.asarray(position), jnp.zeros(13, int), FreeBox(3))


@pytest.mark.parametrize(("rho", "height"), [(10.0, -39.662975), (14.0, -37.258877)])
def test_stiff_morse_clusters_stay_in_their_basin(rho, height):
    minimum = relax(EnergyFunction(morse, rho), icosahedron())
    assert minimum.energy == pytest.approx(height, abs=1e-6)  # Cambridge Cluster Database
    again = relax(EnergyFunction(morse, rho + 1e-6), minimum.state.configuration)
    assert again.verdict is Verdict.CONVERGED
    assert np.abs(again.state.position - minimum.state.position).max() < 1e-6


def network_energy(configuration, params, pairs):
    """Return the energy of pairs whose law is a small network, cut smoothly, with a core of given strength."""
    r = pair_distances(configuration, pairs)
    hidden = jnp.tanh(jnp.tanh(r[:, None] * params["w1"] + params["b1"]) @ params["w2"] + params["b2"])
    cut = jnp.where(r < 1.5, (1 - (r / 1.5) ** 2) ** 3, 0.0)
    core = jnp.where(r < 0.8, (0.8 / r) ** 12 - 2 * (0.8 / r) ** 6 + 1, 0.0)
    return jnp.sum(jnp.where(pairs.mask, hidden @ params["w3"] * cut + params["core"] * core, 0.0))


@pytest.mark.parametrize(("seed", "core", "verdict"), [(3, 1, "converged"), (0, 0, "converged"), (3, 0, "nonfinite")])
def test_a_neural_law_from_a_random_start_converges_or_says_why(seed, core, verdict):
    rng = np.random.default_rng(seed)
    shapes = {"w1": 16, "b1": 16, "w2": (16, 16), "b2": 16, "w3": 16}
    params = {name: rng.standard_normal(shape) * (0.4 if name == "w2" else 1.5) for name, shape in shapes.items()}
    start = Configuration(jnp.asarray(rng.uniform(0, 5, (25, 2))), jnp.zeros(25, int), PeriodicBox.cubic(5.0, 2))
    found = relax(NeighborEnergyFunction(network_energy, params | {"core": core}, Locality(1.5)), start)
    assert found.verdict.value == verdict
    if verdict == "nonfinite":  # without a core particles fall on one another, where a force has no direction
        assert re.search(r"Particle \d+ .* has the force nan; its nearest neighbour is .* at 0;", found.reason)


def fene(position, params, box):
    r, (k, most) = jnp.linalg.norm(position[0] - position[1]), params
    core = jnp.where(r < 2 ** (1 / 6), 4 * (r**-12 - r**-6) + 1, 0.0)
    return -0.5 * k * most**2 * jnp.log(1 - (r / most) ** 2) + core


def test_a_fene_dimer_has_its_length():
    start = Configuration(jnp.array([[0.0, 0, 0], [0.97, 0, 0]]), jnp.zeros(2, int), FreeBox(3))
    found = relax(EnergyFunction(fene, jnp.array([30.0, 1.5])), start)
    length = jnp.linalg.norm(found.state.position[0] - found.state.position[1])
    assert length == pytest.approx(0.96089719896, abs=1e-11)


def water(position, params, box):
    kb, kt, r0, theta0 = params
    first, second = position[1] - position[0], position[2] - position[0]
    a, b = jnp.linalg.norm(first), jnp.linalg.norm(second)
    angle = jnp.arccos(jnp.dot(first, second) / (a * b))
    return 0.5 * kb * ((a - r0) ** 2 + (b - r0) ** 2) + 0.5 * kt * (angle - theta0) ** 2


@pytest.mark.parametrize("energy", [1.0, 2.0**-80], ids=["kJ/mol", "much smaller"])
def test_water_in_nanometres_is_accepted(energy):
    position = jnp.array([[0.0, 0, 0], [0.1, 0, 0], [-0.02, 0.09, 0.01]])
    start = Configuration(position, jnp.zeros(3, int), FreeBox(3))
    params = jnp.array([502416.0 * energy, 628.02 * energy, 0.09572, np.deg2rad(104.52)])
    found = relax(EnergyFunction(water, params), start)
    assert found.verdict is Verdict.CONVERGED
    x = found.state.position - found.state.position[0]
    np.testing.assert_allclose(jnp.linalg.norm(x[1:], axis=1), 0.09572, rtol=1e-12)
    assert jnp.dot(x[1], x[2]) / 0.09572**2 == pytest.approx(np.cos(np.deg2rad(104.52)), abs=1e-10)


def test_an_energy_that_is_not_a_number_is_non_finite():
    def odd(position, k, box):
        return k * jnp.sum((position - 1.0) ** 2) + jax.lax.stop_gradient(jnp.log(-1.0 + 0.0 * position[0, 0]))

    start = Configuration(jnp.array([[0.0, 0, 0], [0.97, 0, 0]]), jnp.zeros(2, int), FreeBox(3))
    with pytest.raises(UserError, match="energy_function gives the energy nan"):
        relax(EnergyFunction(odd, 1.0), start)


def test_force_tolerances_follow_the_softest_of_unlike_contacts():
    law, start = packing(64, packing_fraction=0.95)
    alike = Scales.found(State.unlisted(start, law))
    assert (alike.alike, alike.force) == (True, 1.0)
    stiff = soft_sphere.SoftSphere(law.sigma, PerPair([1e6, 1e3, 1.0]))
    unlike = Scales.found(State.unlisted(start, stiff))
    assert not unlike.alike
    assert unlike.force == pytest.approx(1.0, rel=1e-12)


@pytest.mark.parametrize("seed", [0, 3])  # of the second one stiff contacts bear their load with overlaps of 1e-12
def test_contacts_a_million_times_as_stiff_converge(seed):
    law, start = packing(packing_fraction=0.95, seed=seed)
    found = relax(soft_sphere.SoftSphere(law.sigma, PerPair([1e6, 1.0, 1.0])), start)
    assert found.verdict is Verdict.CONVERGED
    assert len(found.history.energy) < 10_000


@pytest.mark.exhaustive
@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("stiff", [(1e6, 1.0, 1.0), (1.0, 1e3, 1e6)], ids=["small ones stiff", "large ones stiff"])
@pytest.mark.parametrize(("d", "phi"), [(2, 0.95), (3, 0.7)])
def test_every_packing_of_stiffnesses_a_million_apart_converges(seed, stiff, d, phi):
    law, start = packing(dimension=d, packing_fraction=phi, seed=seed)
    assert relax(soft_sphere.SoftSphere(law.sigma, PerPair(stiff)), start).verdict in DONE


def test_milder_energies_keep_their_order_and_the_largest():
    law, _ = packing(64)
    softer = milder(soft_sphere.SoftSphere(law.sigma, PerPair([1e6, 1e3, 1.0])))
    np.testing.assert_allclose(softer.epsilon.values, [1e6, 1e4, 1e2], rtol=1e-12)
    assert milder(soft_sphere.SoftSphere(law.sigma, PerPair([1e3, 1.0, 1.0]))) is None
