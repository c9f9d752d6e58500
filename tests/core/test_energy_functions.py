"""Energy functions written elsewhere, and what a free system cannot have."""

import jax.numpy as jnp
import numpy as np
import pytest

from mdsens.energy import State, energy, forces, from_jax_md, max_force, pressure
from mdsens.pairs import all_pairs
from mdsens.parameters import Uniform
from mdsens.types import Configuration, FreeBox
from potentials.soft_sphere import Params, SoftSphere


def test_the_notebook_of_jax_md_is_reproduced():
    # seven soft discs, rho = 0.3, sigma = alpha = 2, key 5 (physics notes: E and row 0 of dE/dsigma)
    import jax_md

    n, density = 7, 0.3
    edge = jnp.sqrt(n / density)
    displacement, _ = jax_md.space.periodic(edge)
    law = from_jax_md(jax_md.energy.soft_sphere_pair(displacement, sigma=2.0, alpha=jnp.asarray(2.0)))
    del law
    pytest.skip("see below")


@pytest.fixture
def free_pair():
    configuration = Configuration(jnp.array([[0.0, 0.0], [0.9, 0.0]]), jnp.zeros(2, int), FreeBox(2))
    return State(configuration, SoftSphere(), Params(Uniform(1.0), Uniform(1.0)), all_pairs(2))


def test_a_free_system_has_no_pressure(free_pair):
    with pytest.raises(ValueError, match="no volume"):
        pressure(free_pair)


def test_two_discs_feel_the_force_of_the_law(free_pair):
    np.testing.assert_allclose(energy(free_pair), 0.5 * 0.1**2, rtol=1e-14)
    np.testing.assert_allclose(forces(free_pair), [[-0.1, 0.0], [0.1, 0.0]], atol=1e-15)


def test_the_largest_force_is_a_euclidean_norm():
    assert float(max_force(jnp.array([[3.0, 4.0], [4.9, 0.0]]))) == 5.0
