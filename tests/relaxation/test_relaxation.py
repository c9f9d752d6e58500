"""Relaxation: converged states of many kinds, verdicts, and what the way there may not do."""

import jax.numpy as jnp
import numpy as np
import pytest

from mdsens.energy import energy, forces, max_force
from mdsens.errors import NumericalError, UserError
from mdsens.hessian import hessian
from mdsens.relaxation import RelaxationSettings, relax
from mdsens.results import Verdict, check
from mdsens.types import Configuration, FreeBox, PeriodicBox
from potentials import soft_sphere
from potentials.soft_sphere import SoftSphere
from systems import bidisperse, fcc, hexagonal, polydisperse

ONE = SoftSphere(1.0)


def problem(start, **options):
    n_species = len(start.configuration.species_names)
    law = soft_sphere.build(soft_sphere.Options(**options), start.diameters, n_species)
    return law, start.configuration


def discs(**options):
    return bidisperse.build(bidisperse.Options(**{"n_particles": 40} | options))


def alike(position, edge):
    """Return discs of diameter one at given places."""
    position = jnp.asarray(position, dtype=float)
    box = PeriodicBox.cubic(edge, 2) if edge else FreeBox(2)
    return Configuration(position, jnp.zeros(len(position), int), box)


PROBLEMS = {
    "harmonic 2D": lambda: problem(discs()),
    "Hertzian 2D": lambda: problem(discs(), alpha=2.5),
    "Hertzian 3D": lambda: problem(
        discs(n_particles=32, dimension=3, packing_fraction=0.8), alpha=2.5, epsilon=(1.0, 2.0)
    ),
    "independent pairs": lambda: problem(
        discs(), mixing="independent", sigma=(0.6, 0.75, 1.0), epsilon=(1.0, 2.0, 3.0)
    ),
    "polydisperse": lambda: problem(polydisperse.build(polydisperse.Options(n_particles=40)), alpha=2.5),
    "near jamming": lambda: problem(discs(packing_fraction=0.87, n_particles=40, seed=2)),
}


@pytest.fixture(scope="module", params=PROBLEMS.values(), ids=PROBLEMS)
def relaxed(request):
    return relax(*request.param())


def test_the_state_is_a_minimum_to_the_last_digits(relaxed):
    check(relaxed.verdict)
    assert relaxed.max_force <= 1e-12 * relaxed.force_unit
    values = np.linalg.eigvalsh(hessian(relaxed.state).toarray())
    assert values[0] > -1e-10 * values[-1]


def test_the_record_describes_its_state(relaxed):
    everything = relaxed.state.with_every_pair()
    assert relaxed.energy == pytest.approx(float(energy(everything)), rel=1e-12)  # the list misses no pair
    assert float(max_force(forces(everything))) <= 1.1e-12 * relaxed.force_unit
    assert relaxed.pressure > 1e-4
    assert relaxed.seconds > 0


def test_the_history_ends_where_the_state_is(relaxed):
    history = relaxed.history
    assert history.energy[-1] == pytest.approx(relaxed.energy, rel=1e-10)
    assert history.max_force[-1] == relaxed.max_force
    assert len(history.energy) == len(history.max_force) == len(history.newton)
    assert np.isfinite(history.energy).all()
    assert history.path_step[0] == 0
    assert np.all(np.diff(history.path_step) > 0)
    np.testing.assert_array_equal(history.path[-1], relaxed.state.position)


def test_newton_steps_come_last_and_never_raise_the_energy(relaxed):
    newton = relaxed.history.newton
    assert newton.any()
    first = int(np.argmax(newton))
    assert newton[first:].all()
    # below the last FIRE energy, up to the rounding of a sum of about 3 n terms
    values = relaxed.history.energy[first - 1 :]
    assert np.all(np.diff(values) <= 1e-14 * values[0])


