"""Energies, forces and stress in cells of any shape, against a plain sum over all images."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mdsens.energy import State, energy, forces
from mdsens.energy.parameters import at_pairs
from mdsens.neighbors import neighbor_pairs
from mdsens.observables import stress_tensor
from mdsens.types import Configuration, PeriodicBox
from potentials.lennard_jones import LennardJones

LAW = LennardJones(1.0, onset=2.0, cutoff=2.5)
LAW_AT_PAIRS = at_pairs(LAW, jnp.zeros(2, int), jnp.zeros(1, int), jnp.ones(1, int))
ANGLES = [(30, 40, 45), (150, 80, 75), (60, 60, 60), (35, 120, 100), (90, 90, 150), (110, 150, 95)]

pytestmark = pytest.mark.validation


def lattice(a, b, c, alpha, beta, gamma):
    """Return the vectors of a cell as columns from its edges and its angles in degrees."""
    ca, cb, cg = np.cos(np.radians([alpha, beta, gamma]))
    sg = np.sin(np.radians(gamma))
    y = (ca - cb * cg) / sg
    return np.array([[a, b * cg, c * cb], [0, b * sg, c * y], [0, 0, c * np.sqrt(1 - cb**2 - y**2)]])


def triclinic(angles):
    matrix = lattice(1.6, 1.7, 1.8, *angles)
    inside = np.array([[0.1, 0.2, 0.3], [0.62, 0.71, 0.83]])
    return matrix, inside @ matrix.T


def hcp():
    matrix = lattice(1.1, 1.1, 1.1 * np.sqrt(8 / 3), 90, 90, 120)
    return matrix, np.array([[0, 0, 0], [1 / 3, 2 / 3, 1 / 2]]) @ matrix.T + [[0, 0, 0], [0.01, -0.02, 0.03]]


CELLS = {"hcp": hcp(), **{"-".join(map(str, angles)): triclinic(angles) for angles in ANGLES}}


@pytest.mark.parametrize("name", CELLS)
def test_pairs_with_images_give_what_all_images_give(name):
    matrix, position = CELLS[name]
    heights = 1 / np.linalg.norm(np.linalg.inv(matrix), axis=1)
    layers = np.ceil(2.5 / heights).astype(int) + 1
    images = np.array(list(itertools.product(*(range(-m, m + 1) for m in layers))), float)

    def total(x, strain):
        deformed = jnp.eye(3) + strain
        apart = (x[:, None, None] - x[None, :, None] - (images @ matrix.T)[None, None]) @ deformed.T
        squared = jnp.sum(apart**2, axis=-1)
        other = squared > 0
        r = jnp.sqrt(jnp.where(other, squared, 1.0))
        return 0.5 * jnp.sum(jnp.where(other & (r < 2.5), LAW_AT_PAIRS.pair_energy(r), 0.0))

    slopes = jax.jit(jax.value_and_grad(total, argnums=(0, 1)))
    height, (slope, by_strain) = slopes(jnp.asarray(position), jnp.zeros((3, 3)))
    box = PeriodicBox(matrix)
    state = State.unlisted(Configuration(position, np.zeros(2, int), box), LAW)
    state = state.with_pairs(neighbor_pairs(state.position, box, 2.5))
    size = float(np.abs(slope).max()) + float(np.abs(by_strain).max())
    found = jax.jit(lambda s: (energy(s), forces(s), stress_tensor(s)))(state)
    np.testing.assert_allclose(found[0], height, rtol=1e-13)
    np.testing.assert_allclose(found[1], -slope, atol=1e-13 * size)
    np.testing.assert_allclose(found[2], by_strain / box.volume, atol=1e-13 * size)
