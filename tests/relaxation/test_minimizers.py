"""Every minimiser leads into a minimum, the ones with a line search never uphill, and memory order does not matter."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from mdsens.energy.foreign import EnergyFunction
from mdsens.energy.parameters import PerParticle
from mdsens.neighbors import SMALL
from mdsens.relaxation import MINIMIZERS, Fire, RelaxationSettings, relax
from mdsens.results import Verdict
from mdsens.types import Configuration, FreeBox, PeriodicBox
from potentials import soft_sphere
from systems import bidisperse, hexagonal, polydisperse

MONOTONE = [name for name in MINIMIZERS if name != "fire"]


def problem(start):
    n_species = len(start.configuration.species_names)
    law = soft_sphere.build(soft_sphere.Options(), start.diameters, n_species)
    return law, start.configuration


def packing(n, seed=0):
    return problem(bidisperse.build(bidisperse.Options(n_particles=n, packing_fraction=0.95, seed=seed)))


@pytest.mark.parametrize("name", MINIMIZERS)
@pytest.mark.parametrize("n", [40, SMALL + 20], ids=["small", "large"])
def test_a_random_start_becomes_a_minimum(name, n):
    found = relax(*packing(n), RelaxationSettings(minimizer=MINIMIZERS[name]))
    assert found.verdict is Verdict.CONVERGED
    assert found.max_force <= 1e-12
    assert found.history.newton[-1]


@pytest.mark.parametrize("name", MONOTONE)
def test_a_line_search_never_goes_uphill(name):
    found = relax(*packing(60), RelaxationSettings(minimizer=MINIMIZERS[name], newton=False, max_force=1e-9))
    assert found.verdict is Verdict.CONVERGED
    energy = found.history.energy
    assert (np.diff(energy) <= 1e-12 * energy[:-1]).all()


@pytest.mark.parametrize("name", MINIMIZERS)
def test_a_perturbed_minimum_is_found_again(name):
    law, start = packing(SMALL + 20)
    minimum = relax(law, start)
    noise = 1e-3 * np.random.default_rng(1).standard_normal(start.position.shape)
    nudged = dataclasses.replace(start, position=minimum.state.position + noise)
    again = relax(law, nudged, RelaxationSettings(minimizer=MINIMIZERS[name]))
    held = minimum.network.backbone
    moved = np.asarray(again.state.position - minimum.state.position)[held]
    np.testing.assert_allclose(moved - moved.mean(axis=0), 0.0, atol=1e-9)


@pytest.mark.parametrize("name", MINIMIZERS)
def test_a_sheared_crystal_keeps_its_places(name):
    crystal = problem(hexagonal.build(hexagonal.Options(n_cells=(18, 10), packing_fraction=1.0)))
    law, start = crystal
    shear = jnp.array([[1.0, 0.02], [0.0, 1.0]])
    sheared = Configuration(
        start.position @ shear.T + 0.02 * np.random.default_rng(0).standard_normal(start.position.shape),
        start.species,
        PeriodicBox(shear @ start.box.matrix),
        start.species_names,
    )
    found = relax(law, sheared, RelaxationSettings(minimizer=MINIMIZERS[name]))
    moved = np.asarray(found.state.position - start.position @ shear.T)
    np.testing.assert_allclose(moved - moved.mean(axis=0), 0.0, atol=1e-9)


def test_the_order_of_the_particles_in_memory_does_not_matter():
    law, start = problem(polydisperse.build(polydisperse.Options(n_particles=SMALL + 20)))
    minimum = relax(law, start)
    order = np.random.default_rng(0).permutation(SMALL + 20)
    mixed = dataclasses.replace(start, position=minimum.state.position[order] + 1e-4, species=start.species[order])
    shuffled = dataclasses.replace(law, sigma=PerParticle(law.sigma.values[order], law.sigma.mixing))
    again = relax(shuffled, mixed)
    assert again.energy == pytest.approx(minimum.energy, rel=1e-12)
    assert again.network.n_contacts == minimum.network.n_contacts
    np.testing.assert_array_equal(again.network.backbone, minimum.network.backbone[order])


def test_an_energy_without_pairs_can_be_minimised_by_any_rule():
    trap = EnergyFunction(lambda x, k, box: 0.5 * k * jnp.sum((x - jnp.arange(6.0).reshape(3, 2)) ** 2), 2.0)
    start = Configuration(jnp.zeros((3, 2)), jnp.zeros(3, int), FreeBox(2))
    for rule in MINIMIZERS.values():
        found = relax(trap, start, RelaxationSettings(minimizer=rule))
        np.testing.assert_allclose(found.state.position, np.arange(6.0).reshape(3, 2), atol=1e-12)


def test_the_path_of_a_large_system_is_thinned():
    found = relax(*packing(SMALL + 20), RelaxationSettings(minimizer=Fire(dt_max=0.1), newton=False, max_force=1e-6))
    steps = found.history.path_step
    assert steps[0] == 0
    assert steps[-1] == len(found.history.energy)
    assert (np.diff(steps) > 0).all()
    np.testing.assert_array_equal(found.history.path[-1], found.state.position)
