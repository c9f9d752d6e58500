"""Energy functions written elsewhere, and what a free system cannot have."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mdsens.energy import State, energy, forces, max_force, max_reach, pressure
from mdsens.energy.jax_md import from_jax_md
from mdsens.energy.parameters import Uniform
from mdsens.relaxation import relax
from mdsens.response import linear_response
from mdsens.results import Verdict
from mdsens.sensitivity import gradient
from mdsens.types import Configuration, FreeBox, PeriodicBox
from potentials.soft_sphere import SoftSphere

N, DENSITY = 7, 0.3


@pytest.fixture(scope="module")
def notebook():
    """Relax the seven discs of jax-md's notebook on implicit differentiation, from where its own minimiser ends."""
    import jax_md

    edge = jax_md.quantity.box_size_at_number_density(N, DENSITY, 2)
    with jax.threefry_partitionable(False):  # the generator's layout when the notebook was written
        key, _ = jax.random.split(jax.random.key(5, impl="threefry2x32"))
        position = jax.random.uniform(key, (N, 2), maxval=edge)
    displacement, shift = jax_md.space.periodic(edge)
    sigma = jnp.full((N, N), 2.0)

    def energy_fn(position, sigma):
        return jax_md.energy.soft_sphere_pair(displacement, sigma=sigma, alpha=jnp.full((N, N), 2.0))(position)

    init, apply = jax_md.minimize.fire_descent(lambda position: energy_fn(position, sigma), shift)
    found = jax.lax.fori_loop(0, 200, lambda _, state: apply(state), init(position)).position
    configuration = Configuration(found, jnp.zeros(N, int), PeriodicBox.cubic(edge, 2))
    return relax(from_jax_md(energy_fn, {"sigma": sigma}), configuration)


def test_the_energy_is_the_one_in_the_notebook_of_jax_md(notebook):
    assert notebook.verdict is Verdict.CONVERGED
    assert notebook.energy == pytest.approx(0.0615943027340254, rel=1e-13)


def test_the_derivative_is_the_one_in_the_notebook_of_jax_md(notebook):
    found = gradient(linear_response(notebook), energy).potential.params["sigma"][0]
    printed = [0.0, 0.00297984, 0.00736627, 0.015354, 0.0, 0.015354, 0.00297984]
    np.testing.assert_allclose(found, printed, atol=5.1e-9)  # half a unit of the last printed digit


def test_an_energy_function_has_no_range(notebook):
    state = notebook.state
    assert max_reach(state.potential, state.configuration) == float("inf")


@pytest.fixture
def free_pair():
    configuration = Configuration(jnp.array([[0.0, 0.0], [0.9, 0.0]]), jnp.zeros(2, int), FreeBox(2))
    return State.unlisted(configuration, SoftSphere(Uniform(1.0), Uniform(1.0))).with_every_pair()


def test_a_free_system_has_no_pressure(free_pair):
    with pytest.raises(ValueError, match="no volume"):
        pressure(free_pair)


def test_two_discs_feel_the_force_of_the_law(free_pair):
    np.testing.assert_allclose(energy(free_pair), 0.5 * 0.1**2, rtol=1e-14)
    np.testing.assert_allclose(forces(free_pair), [[-0.1, 0.0], [0.1, 0.0]], atol=1e-15)


def test_the_largest_force_is_a_euclidean_norm():
    assert float(max_force(jnp.array([[3.0, 4.0], [4.9, 0.0]]))) == 5.0
