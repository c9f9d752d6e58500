"""Traps, fields and walls: closed forms, sensitivities of re-relaxed states, and what is refused."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import brentq

from mdsens.energy import State, Sum, energy, forces, pressure
from mdsens.energy.parameters import PerPair, PerParticle, PerSpecies
from mdsens.energy.paths import select
from mdsens.errors import UserError
from mdsens.relaxation import relax
from mdsens.response import linear_response
from mdsens.results import Verdict
from mdsens.sensitivity import observable_sensitivity, position_sensitivity
from mdsens.types import Configuration, FreeBox, PeriodicBox, replaced
from potentials.harmonic_trap import HarmonicTrap
from potentials.lennard_jones import LennardJones
from potentials.soft_sphere import SoftSphere
from potentials.soft_wall import SoftWall
from potentials.uniform_field import UniformField

WIDTH = 6.0


def length(state):
    return jnp.linalg.norm(state.position[0] - state.position[1])


def test_a_dimer_in_a_trap_has_its_length_and_its_derivative():
    def balance(r, k):  # u'(r) + k r/2, both particles at r/2 from the origin
        return 24 * (r**-7 - 2 * r**-13) + 0.5 * k * r

    law = Sum({"pair": LennardJones(1.0), "trap": HarmonicTrap(2.0)})
    start = Configuration(jnp.array([[0.6, 0.1, 0.0], [-0.5, 0.0, 0.1]]), jnp.zeros(2, int), FreeBox(3))
    found = relax(law, start)
    r = brentq(balance, 0.9, 1.2, args=(2.0,), xtol=1e-15)
    assert float(length(found.state)) == pytest.approx(r, rel=1e-13)
    np.testing.assert_allclose(np.sum(found.state.position, axis=0), 0.0, atol=1e-13)
    response = linear_response(found)
    assert (response.zero_modes.translations, response.zero_modes.rotations) == (0, 2)
    slope = observable_sensitivity(response, length, select(found.state, ["trap.k"])).values[0]
    bend = 24 * (26 * r**-14 - 7 * r**-8) + 1.0
    assert slope == pytest.approx(-0.5 * r / bend, rel=1e-12)


@pytest.fixture(scope="module")
def heap():
    """Thirty discs of two weights on a floor, in a box that is open upwards."""
    rng = np.random.default_rng(1)
    position = np.stack([rng.uniform(0, WIDTH, 30), np.linspace(0.5, 5.5, 30)], axis=1)
    box = PeriodicBox(WIDTH * np.eye(2), periodic=(True, False))
    start = Configuration(jnp.asarray(position), jnp.asarray(np.arange(30) % 2), box, ("A", "B"))
    law = Sum(
        {
            "disc": SoftSphere(1.0),
            "weight": UniformField(PerSpecies([1e-3, 2e-3])),
            "floor": SoftWall(0.5),
        }
    )
    found = relax(law, start)
    assert found.verdict is Verdict.CONVERGED
    return found


def test_the_floor_carries_the_weight(heap):
    floor = replaced(heap.state, {"potential": heap.state.potential.parts[2]})
    np.testing.assert_allclose(np.sum(forces(floor), axis=0), [0.0, 15 * 3e-3], atol=1e-13)
    modes = linear_response(heap).zero_modes
    assert (modes.translations, modes.rotations, modes.floppy) == (1, 0, 0)


def test_a_heap_follows_its_parameters_as_re_relaxed_ones_do(heap):
    paths = ["disc.sigma", "weight.weight[A]", "weight.weight[B]", "floor.sigma", "floor.place"]
    found = position_sensitivity(linear_response(heap), select(heap.state, paths))
    law, h = heap.state.potential, 1e-6

    def with_step(k, step):
        disc, weight, floor = law.parts
        changed = [
            (dataclasses.replace(disc, sigma=1.0 + step), weight, floor),
            (disc, dataclasses.replace(weight, weight=PerSpecies([1e-3 * (1 + step), 2e-3])), floor),
            (disc, dataclasses.replace(weight, weight=PerSpecies([1e-3, 2e-3 * (1 + step)])), floor),
            (disc, weight, dataclasses.replace(floor, sigma=0.5 + step)),
            (disc, weight, dataclasses.replace(floor, place=step)),
        ][k]
        return Sum(dict(zip(law.names, changed, strict=True)))

    units = [1.0, 1e-3, 2e-3, 1.0, 1.0]
    for k, unit in enumerate(units):
        ends = [relax(with_step(k, s * h), heap.state.configuration).state.position for s in (1, -1)]
        difference = np.asarray(ends[0] - ends[1]) / (2 * h * unit)
        difference[:, 0] -= difference[:, 0].mean()
        np.testing.assert_allclose(found.values[k], difference, atol=2e-6 * np.abs(difference).max())
    np.testing.assert_allclose(found.values[4], np.tile([0.0, 1.0], (30, 1)), atol=1e-9)  # all move with the floor


def test_energies_are_their_formulas():
    position = jnp.array([[0.2, 0.3], [1.0, -0.4]])
    configuration = Configuration(position, jnp.array([0, 1]), FreeBox(2), ("A", "B"))

    def value(law):
        return float(energy(State.unlisted(configuration, law)))

    assert value(HarmonicTrap(PerParticle([2.0, 3.0]))) == pytest.approx(0.13 + 1.5 * 1.16, rel=1e-14)
    assert value(UniformField(PerSpecies([2.0, 5.0]))) == pytest.approx(0.6 - 2.0, rel=1e-14)
    lid = SoftWall(PerSpecies([0.5, 0.8]), 3.0, 0.7, axis=0, above=False, alpha=2.5)
    assert value(lid) == pytest.approx(1.2 * ((1 + 0.3 / 0.8) ** 2.5), rel=1e-14)


@pytest.mark.parametrize("periodic", [(True, True), (True, False)])
def test_a_field_that_is_not_periodic_is_refused_along_periodic_axes(periodic):
    box = PeriodicBox(3.0 * np.eye(2), periodic=periodic)
    start = Configuration(jnp.array([[0.5, 0.5], [1.4, 0.6]]), jnp.zeros(2, int), box)
    law = Sum([SoftSphere(1.0), UniformField(1e-3, axis=0)])
    with pytest.raises(UserError, match="uniform_field is not periodic along axis 0"):
        relax(law, start)


def test_pressure_and_missing_axes_are_refused():
    start = Configuration(jnp.array([[0.5, 0.5], [1.4, 0.6]]), jnp.zeros(2, int), PeriodicBox.cubic(3.0, 2))
    state = State.unlisted(start, Sum([SoftSphere(1.0), UniformField(0.0)])).with_every_pair()
    with pytest.raises(UserError, match="'uniform_field' does not follow the box: it stands where it stands"):
        pressure(state)
    with pytest.raises(UserError, match="axis 2 of a field does not exist: there are 2 dimensions"):
        energy(State.unlisted(start, UniformField(1.0, axis=2)))
    with pytest.raises(ValueError, match=r"harmonic_trap.k is a PerPair; harmonic_trap takes one number or PerSpecies"):
        State.unlisted(start, HarmonicTrap(PerPair([1.0])))
