"""A state that was relaxed elsewhere is judged as it is, and as ``relax`` judges it."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from mdsens.energy import Barostat
from mdsens.errors import UserError
from mdsens.pressure import relax_at_pressure, taken_as_relaxed_at_pressure
from mdsens.relaxation import PressureSettings, RelaxationSettings, free_strains, relax, taken_as_relaxed
from mdsens.response import linear_response
from mdsens.results import Verdict
from potentials import lennard_jones, soft_sphere
from systems import bidisperse, cluster

TOLERANT = RelaxationSettings(max_force=1.1e-12)


def packing(**options):
    start = bidisperse.build(bidisperse.Options(n_particles=32, **options))
    return soft_sphere.build(soft_sphere.Options(), start.diameters, 2), start.configuration


def free_cluster():
    start = cluster.build(cluster.Options(n_particles=13))
    return lennard_jones.build(lennard_jones.Options(cutoff=50.0, onset=40.0), start.diameters, 1), start.configuration


@pytest.mark.parametrize(
    "made", [lambda: packing(seed=0), lambda: packing(packing_fraction=0.86, seed=2), free_cluster]
)
def test_it_is_judged_as_relax_judges_it(made):
    law, start = made()
    settings = dataclasses.replace(TOLERANT, max_force=1e-11)
    relaxed = relax(law, start, settings)
    found = taken_as_relaxed(law, relaxed.state.configuration, settings)
    assert found.verdict is relaxed.verdict is Verdict.CONVERGED
    np.testing.assert_array_equal(found.state.position, relaxed.state.position)
    assert found.network.same_as(relaxed.network)
    for name in ("energy", "pressure", "force_unit"):
        np.testing.assert_allclose(getattr(found, name), getattr(relaxed, name), rtol=1e-13)
    assert found.max_force == pytest.approx(relaxed.max_force, abs=1e-13 * law.stiffness)
    one, other = linear_response(found), linear_response(relaxed)
    assert one.smallest_eigenvalue == pytest.approx(other.smallest_eigenvalue, rel=1e-9)
    assert one.zero_modes == other.zero_modes
    assert not len(found.history.energy)


def test_a_state_that_is_not_at_rest_is_said_not_to_be():
    law, start = packing(seed=0)
    here = relax(law, start).state.configuration
    moved = dataclasses.replace(here, position=here.position.at[0, 0].add(1e-6))
    assert taken_as_relaxed(law, moved, TOLERANT).verdict is Verdict.MAX_STEPS


def test_particles_at_one_place_are_refused():
    law, start = packing(seed=0)
    together = dataclasses.replace(start, position=jnp.broadcast_to(start.position[:1], start.position.shape))
    with pytest.raises(UserError, match="lie at the same place"):
        taken_as_relaxed(law, together)


def test_at_constant_pressure_it_is_judged_as_relax_at_pressure_judges_it():
    law, start = packing(seed=1)
    settings = PressureSettings(box="triclinic", stress_error=2e-12)
    relaxed = relax_at_pressure(law, start, 0.05, settings)
    assert relaxed.verdict is Verdict.CONVERGED
    strains = free_strains(2, "triclinic")
    state = taken_as_relaxed(law, relaxed.state.configuration, TOLERANT)
    found = taken_as_relaxed_at_pressure(state, Barostat(0.05, strains), settings)
    assert found.verdict is Verdict.CONVERGED
    np.testing.assert_allclose(found.box.enthalpy, relaxed.box.enthalpy, rtol=1e-13)
    assert taken_as_relaxed_at_pressure(state, Barostat(0.051, strains), settings).verdict is Verdict.STRAINED
