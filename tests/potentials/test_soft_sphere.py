"""Soft spheres against jax-md and against hand-written sums."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from pydantic import ValidationError

from mdsens.energy import State, energy, energy_at, forces
from mdsens.energy.parameters import PerPair, PerParticle, PerSpecies, Uniform
from mdsens.neighbors import every_pair, pair_distances
from mdsens.types import Configuration, PeriodicBox
from potentials import soft_sphere
from potentials.soft_sphere import Options, SoftSphere

EDGE, N = 3.1, 20


@pytest.fixture(scope="module", params=[2, 3], ids=["2D", "3D"])
def configuration(request):
    position = jax.random.uniform(jax.random.key(3), (N, request.param)) * EDGE
    return Configuration(position, jnp.arange(N) % 2, PeriodicBox.cubic(EDGE, request.param), ("A", "B"))


@jax.jit
def parameter_slope(state):
    return jax.grad(energy_at, argnums=2)(state, state.position, state.parameters).potential


def distances(configuration):
    pairs = every_pair(configuration.position, configuration.box)
    return pairs, pair_distances(configuration, pairs)


@pytest.mark.parametrize("alpha", [2.0, 2.5])
def test_energy_and_forces_agree_with_jax_md_in_real_units(configuration, alpha):
    import jax_md

    sigma, epsilon = jnp.array([[0.7, 0.9], [0.9, 1.2]]), jnp.array([[1.0, 1.5], [1.5, 2.0]])
    displacement, _ = jax_md.space.periodic(EDGE)
    theirs = jax_md.energy.soft_sphere_pair(
        displacement, species=configuration.species, sigma=sigma, epsilon=epsilon, alpha=jnp.asarray(alpha)
    )
    law = SoftSphere(PerPair([0.7, 0.9, 1.2]), PerPair([1.0, 1.5, 2.0]), alpha=alpha)
    state = State.unlisted(configuration, law).with_every_pair()
    wrapped = configuration.box.wrap(configuration.position)
    value, slope = jax.jit(jax.value_and_grad(theirs))(wrapped)
    np.testing.assert_allclose(energy(state), value, rtol=1e-12)
    np.testing.assert_allclose(forces(state), -slope, atol=1e-12)


@pytest.mark.parametrize("alpha", [2.0, 2.5])
def test_the_derivative_in_an_independent_sigma_counts_every_unlike_pair_once(configuration, alpha):
    sigma, epsilon = jnp.array([0.7, 0.9, 1.2]), jnp.array([1.0, 1.5, 2.0])
    state = State.unlisted(configuration, SoftSphere(PerPair(sigma), PerPair(epsilon), alpha=alpha)).with_every_pair()
    slope = parameter_slope(state)
    pairs, distance = distances(configuration)
    kind = np.asarray(configuration.species[pairs.i] + configuration.species[pairs.j])  # 0: AA, 1: AB, 2: BB
    overlap = np.maximum(0.0, 1.0 - distance / sigma[kind])
    by_sigma = epsilon[kind] * overlap ** (alpha - 1) * distance / sigma[kind] ** 2
    by_epsilon = overlap**alpha / alpha
    np.testing.assert_allclose(slope.sigma.values, np.bincount(kind, by_sigma), rtol=1e-12)
    np.testing.assert_allclose(slope.epsilon.values, np.bincount(kind, by_epsilon), rtol=1e-12)


def test_additive_diameters_per_species_and_per_particle_agree(configuration):
    diameters = jnp.array([0.7, 1.2])
    by_species = State.unlisted(configuration, SoftSphere(PerSpecies(diameters))).with_every_pair()
    spread = SoftSphere(PerParticle(diameters[configuration.species]))
    by_particle = State.unlisted(configuration, spread).with_every_pair()
    np.testing.assert_allclose(energy(by_species), energy(by_particle), rtol=1e-14)
    slopes = [parameter_slope(state).sigma.values for state in (by_species, by_particle)]
    np.testing.assert_allclose(slopes[0], np.bincount(configuration.species, slopes[1]), rtol=1e-12)


@pytest.mark.parametrize(
    ("options", "n_diameters", "n_species", "kinds"),
    [
        ({}, 2, 2, (PerSpecies, Uniform)),
        ({}, 9, 1, (PerParticle, Uniform)),
        ({"mixing": "independent"}, 2, 2, (PerPair, Uniform)),
        ({"mixing": "independent", "sigma": (1.0, 1.1, 1.2)}, 2, 2, (PerPair, Uniform)),
        ({"epsilon": (1.0, 2.0)}, 2, 2, (PerSpecies, PerSpecies)),
        ({"epsilon": (1.0, 2.0, 3.0)}, 2, 2, (PerSpecies, PerPair)),
    ],
)
def test_options_choose_how_parameters_are_stored(options, n_diameters, n_species, kinds):
    law = soft_sphere.build(Options(**options), jnp.ones(n_diameters), n_species)
    assert (type(law.sigma), type(law.epsilon)) == kinds


def test_independent_entries_start_from_the_mean_diameter():
    law = soft_sphere.build(Options(mixing="independent"), jnp.array([0.6, 1.0]), 2)
    np.testing.assert_allclose(law.sigma.values, [0.6, 0.8, 1.0])


def test_berthelot_mixing_is_the_geometric_mean():
    law = soft_sphere.build(Options(epsilon=(1.0, 4.0)), jnp.ones(2), 2)
    assert float(law.epsilon.at(jnp.array([0, 1]), jnp.array([0]), jnp.array([1]))[0]) == 2.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sigma": (1.0, 1.0, 1.0, 1.0)}, "potential.sigma has 4 entries"),
        ({"mixing": "independent", "sigma": (1.0, 1.0, 1.0, 1.0)}, "potential.sigma has 4 entries"),
        ({"epsilon": (1.0, 1.0, 1.0, 1.0)}, "potential.epsilon has 4 entries"),
        ({"sigma": (1.0, -0.5)}, r"greater than.*-0\.5"),
        ({"epsilon": -1.0}, r"greater than.*-1\.0"),
    ],
)
def test_wrong_parameters_are_refused_with_a_sentence(options, message):
    with pytest.raises(ValueError, match=message):
        soft_sphere.build(Options(**options), jnp.array([0.6, 1.0]), 2)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0, 0.0])
def test_diameters_must_be_finite_and_positive(value):
    with pytest.raises(ValueError, match="must be finite"):
        SoftSphere(PerSpecies([1.0, value]))


@pytest.mark.parametrize("alpha", [1.0, 0.5, float("nan")])
def test_alpha_must_exceed_one(alpha):
    with pytest.raises(ValueError, match="alpha"):
        SoftSphere(1.0, alpha=alpha)
    with pytest.raises(ValidationError):
        Options(alpha=alpha)


@pytest.mark.parametrize(("alpha", "smoothness"), [(1.5, 1), (2.0, 1), (2.5, 2), (3.0, 2), (3.5, 3)])
def test_smoothness_counts_the_continuous_derivatives_at_contact(alpha, smoothness):
    assert SoftSphere(1.0, alpha=alpha).smoothness == smoothness
