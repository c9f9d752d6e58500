"""Small packings, stacked: a jammed batch with rattlers, relaxed once for all tests."""

import pytest

from mdsens.batch import relax_batch, stack_systems
from potentials import soft_sphere
from systems import bidisperse


def random_packings(n_members, **options):
    """Return law, parameters and random starts."""
    settings = {"n_particles": 32} | options
    starts = [bidisperse.build(bidisperse.Options(seed=seed, **settings)) for seed in range(n_members)]
    law = soft_sphere.build(soft_sphere.Options(), starts[0].diameters, 2)
    return law, [start.configuration for start in starts]


@pytest.fixture(scope="session")
def jammed():
    """Five packings at a packing fraction of 0.90, some with rattlers, and their relaxed batch."""
    law, starts = random_packings(5, packing_fraction=0.90)
    return law, starts, relax_batch(stack_systems(law, starts))


@pytest.fixture(scope="session")
def packings():
    """The function that draws random starts."""
    return random_packings
