"""Held particles: no unknowns, no zero modes where they break symmetries, and parameters in their own positions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mdsens.batch import stack_systems
from mdsens.energy import energy, free_forces, pressure
from mdsens.energy.foreign import EnergyFunction
from mdsens.energy.parameters import PerSpecies, Uniform
from mdsens.energy.paths import select
from mdsens.errors import NumericalError, UserError
from mdsens.pressure import relax_at_pressure, rerelaxed
from mdsens.relaxation import PressureSettings, relax
from mdsens.response import linear_response
from mdsens.results import Verdict
from mdsens.sensitivity import gradient, observable_sensitivities, position_sensitivity, relaxed_configuration
from mdsens.types import Configuration, FreeBox, PeriodicBox, replaced
from mdsens.verification import compare_with_differences, dense_reference, scale_identities
from potentials.lennard_jones import LennardJones
from potentials.soft_sphere import SoftSphere
from potentials.sutton_chen import SuttonChen
from systems import bidisperse

PATHS = ["soft_sphere.sigma[A]", "box.length", "box.strain[0,1]", "held.position"]
LAW = LennardJones(1.0, onset=1.6, cutoff=2.0)


@pytest.fixture(scope="module")
def packing():
    """Relax a packing, then once more with two particles and a component of a third held, one of them moved."""
    start = bidisperse.build(bidisperse.Options(n_particles=24, packing_fraction=1.0, seed=1))
    law = SoftSphere(PerSpecies(start.diameters), Uniform(1.0))
    first = relax(law, start.configuration).state.configuration
    held = np.zeros((24, 2), bool)
    held[3], held[17], held[20, 0] = True, True, True
    moved = replaced(first, {"position": first.position.at[3].add(0.02)}).holding(held)
    relaxation = relax(law, moved)
    assert relaxation.verdict is Verdict.CONVERGED
    np.testing.assert_array_equal(np.asarray(relaxation.state.position)[held], np.asarray(moved.position)[held])
    return relaxation


@pytest.fixture(scope="module")
def answers(packing):
    response, selection = linear_response(packing), select(packing.state, PATHS)
    return response, selection, position_sensitivity(response, selection)


def test_what_is_held_bears_a_force_and_breaks_translations(packing, answers):
    assert float(jnp.abs(free_forces(packing.state)).max()) < 1e-12 < packing.energy
    assert str(answers[0].zero_modes) == "none"


def test_every_derivative_is_a_difference_of_re_relaxed_packings(packing, answers):
    response, selection, found = answers
    assert found.paths[3:] == tuple(f"held.position[{k}]" for k in ("3,0", "3,1", "17,0", "17,1", "20,0"))
    for difference in compare_with_differences(response, packing, found, selection):
        assert difference.agrees(1e-6), difference
    np.testing.assert_allclose(
        found.values, dense_reference(response.state, response.network, selection.tangents), atol=1e-11
    )
    assert found.certificate.relative_error.max() < 1e-10


def test_held_particles_follow_their_own_parameter_and_the_box(packing, answers):
    found = answers[2]
    position, length = np.asarray(packing.state.position), float(packing.state.configuration.box.length)
    np.testing.assert_allclose(found.values[1][[3, 17]], position[[3, 17]] / length, rtol=1e-12)
    np.testing.assert_allclose(found.values[2][3], position[3, ::-1] / 2, rtol=1e-12)
    np.testing.assert_allclose(found.values[3][[3, 17]], [[1, 0], [0, 0]], atol=1e-14)
    np.testing.assert_array_equal(found.values[0][[3, 17]], 0.0)


def test_forward_and_adjoint_derivatives_of_observables_agree(answers):
    response, selection, found = answers
    named = {"energy": energy, "pressure": pressure, "far": lambda state: jnp.sum(state.position[0] ** 2)}
    forward = observable_sensitivities(response, named, selection, positions=found)
    adjoint = observable_sensitivities(response, named, selection)
    for a, b in zip(forward, adjoint, strict=True):
        assert (a.way, b.way) == ("forward", "adjoint")
        np.testing.assert_allclose(a.values, b.values, rtol=1e-10, atol=1e-13)


def test_the_energy_changes_by_the_force_that_holds(packing, answers):
    response, selection, _ = answers
    force = -np.asarray(jax.grad(lambda x: energy(packing.state.moved(x, packing.state.pairs)))(packing.state.position))
    found = selection.contract(gradient(response, energy))
    np.testing.assert_allclose(found[3:], -force[[3, 3, 17, 17, 20], [0, 1, 0, 1, 0]], atol=1e-12)


def test_scale_identities_hold_while_held_particles_follow_the_box(answers):
    for identity in scale_identities(answers[0]):
        assert identity.violation < 1e-11, identity


def test_relaxed_positions_are_a_function_of_held_ones(packing, answers):
    _, selection, found = answers
    relaxed = relaxed_configuration(packing.state.potential, packing.state.configuration)
    position = lambda parameters: relaxed(parameters).position  # noqa: E731
    for k in (1, 3):
        tangent = selection.combined((np.arange(len(selection.paths)) == k).astype(float))
        np.testing.assert_allclose(
            jax.jvp(position, (packing.state.parameters,), (tangent,))[1], found.values[k], atol=1e-10
        )


def test_at_constant_pressure_the_box_moves_what_is_held(packing):
    settings = PressureSettings(box="orthorhombic")
    found = relax_at_pressure(packing.state.potential, packing.state.configuration, packing.pressure * 1.1, settings)
    assert found.verdict is Verdict.CONVERGED
    state = found.state
    reduced = [c.box.reduced(c.position)[3] for c in (packing.state.configuration, state.configuration)]
    np.testing.assert_allclose(*reduced, rtol=1e-12)
    selection = select(state, ["soft_sphere.sigma[A]", "held.position[3,0]", "box.strain[0,1]"])
    response = linear_response(found)
    joint = position_sensitivity(response, selection)
    for difference in compare_with_differences(response, found, joint, selection):
        assert difference.agrees(1e-5), difference


def test_a_free_cluster_turns_about_its_only_held_particle():
    corner = 1.1 * np.array([[0, 0], [1, 0], [0.5, 0.9], [-0.5, 0.9], [0.0, 1.7]])
    start = Configuration(jnp.asarray(corner), jnp.zeros(5, int), FreeBox(2)).holding([1])
    relaxation = relax(LAW, start)
    assert relaxation.verdict is Verdict.CONVERGED
    response, selection = linear_response(relaxation), select(relaxation.state, ["held", "lennard_jones.sigma"])
    modes = response.zero_modes
    assert (modes.translations, modes.rotations, modes.floppy) == (0, 1, 0)
    by_x, by_y, by_sigma = position_sensitivity(response, selection).values
    position = np.asarray(relaxation.state.position)
    arm = position - position[1]
    for rate in (by_x, by_y):  # a translation with the least turn that takes the others along
        turn = rate - rate[1]
        np.testing.assert_allclose(np.sum(turn * arm, axis=1), 0.0, atol=1e-12)
    np.testing.assert_array_equal([by_x[1], by_y[1], by_sigma[1]], [[1, 0], [0, 1], [0, 0]])
    np.testing.assert_allclose(by_sigma, arm, atol=1e-11)  # sigma is the only length


def strip():
    """Return a strip of the hexagonal crystal, the lowest row held along y and one particle of it altogether."""
    spacing, height = 1.11, 1.11 * np.sqrt(3) / 2
    rows, columns = (index.ravel() for index in np.indices((4, 4)))
    position = np.stack([(columns + 0.5 * (rows % 2)) * spacing, rows * height], axis=1)
    held = np.stack([np.arange(16) == 0, rows == 0], axis=1)
    box = PeriodicBox(np.diag([4 * spacing, 1.0]), (True, False))
    return Configuration(jnp.asarray(position), jnp.zeros(16, int), box).holding(held)


def wells(x, p, box):
    """Return the energy of a law of pairs with a smooth end, written without pairs."""
    apart = box.displacement(x[:, None] - x[None])
    squared = jnp.sum(apart**2, axis=-1) / p["width"] ** 2 + 100 * jnp.eye(len(x))
    well = (squared**-6 - squared**-3) * jnp.maximum(1 - squared / 4, 0) ** 3
    return 2 * p["depth"] * jnp.sum(well)


@pytest.mark.parametrize("kind", ["pairs", "foreign"])
def test_derivatives_of_a_strip_with_a_held_row_are_differences(kind):
    law = LAW if kind == "pairs" else EnergyFunction(wells, {"depth": 1.0, "width": 1.0}, "wells")
    start = strip()
    relaxation = relax(law, start)
    assert relaxation.verdict is Verdict.CONVERGED, relaxation.reason
    response = linear_response(relaxation)
    assert str(response.zero_modes) == "none"
    paths = [name for name in ("lennard_jones.sigma", "wells.width") if name.startswith(law.name)]
    selection = select(relaxation.state, [*paths, "box.strain[0,0]", "held.position[0,1]"])
    found = position_sensitivity(response, selection)
    by_energy = selection.contract(gradient(response, energy))
    for k, path in enumerate(selection.paths):
        direction = selection.combined((np.arange(len(selection.paths)) == k).astype(float))
        ends = [rerelaxed(relaxation, direction, sign * 1e-5) for sign in (1, -1)]
        moved = (ends[0].state.position - ends[1].state.position) / 2e-5
        np.testing.assert_allclose(found.values[k], moved, atol=2e-6 * np.abs(moved).max(), err_msg=path)
        np.testing.assert_allclose(by_energy[k], (ends[0].energy - ends[1].energy) / 2e-5, rtol=1e-6, atol=1e-7)


def test_discs_can_lean_on_held_ones_in_free_space():
    """Four held discs squeeze a fifth; without them nothing holds it."""
    corner = np.array([[0, 0], [0.68, 0.68], [-0.68, 0.68], [0.68, -0.68], [-0.68, -0.68]])
    start = Configuration(jnp.asarray(corner + [[0.01, 0.02]] + 0 * corner), jnp.zeros(5, int), FreeBox(2))
    relaxation = relax(SoftSphere(1.0, 1.0), start.holding([1, 2, 3, 4]))
    assert relaxation.verdict is Verdict.CONVERGED
    found = position_sensitivity(linear_response(relaxation), select(relaxation.state, ["held.position"]))
    np.testing.assert_allclose(found.values[::2, 0].sum(axis=0), [1, 0], atol=1e-12)  # all at once: it goes along
    far = Configuration(jnp.asarray(3 * corner), jnp.zeros(5, int), FreeBox(2)).holding([1, 2, 3, 4])
    alone = relax(SoftSphere(1.0, 1.0), far)
    assert alone.verdict is Verdict.UNJAMMED
    with pytest.raises(NumericalError, match="rigid"):
        linear_response(alone)


def test_held_atoms_of_a_many_body_law():
    edge, motif = 1.56, np.array([[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]])
    position = edge * motif + 0.02 * np.random.default_rng(0).standard_normal((4, 3))
    start = Configuration(jnp.asarray(position), jnp.zeros(4, int), PeriodicBox.cubic(edge, 3)).holding([0, 1])
    relaxation = relax(SuttonChen(epsilon=0.1, a=1.56, c=39.432, n=9, m=6, cutoff=1.2), start)
    assert relaxation.verdict is Verdict.CONVERGED, relaxation.reason
    response, selection = linear_response(relaxation), select(relaxation.state, ["sutton_chen.c", "held.position[1,2]"])
    assert str(response.zero_modes) == "none"
    found = position_sensitivity(response, selection)
    for difference in compare_with_differences(response, relaxation, found, selection):
        assert difference.agrees(1e-6), difference


@pytest.mark.parametrize(
    ("which", "words"),
    [
        ([9], "there are 4"),
        ([-1], "there are 4"),
        (np.ones(3, bool), "truth values"),
        (np.ones(4, bool), "at least one free"),
    ],
)
def test_wrong_choices_are_refused(which, words):
    start = Configuration(jnp.asarray(np.eye(4)[:, :2]), jnp.zeros(4, int), FreeBox(2))
    with pytest.raises(ValueError, match=words):
        start.holding(which)
    assert start.holding(np.zeros(4, bool)).held is None


def test_batches_refuse_held_particles(packing):
    with pytest.raises(UserError, match="one at a time"):
        stack_systems(packing.state.potential, [packing.state.configuration])
