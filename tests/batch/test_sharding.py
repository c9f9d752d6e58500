"""Devices that cannot share a batch are refused; one device is always a mesh."""

import jax
import numpy as np
import pytest

from mdsens.batch import device_mesh, position_sensitivities, relax_batch, stack_systems
from mdsens.errors import UserError
from potentials import soft_sphere
from systems import bidisperse


def test_several_cpu_devices_are_refused():
    with pytest.raises(UserError, match="2 CPU devices cannot share a batch"):
        device_mesh(jax.devices("cpu")[:1] * 2)


def test_a_mesh_of_one_device_changes_nothing():
    starts = [bidisperse.build(bidisperse.Options(n_particles=24, seed=seed)) for seed in range(3)]
    law, params = soft_sphere.build(soft_sphere.Options(), starts[0].diameters, 2)
    stack = stack_systems(law, params, [start.configuration for start in starts])
    plain, split = (relax_batch(stack, mesh=mesh) for mesh in (None, device_mesh(jax.devices()[:1])))
    assert plain.verdicts == split.verdicts
    first, second = (position_sensitivities(batch, ["soft_sphere.sigma[A]"]) for batch in (plain, split))
    np.testing.assert_allclose(second.values, first.values, rtol=1e-6)
