"""Free Lennard-Jones clusters: rotations in the null space, and closed forms."""

import jax.numpy as jnp
import numpy as np
import pytest

from mdsens.energy import energy
from mdsens.energy.foreign import EnergyFunction
from mdsens.energy.paths import select
from mdsens.relaxation import relax
from mdsens.response import linear_response
from mdsens.results import check
from mdsens.sensitivity import observable_sensitivity, position_sensitivity
from mdsens.types import Configuration, FreeBox

GOLDEN = (1 + 5**0.5) / 2


def lennard_jones(position, params, box):
    """Return 4 epsilon sum over pairs of (sigma/r)^12 - (sigma/r)^6."""
    i, j = np.triu_indices(len(position), k=1)
    sixth = (params["sigma"] ** 2 / jnp.sum((position[i] - position[j]) ** 2, axis=1)) ** 3
    return 4 * params["epsilon"] * jnp.sum(sixth**2 - sixth)


def icosahedron():
    """Return the thirteen sites of a centred icosahedron of radius one."""
    corners = [np.roll([0.0, a, b * GOLDEN], shift) for shift in range(3) for a in (-1, 1) for b in (-1, 1)]
    return np.vstack([np.zeros(3), np.array(corners) / np.hypot(1, GOLDEN)])


CLUSTERS = {  # start, energy, number of rotations
    2: (np.array([[0.0, 0.0, 0.0], [0.7, 0.6, 0.5]]), -1.0, 2),
    3: (np.array([[0.0, 0.0, 0.0], [1.0, 0.1, 0.0], [0.4, 1.0, 0.2]]), -3.0, 3),
    4: (np.array([[0.0, 0.0, 0.0], [1.0, 0.1, 0.0], [0.4, 1.0, 0.2], [0.5, 0.4, 0.9]]), -6.0, 3),
    13: (icosahedron(), -44.32680141953402, 3),
}
SIGMA, EPSILON = 1.3, 2.0


@pytest.fixture(scope="module", params=CLUSTERS, ids=lambda n: f"LJ{n}")
def cluster(request):
    start, value, n_rotations = CLUSTERS[request.param]
    configuration = Configuration(jnp.asarray(SIGMA * start), jnp.zeros(len(start), int), FreeBox(3))
    law = EnergyFunction(lennard_jones, {"sigma": SIGMA, "epsilon": EPSILON}, "lj")
    relaxation = relax(law, configuration)
    check(relaxation.verdict)
    return relaxation, value, n_rotations


def test_the_energy_is_the_known_one(cluster):
    relaxation, value, _ = cluster
    assert relaxation.energy == pytest.approx(EPSILON * value, rel=1e-12)


def test_distances_are_the_known_ones(cluster):
    relaxation, _, _ = cluster
    position = np.asarray(relaxation.state.position) / SIGMA
    if len(position) == 13:
        radii = np.linalg.norm(position - position.mean(axis=0), axis=1)
        np.testing.assert_allclose(np.sort(radii)[1:], 1.081838288551366, rtol=1e-11)
    else:
        i, j = np.triu_indices(len(position), k=1)
        np.testing.assert_allclose(np.linalg.norm(position[i] - position[j], axis=1), 2 ** (1 / 6), rtol=1e-11)


def test_every_rigid_motion_is_a_zero_mode_and_nothing_else(cluster):
    relaxation, _, n_rotations = cluster
    modes = linear_response(relaxation).zero_modes
    assert (modes.translations, modes.rotations, modes.rattlers, modes.floppy) == (3, n_rotations, 0, 0)


def test_positions_scale_with_sigma_and_ignore_epsilon(cluster):
    relaxation, _, _ = cluster
    response = linear_response(relaxation)
    found = position_sensitivity(response, select(relaxation.state, ["lj.sigma", "lj.epsilon"]))
    position = np.asarray(relaxation.state.position)
    centred = position - position.mean(axis=0)
    np.testing.assert_allclose(found.values[0], centred / SIGMA, atol=1e-10)
    np.testing.assert_allclose(found.values[1], 0.0, atol=1e-10)


def test_the_energy_follows_epsilon_and_ignores_sigma(cluster):
    relaxation, value, _ = cluster
    response = linear_response(relaxation)
    found = observable_sensitivity(response, energy, select(relaxation.state, ["lj.epsilon", "lj.sigma"]))
    np.testing.assert_allclose(found.values, [value, 0.0], atol=1e-9)
