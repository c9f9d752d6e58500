"""Bonded terms against closed forms: dimers, molecules, bonds through the boundary."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mdsens.energy import State, Sum, energy, forces
from mdsens.energy.group_parameters import PerBond, PerKind
from mdsens.energy.parameters import PerSpecies
from mdsens.energy.paths import select
from mdsens.errors import UserError
from mdsens.relaxation import relax
from mdsens.response import linear_response
from mdsens.results import Verdict
from mdsens.sensitivity import position_sensitivity
from mdsens.types import Configuration, FreeBox, Groups, PeriodicBox
from potentials.fene_bond import FENEBond
from potentials.harmonic_angle import HarmonicAngle
from potentials.harmonic_bond import HarmonicBond
from potentials.wca import WCA

PAIR = Groups([[0, 1]], np.zeros((1, 1, 3), int))


def free(position, **topology):
    position = jnp.asarray(position, dtype=float)
    return Configuration(position, jnp.zeros(len(position), int), FreeBox(position.shape[1]), ("A",), topology)


def test_the_dimer_of_beads_has_its_known_length_and_slopes():
    start = free([[0.0, 0.0, 0.0], [0.97, 0.0, 0.0]], bonds=PAIR)
    found = relax(Sum([FENEBond(), WCA(1.0)]), start)
    assert found.verdict is Verdict.CONVERGED
    r = float(np.linalg.norm(found.state.position[0] - found.state.position[1]))
    assert r == pytest.approx(0.96089719896, abs=5e-12)

    def slope(r, k, extent, sigma, epsilon):
        sixth = (sigma / r) ** 6
        return k * r / (1 - (r / extent) ** 2) - 24 * epsilon / r * (2 * sixth**2 - sixth)

    by = jax.grad(slope, argnums=(0, 1, 2, 3, 4))(r, 30.0, 1.5, 1.0, 1.0)
    selection = select(found.state, ["fene_bond.k", "fene_bond.extent", "wca.sigma", "wca.epsilon"])
    rates = position_sensitivity(linear_response(found), selection).values
    np.testing.assert_allclose(np.abs(rates[:, 0, 0] - rates[:, 1, 0]), np.abs(np.array(by[1:]) / by[0]), rtol=1e-9)


def test_a_bond_beyond_its_largest_length_has_no_energy():
    state = State.unlisted(free([[0.0, 0.0, 0.0], [1.6, 0.0, 0.0]], bonds=PAIR), FENEBond())
    assert np.isnan(energy(state))
    assert np.isnan(forces(state)).any()
    with pytest.raises(
        UserError, match=r"fene_bond gives group 0 of bonds, particles \[0, 1\] at 1\.6, the energy nan"
    ):
        relax(FENEBond(), state.configuration)
    assert relax(FENEBond(), state.configuration, refuse=False).verdict is Verdict.NONFINITE


def test_water_takes_its_lengths_and_its_angle():
    # kJ/mol and nm
    bonds, angles = Groups([[0, 1], [0, 2]], np.zeros((2, 1, 3), int)), Groups([[0, 1, 2]], np.zeros((1, 2, 3), int))
    start = free([[0.0, 0.0, 0.0], [0.1, 0.01, 0.0], [-0.03, 0.09, 0.01]], bonds=bonds, angles=angles)
    opening = np.deg2rad(104.52)
    found = relax(HarmonicBond(502416.0, 0.09572) + HarmonicAngle(628.02, opening), start)
    assert found.verdict is Verdict.CONVERGED
    arms = np.asarray(found.state.position)[1:] - np.asarray(found.state.position)[0]
    np.testing.assert_allclose(np.linalg.norm(arms, axis=1), 0.09572, rtol=1e-9)
    assert np.arccos(arms[0] @ arms[1] / 0.09572**2) == pytest.approx(opening, rel=1e-8)


def test_parameters_belong_to_all_bonds_to_kinds_or_to_each():
    position = np.random.default_rng(0).uniform(size=(4, 2)) * 2
    groups = Groups([[0, 1], [1, 2], [2, 3]], np.zeros((3, 1, 2), int), [0, 1, 0])
    lengths = np.linalg.norm(position[:-1] - position[1:], axis=1)
    for law, k in (
        (HarmonicBond(2.0, 0.5), [2.0] * 3),
        (HarmonicBond(PerKind([2.0, 3.0]), 0.5), [2.0, 3.0, 2.0]),
        (HarmonicBond(PerBond([2.0, 3.0, 4.0]), 0.5), [2.0, 3.0, 4.0]),
    ):
        state = State.unlisted(free(position, bonds=groups), law)
        assert float(energy(state)) == pytest.approx(0.5 * np.sum(k * (lengths - 0.5) ** 2), rel=1e-13)
    assert select(state).paths[:3] == ("harmonic_bond.k[0]", "harmonic_bond.k[1]", "harmonic_bond.k[2]")


def test_bonds_cross_the_boundary_and_join_a_particle_with_its_image():
    box = PeriodicBox(np.array([[1.0, 0.2], [0.0, 1.1]]))
    position = jnp.array([[0.1, 0.1], [0.9, 1.0]])
    crossing = Groups.nearest([[0, 1]], position, box)
    own = Groups([[0, 0]], np.array([[[1, 0]]]))
    for groups, length in ((crossing, np.hypot(0.4, 0.2)), (own, 1.0)):
        configuration = Configuration(position, jnp.zeros(2, int), box, ("A",), {"bonds": groups})
        value = float(energy(State.unlisted(configuration, HarmonicBond(1.0, 0.0))))
        assert value == pytest.approx(0.5 * length**2, rel=1e-12)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: free(np.eye(2), bonds=Groups([[0, 5]], np.zeros((1, 1, 2), int))), r"group 0 holds .*\[0, 5\]"),
        (lambda: Groups([[1, 1]], np.zeros((1, 1, 2), int)), "group 0 holds particle 1 twice"),
        (lambda: Groups([[0, 1]], np.zeros((2, 1, 2), int)), r"must be \(m, k\)"),
        (lambda: Groups([[0.0, 1.0]], np.zeros((1, 1, 2), int)), "numbered by integers"),
        (lambda: State.unlisted(free(np.eye(3)), HarmonicBond()), "needs the topology 'bonds'"),
        (
            lambda: State.unlisted(free(np.eye(3), bonds=PAIR), HarmonicBond(PerBond([1.0, 2.0]))),
            r"harmonic_bond\.k \(PerBond\) has 2 entries",
        ),
        (
            lambda: State.unlisted(free(np.eye(3), bonds=PAIR), HarmonicBond(PerSpecies([1.0]))),
            "takes one number, PerKind or PerBond",
        ),
        (lambda: State.unlisted(free(np.eye(3), angles=PAIR), HarmonicAngle()), "have 2 members"),
        (lambda: HarmonicBond(-1.0), r"k \(stiffness\) is -1\.0; it must be finite and at least 0"),
        (lambda: HarmonicBond([1.0, 2.0]), "say whose values they are"),
    ],
)
def test_topologies_and_parameters_without_meaning_are_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()