def test_neither_skin_nor_a_restart_changes_the_minimum():
    law, configuration = PROBLEMS["harmonic 2D"]()
    settled = relax(law, configuration)
    x = np.asarray(settled.state.position)
    nudge = 1e-4 * np.random.default_rng(0).standard_normal(x.shape)
    nudged = Configuration(jnp.asarray(x + nudge), configuration.species, configuration.box, ("A", "B"))
    for skin in (0.1, 0.8):
        again = relax(law, nudged, RelaxationSettings(skin=skin))
        check(again.verdict)
        moved = np.asarray(again.state.position) - x
        held = settled.network.backbone & again.network.backbone
        moved = moved[held] - moved[held].mean(axis=0)
        assert np.abs(moved).max() < 1e-10  # max force 1e-12 over a smallest eigenvalue of about 0.02
        assert again.energy == pytest.approx(settled.energy, rel=1e-12)


def test_fire_alone_reaches_the_same_minimum():
    law, configuration = PROBLEMS["harmonic 2D"]()
    quick = relax(law, configuration)
    slow = relax(law, configuration, RelaxationSettings(newton=False, max_force=1e-11))
    check(slow.verdict)
    assert not slow.history.newton.any()
    assert slow.energy == pytest.approx(quick.energy, rel=1e-11)


def test_a_triclinic_box_relaxes():
    start = discs(n_particles=40)
    matrix = start.configuration.box.matrix @ jnp.array([[1.0, 0.3], [0.0, 1.0]])
    skewed = Configuration(start.configuration.position, start.configuration.species, PeriodicBox(matrix), ("A", "B"))
    law, _ = problem(start)
    found = relax(law, skewed)
    check(found.verdict)
    everything = found.state.with_every_pair()
    assert float(max_force(forces(everything))) <= 1.1e-12


@pytest.mark.parametrize("start", [hexagonal, fcc], ids=["hexagonal", "fcc"])
def test_a_perfect_crystal_is_relaxed_from_the_beginning(start):
    built = start.build(start.Options(n_cells=(4, 3) if start is hexagonal else (2, 2, 2), spacing=0.95))
    found = relax(*problem(built))
    check(found.verdict)
    np.testing.assert_allclose(found.state.position, built.configuration.position, atol=1e-12)


def test_a_perturbed_crystal_comes_back():
    options = {"n_cells": (4, 3), "spacing": 0.95}
    perfect = relax(*problem(hexagonal.build(hexagonal.Options(**options))))
    found = relax(*problem(hexagonal.build(hexagonal.Options(**options, perturbation=0.05))))
    check(found.verdict)
    assert found.energy == pytest.approx(perfect.energy, rel=1e-12)
    assert found.pressure == pytest.approx(perfect.pressure, rel=1e-12)


def test_a_dilute_packing_is_unjammed():
    found = relax(*problem(discs(packing_fraction=0.6)))
    assert found.verdict is Verdict.UNJAMMED
    assert found.max_force <= 1e-12
    with pytest.raises(NumericalError, match="unjammed"):
        check(found.verdict)


def test_too_few_steps_are_reported():
    found = relax(*problem(discs()), RelaxationSettings(max_steps=20))
    assert found.verdict is Verdict.MAX_STEPS
    assert len(found.history.energy) == 20
    assert found.max_force > 1e-6


def test_newton_steps_do_not_end_on_a_saddle_when_there_are_rattlers():
    packings = [relax(*problem(discs(n_particles=32, packing_fraction=0.86, seed=seed))) for seed in range(12)]
    assert sum(packing.network.n_rattlers > 0 for packing in packings) >= 5
    assert {packing.verdict for packing in packings} == {Verdict.CONVERGED}


