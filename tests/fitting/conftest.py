"""A tiny packing with known parameters, and starts that are off."""

import jax.numpy as jnp
import numpy as np
import pytest

from mdsens.fitting import Target, perturbed
from mdsens.relaxation import relax
from mdsens.types import replaced
from potentials import lennard_jones, soft_sphere
from systems import bidisperse

LAWS = {
    "soft_sphere": (soft_sphere, {"sigma": (0.6, 0.8, 1.0), "epsilon": (1.0, 1.2, 0.8)}, {"packing_fraction": 1.0}),
    "lennard_jones": (
        lennard_jones,
        {"onset": 1.4, "cutoff": 1.8, "sigma": (1.0, 0.8, 0.88), "epsilon": (1.0, 1.5, 0.5)},
        {"diameters": (1.0, 0.88), "packing_fraction": 0.868},
    ),
}


def exact(name, seed=0):
    """Return a target of 40 particles whose starting parameters are the answer."""
    module, options, system = LAWS[name]
    start = bidisperse.build(bidisperse.Options(n_particles=40, seed=seed, **system))
    law = module.build(module.Options(mixing="independent", **options), start.diameters, 2)
    relaxation = relax(law, start.configuration)
    positions = replaced(start.configuration, {"position": jnp.asarray(relaxation.state.position)})
    return Target(positions, law)


@pytest.fixture(scope="module", params=LAWS)
def truth(request):
    return exact(request.param)


@pytest.fixture(scope="module")
def discs():
    return exact("soft_sphere")


@pytest.fixture(scope="module")
def near(truth):
    return perturbed(truth, 0.005, 3)


@pytest.fixture
def true(truth):
    return np.asarray(truth.selection.values)
