"""Batches split over devices; the tests run with two CPU devices."""

import jax
import numpy as np
import pytest

from mdsens.batch import observable_sensitivities, position_sensitivities, relax_batch, stack_systems
from mdsens.batch.pool import Pool
from mdsens.batch.sharding import device_mesh
from mdsens.batch.stack import Stack
from potentials import soft_sphere
from systems import bidisperse


@pytest.fixture(scope="module")
def stack() -> Stack:
    starts = [bidisperse.build(bidisperse.Options(n_particles=24, seed=seed)) for seed in range(7)]
    law = soft_sphere.build(soft_sphere.Options(), starts[0].diameters, 2)
    return stack_systems(law, [start.configuration for start in starts])


def test_two_devices_find_what_one_finds(stack: Stack):
    assert jax.device_count() == 2
    both, alone = relax_batch(stack), relax_batch(stack, devices=jax.devices()[:1])
    assert both.mesh is not None
    assert alone.mesh is None
    assert both.verdicts == alone.verdicts
    np.testing.assert_allclose(both.energy, alone.energy, rtol=1e-9)
    first, second = (position_sensitivities(batch, ["soft_sphere.sigma[A]"]) for batch in (both, alone))
    np.testing.assert_allclose(first.values, second.values, rtol=1e-6, atol=1e-9)


def test_a_single_device_is_the_one_asked_for(stack: Stack):
    batch = relax_batch(stack, devices=jax.devices()[1:])
    assert batch.mesh is not None
    assert list(batch.mesh.devices.flat) == jax.devices()[1:]
    assert batch.verdicts == relax_batch(stack, devices=jax.devices()[:1]).verdicts


def test_adjoints_are_split_too(stack: Stack):
    both, alone = relax_batch(stack), relax_batch(stack, devices=jax.devices()[:1])
    first, second = (
        observable_sensitivities(batch, lambda state: state.position[0, 0] ** 2, ["soft_sphere.sigma[A]"])
        for batch in (both, alone)
    )
    np.testing.assert_allclose(first.values, second.values, rtol=1e-6, atol=1e-9)


def test_devices_do_not_talk_to_each_other(stack: Stack, monkeypatch: pytest.MonkeyPatch):
    """An all-reduce in the loop's condition would make every device wait for the others at every step."""
    from mdsens.batch import pool

    programs = []

    def watched(function, mesh, *static):
        call = compiled(function, mesh, *static)

        def traced(*arrays):
            programs.append(call.lower(*arrays).compile().as_text())
            return call(*arrays)

        return traced

    compiled = pool.compiled
    monkeypatch.setattr(pool, "compiled", watched)
    Pool(stack, relax_batch(stack).settings, device_mesh()).run()
    assert len(programs) > 3
    assert not [word for word in ("all-reduce", "all-gather", "collective-permute") if any(word in p for p in programs)]
