"""Lennard-Jones and Morse particles from ordinary dense starts, with default settings: they all converge."""

import jax.numpy as jnp
import numpy as np
import pytest

from mdsens.energy.parameters import PerPair
from mdsens.relaxation import RelaxationSettings, relax
from mdsens.results import Verdict
from mdsens.types import Configuration, PeriodicBox, replaced
from potentials import lennard_jones, morse, soft_sphere

ONE = lennard_jones.LennardJones(1.0)
KOB_ANDERSEN = lennard_jones.LennardJones(PerPair([1.0, 0.8, 0.88]), PerPair([1.0, 1.5, 0.5]))
MOST = 5_000  # force evaluations


def start(n, d, density, degrees=90.0, seed=0):
    """Return random positions without overlaps: soft discs of diameter 0.9, relaxed."""
    angle = np.deg2rad(degrees)
    edge = (n / density / np.sin(angle)) ** (1 / d)
    matrix = edge * np.eye(d)
    matrix[:2, 1] = edge * np.array([np.cos(angle), np.sin(angle)])
    position = np.random.default_rng(seed).uniform(size=(n, d)) @ matrix.T
    species = jnp.asarray((np.arange(n) >= 4 * n // 5).astype(int))
    configuration = Configuration(jnp.asarray(position), species, PeriodicBox(matrix), ("A", "B"))
    discs = soft_sphere.SoftSphere(0.9)
    settings = RelaxationSettings(max_force=1e-2, newton=False)
    relaxed = relax(discs, configuration, settings)
    return replaced(configuration, {"position": relaxed.state.position})


def assert_converges(law, configuration):
    found = relax(law, configuration)
    assert found.verdict is Verdict.CONVERGED, (found.verdict, found.max_force)
    assert len(found.history.energy) < MOST
    assert found.max_force < 1e-10


@pytest.mark.parametrize("degrees", [90.0, 60.0, 35.0])
@pytest.mark.parametrize("n", [200, 300])
def test_dense_discs_converge_in_boxes_of_every_angle(n, degrees):
    assert_converges(ONE, start(n, 2, 1.1, degrees))


LAWS = {"Lennard-Jones": ONE, "Kob-Andersen": KOB_ANDERSEN} | {
    f"Morse {steepness}": morse.Morse(1.0, 1.0, float(steepness)) for steepness in (3, 6, 10, 14)
}


@pytest.mark.exhaustive
@pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)
@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize(
    ("n", "d", "density", "degrees"),
    [
        *[(n, 2, density, degrees) for n in (100, 300, 1000) for density, degrees in ((0.9, 90), (1.1, 60), (1.2, 35))],
        *[(n, 3, density, degrees) for n in (100, 250, 1000) for density, degrees in ((0.9, 90), (1.2, 60))],
    ],
)
def test_every_disordered_start_converges(law, n, d, density, degrees, seed):
    assert_converges(law, start(n, d, density, degrees, seed))
