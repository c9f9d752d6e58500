"""A batch: every member at its own minimum with its own verdict, whatever becomes of the others."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mdsens.batch import BatchSettings, member, relax_batch, stack_arrays, stack_systems
from mdsens.contacts import contact_network
from mdsens.energy import energy, forces, max_force
from mdsens.energy.parameters import PerPair, PerSpecies
from mdsens.errors import UserError
from mdsens.relaxation import relax
from mdsens.results import Verdict
from mdsens.types import PeriodicBox
from potentials.soft_sphere import SoftSphere
from systems import bidisperse


def test_members_are_minima_to_the_last_digits(jammed):
    _, _, batch = jammed
    assert batch.converged.all()
    for k in range(5):
        state = member(batch.stack, k).with_every_pair()
        assert float(max_force(forces(state))) <= 1.1e-12
        assert float(energy(state)) == pytest.approx(batch.energy[k], rel=1e-12)


def test_members_are_judged_as_alone(jammed):
    law, starts, batch = jammed
    assert batch.n_rattlers.sum() > 0  # so that the test sees some
    for k, start in enumerate(starts):
        alone = relax(law, dataclasses.replace(start, position=batch.position[k]))
        assert alone.verdict is Verdict.CONVERGED
        np.testing.assert_array_equal(alone.network.backbone, batch.backbone[k])
        assert alone.network.n_contacts == batch.n_contacts[k]
        assert alone.pressure == pytest.approx(batch.pressure[k], rel=1e-9)
        assert contact_network(alone.state).one_sided == batch.one_sided[k]


def test_stiff_contacts_that_bear_little_are_contacts():
    starts = [bidisperse.build(bidisperse.Options(n_particles=24, packing_fraction=1.0, seed=k)) for k in range(3)]
    law = SoftSphere(PerSpecies(starts[0].diameters), PerPair([1.0, 1e3, 1e6]))
    batch = relax_batch(stack_systems(law, [start.configuration for start in starts]))
    for k, start in enumerate(starts):
        alone = relax(law, dataclasses.replace(start.configuration, position=batch.position[k]))
        assert batch.verdicts[k] is alone.verdict is Verdict.CONVERGED
        assert alone.network.n_contacts == batch.n_contacts[k]


def test_unjammed_members_are_labelled_and_have_no_energy(packings):
    law, starts = packings(2, packing_fraction=0.6)
    batch = relax_batch(stack_systems(law, starts))
    assert batch.verdicts == (Verdict.UNJAMMED, Verdict.UNJAMMED)
    assert np.isnan(batch.energy).all()


def test_failures_do_not_touch_the_others(jammed):
    law, _, batch = jammed
    # one member is relaxed already, one is NaN, one is a start of its own
    position = np.array(batch.position[:3])
    position[1, 7] = np.nan
    position[2] += np.random.default_rng(0).normal(size=position[2].shape)
    boxes = jax.tree.map(lambda leaf: leaf[:3], batch.stack.configuration.box)
    shared = jax.tree.map(lambda leaf: jnp.stack([leaf] * 3), law)
    species = batch.stack.configuration.species[:3]
    found = relax_batch(stack_arrays(shared, position, species, boxes, ("A", "B")))
    assert found.verdicts == (Verdict.CONVERGED, Verdict.NONFINITE, Verdict.CONVERGED)
    np.testing.assert_array_equal(found.position[0], batch.position[0])
    assert found.n_fire[0] == found.n_newton[0] == 0
    assert found.max_force[2] <= 1e-12


def test_a_member_at_its_last_step_is_labelled(packings):
    law, starts = packings(2)
    batch = relax_batch(stack_systems(law, starts), BatchSettings(max_steps=20))
    assert batch.verdicts == (Verdict.MAX_STEPS, Verdict.MAX_STEPS)
    assert (batch.n_fire == 20).all()


def test_parameters_may_differ_between_members(packings):
    law, starts = packings(1)
    bigger, others = packings(1, diameters=(0.7, 1.0))
    batch = relax_batch(stack_systems([law, bigger], [starts[0], others[0]]))
    assert batch.converged.all()
    assert not np.isclose(*batch.energy)


def test_wrong_batches_are_refused(packings):
    law, starts = packings(2)
    _, larger = packings(1, n_particles=40)
    with pytest.raises(UserError, match="configuration 2 differs from the first"):
        stack_systems(law, [*starts, *larger])
    with pytest.raises(UserError, match="at least one configuration"):
        stack_systems(law, [])
    with pytest.raises(UserError, match="one per member"):
        stack_systems([law], starts)
    with pytest.raises(UserError, match="group is 0"):
        BatchSettings(group=0)
    small = dataclasses.replace(starts[0], box=PeriodicBox.cubic(1.5, 2))
    with pytest.raises(UserError, match="box is too small"):
        relax_batch(stack_systems(law, [small]))