def test_a_symmetric_unstable_arrangement_is_a_saddle():
    # a square lattice of equal discs: every force vanishes by symmetry, but it shears into a hexagonal one
    lattice = np.stack(np.meshgrid(np.arange(6), np.arange(6)), axis=-1).reshape(-1, 2) * 0.9
    found = relax(ONE, alike(lattice, 5.4))
    assert found.verdict is Verdict.SADDLE
    with pytest.raises(NumericalError, match="negative eigenvalue"):
        check(found.verdict)


def test_what_comes_to_rest_at_a_saddle_goes_on_to_a_minimum():
    lattice = np.stack(np.meshgrid(np.arange(6), np.arange(6)), axis=-1).reshape(-1, 2) * 0.9
    noise = 1e-11 * np.random.default_rng(0).standard_normal(lattice.shape)
    stuck, found = relax(ONE, alike(lattice, 5.4)), relax(ONE, alike(lattice + noise, 5.4))
    assert found.verdict is Verdict.CONVERGED
    assert found.energy < 0.9 * stuck.energy
    assert np.all(np.diff(found.history.path_step) >= 0)


@pytest.mark.parametrize("edge", [3.0, 0], ids=["periodic", "free"])
@pytest.mark.parametrize("n", [2, 4, 30])
def test_particles_at_the_same_place_are_refused(n, edge):
    position = np.random.default_rng(0).uniform(size=(n, 2)) * 3
    position[-1] = position[0]
    with pytest.raises(UserError, match=rf"particles 0 and {n - 1} lie at the same place.*move one"):
        relax(ONE, alike(position, edge))


def test_images_at_the_same_place_are_refused():
    with pytest.raises(UserError, match="same place"):
        relax(ONE, alike([[0.1, 0.1], [3.1, 0.1], [1.5, 1.5]], 3.0))


def test_a_particle_may_touch_its_own_images():
    # four contacts, of which two are pairs; the force balances, and the box is as stiff as two springs
    found = relax(ONE, alike([[0.1, 0.1]], 0.9))
    assert found.verdict is Verdict.CONVERGED
    assert found.energy == pytest.approx(2 * 0.5 * 0.1**2, rel=1e-14)
    assert found.pressure == pytest.approx(2 * 0.9 * 0.1 / (2 * 0.9**2), rel=1e-14)
    assert found.network.n_contacts == 2
    assert found.max_force == 0.0


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("edge", [3.0, 0], ids=["periodic", "free"])
def test_tiny_systems_fly_apart_and_are_unjammed(n, edge):
    position = 0.3 * np.array([[0.0, 0.0], [1.0, 0.0], [0.2, 0.9]])[:n]
    found = relax(ONE, alike(position, edge))
    assert found.verdict is Verdict.UNJAMMED
    assert found.energy == 0.0


@pytest.mark.parametrize(
    "wrong", [{"max_force": 0.0}, {"max_force": float("nan")}, {"max_steps": 0}, {"skin": -0.1}, {"skin": 0.0}]
)
def test_settings_out_of_range_name_the_key(wrong):
    with pytest.raises(UserError, match=rf"relaxation\.{next(iter(wrong))}"):
        RelaxationSettings(**wrong)


def test_progress_reports_steps_and_forces():
    seen = []
    relax(*problem(discs()), progress=lambda steps, largest: seen.append((steps, largest)))
    steps = [step for step, _ in seen]
    assert steps == sorted(steps)
    assert seen[-1][1] <= 1e-12


def test_the_result_scales_with_the_units():
    # lengths times 3, energies times 7: the same steps, so the same state up to rounding
    start = discs(n_particles=40)
    law, configuration = problem(start)
    small = relax(law, configuration)
    scaled = SoftSphere(type(law.sigma)(law.sigma.values * 3.0), 7.0)
    box = PeriodicBox(configuration.box.matrix * 3.0)
    large = relax(scaled, Configuration(configuration.position * 3.0, configuration.species, box, ("A", "B")))
    check(large.verdict)
    assert large.energy == pytest.approx(7 * small.energy, rel=1e-9)
    assert large.max_force <= 1e-12 * 7 / 3
