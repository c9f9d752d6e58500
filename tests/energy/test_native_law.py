"""Machine code made from laws gives what JAX gives: lists, forces, curvatures, and every step of a minimiser."""

from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
import pytest

import mdsens as md
from mdsens.energy import (
    PairPotential,
    State,
    declared_fields,
    energy_and_forces,
    kinds,
    max_reach,
    native_code,
    parameter,
)
from mdsens.energy.kinds import native_ranges
from mdsens.energy.mixing import NonAdditive
from mdsens.energy.native_law import evaluated, native_law
from mdsens.energy.parameters import PerParticle, PerSpecies
from mdsens.energy.scalar_source import NotScalarError, source_of
from mdsens.hessian.matrix import _compiled_blocks, _native_blocks
from mdsens.neighbors import neighbor_pairs
from mdsens.neighbors.listing import Cell, listed
from mdsens.relaxation import LBFGS, ConjugateGradient, Fire, relax
from mdsens.relaxation.descent import Reach, find_pairs, fitting_grid
from mdsens.relaxation.engines import Compiled, Native, engine_for
from mdsens.relaxation.masses import curvature_felt, native_felt
from mdsens.relaxation.scales import Scales
from mdsens.types import FreeBox, PeriodicBox
from potentials import LAWS

RNG = np.random.default_rng(0)
SIGMA = {"A": 0.6, "B": 1.0}


def start(n=40, d=2, spread=None):
    edge = spread or (0.7 * n) ** (1 / d)
    position = np.random.default_rng(n).uniform(0, edge, (n, d))
    species = np.arange(n) % 2
    return md.Configuration(position, species, PeriodicBox.cubic(edge, d), ("A", "B"))


class Oscillating(PairPotential):
    """A law of many functions: what a user may write."""

    contact: ClassVar[bool] = False
    sigma: Any = parameter("length", unit={"length": 1}, above=0)

    @property
    def name(self):
        return "oscillating"

    @property
    def cutoff(self):
        return 2.0

    @property
    def smoothness(self):
        return 2

    def pair_energy(self, distance):
        x = jnp.minimum(distance / self.sigma, 2.0)
        wave = jnp.cos(3 * x) * jnp.exp(-x) + jnp.tanh(x) / jnp.sqrt(1 + x**3) + jnp.log1p(x) - jnp.abs(x - 1.0) ** 3
        return jnp.where(distance < 2 * self.sigma, jnp.clip(2 - x, 0.0, 1.0) ** 4 * wave, 0.0)

    @property
    def pair_length(self):
        return self.sigma


class Tabled(Oscillating):
    """A law that looks numbers up."""

    def pair_energy(self, distance):
        return jnp.interp(distance / self.sigma, jnp.linspace(0.0, 2.0, 9), jnp.linspace(1.0, 0.0, 9) ** 2)


LAWS_OF_PAIRS = {
    "soft spheres": md.potentials.SoftSphere(SIGMA),
    "Hertzian": md.potentials.SoftSphere(SIGMA, alpha=2.5),
    "unlike": md.potentials.SoftSphere(SIGMA, {"A,A": 1e6, "A,B": 1e3, "B,B": 1.0}),
    "Lennard-Jones": md.potentials.LennardJones(SIGMA),
    "WCA": md.potentials.WCA(SIGMA),
    "Morse": md.potentials.Morse(SIGMA),
    "Mie": md.potentials.Mie(SIGMA, n={"A": 9.0, "B": 14.0}, m=5.5, truncation="force_switched"),
    "harmonic-Morse": md.potentials.HarmonicMorse(SIGMA),
    "Yukawa": md.potentials.Yukawa(SIGMA, truncation="force_shifted"),
    "inverse power": md.potentials.InversePower(PerSpecies([0.6, 1.0], NonAdditive(0.2))),
    "Gaussian core": md.potentials.GaussianCore(SIGMA),
    "Buckingham": md.potentials.Buckingham(40.0, 0.25, {"A": 0.05, "B": 0.0}, range=1.5),
    "Born-Mayer": md.potentials.BornMayer(0.5, 0.1, SIGMA, 0.003, 0.002, range=1.5),
    "ZBL": md.potentials.ZBL.of({"A": 14, "B": 29}, range=1.5),
    "Jagla": md.potentials.Jagla(SIGMA, n=6),
    "a user's own": Oscillating(1.0),
}


def of(law, configuration):
    return State.unlisted(configuration, law.for_species(configuration.species_names))


@pytest.mark.parametrize("d", [2, 3])
@pytest.mark.parametrize("name", LAWS_OF_PAIRS)
def test_energy_forces_and_curvatures_are_those_of_jax(name, d):
    state = of(LAWS_OF_PAIRS[name], start(d=d))
    code = native_law(state)
    found = listed(state.position, Cell.of(state.configuration.box), code.kind, code.reach + 0.3)
    whole = state.with_pairs(found.padded(found.n_pairs + 3))
    energy, forces = energy_and_forces(whole)
    force = np.zeros(state.position.shape)
    system = (np.array(state.position), *code.paired(found), code.shared)
    height = evaluated(code.evaluate, *system, np.zeros((0, d)), force, 1.0)
    np.testing.assert_allclose(height, energy, rtol=1e-13)
    np.testing.assert_allclose(force, forces, atol=1e-13 * np.abs(forces).max())
    near = state.potential.contact
    felt = native_felt(code, system[0], code.paired(found), near=near)
    expected = curvature_felt(whole, near=near)
    np.testing.assert_allclose(felt, expected, atol=1e-12 * float(expected.max()))


@pytest.mark.parametrize("name", LAWS_OF_PAIRS)
def test_blocks_of_the_hessian_are_those_of_jax(name):
    state = of(LAWS_OF_PAIRS[name], start(d=3, spread=2.5))  # pairs with several images, and with their own
    state = state.with_pairs(find_pairs_of(state))
    ours, theirs = _native_blocks(state), _compiled_blocks(state)
    for found, expected in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-13 * np.abs(expected).max())


def test_every_pair_law_that_is_shipped_has_machine_code_unless_it_has_knots():
    tested = {type(law) for law in LAWS_OF_PAIRS.values()}
    for kind in LAWS.values():
        if issubclass(kind, PairPotential) and not any(declared.per_knot for _, declared in declared_fields(kind)):
            assert kind in tested, kind
    spline = md.potentials.Spline([1.0, -0.5, -0.2], start=0.6, cutoff=1.5)
    assert native_law(of(spline, start())) is None
    assert native_law(of(md.potentials.Spline(np.ones(4)), start())) is None  # as many knots as pairs of species


def test_laws_beyond_arithmetic_are_left_to_xla():
    state = of(Tabled(1.0), start())
    assert native_ranges(state) is not None
    assert native_law(state) is None
    assert isinstance(engine_of(state, Fire()), Compiled)
    with pytest.raises(NotScalarError, match="an array"):
        source_of(lambda x: (jnp.arange(3.0)[jnp.int32(x)],), ["x"], ["y"])


def test_of_single_particles_parameters_up_to_600_have_a_table():
    few, many = start(40), start(602)
    law = lambda n: md.potentials.SoftSphere(PerParticle(np.linspace(0.6, 1.0, n)))  # noqa: E731
    assert native_law(State.unlisted(few, law(40))).reach.shape == (40, 40)
    assert native_law(State.unlisted(many, law(602))) is None


@pytest.mark.parametrize("periodic", [(True, True, True), (True, False, True), (False, False, True)])
@pytest.mark.parametrize("skew", [0.0, 0.7, -1.4])
@pytest.mark.parametrize("n", [1, 2, 30, 250])
def test_lists_of_any_cell_are_those_of_a_tree(n, skew, periodic):
    matrix = jnp.asarray(5 * np.eye(3) + np.triu(np.full((3, 3), 5 * skew), 1))
    box, position = PeriodicBox(matrix, periodic=periodic), RNG.uniform(-9, 9, (n, 3))
    for reach in (0.4, 1.9, 6.0, 11.0) if n < 40 else (0.4, 1.9):
        found = listed(position, Cell.of(box), np.zeros(n, np.int32), np.full((1, 1), reach))
        tree, pairs = neighbor_pairs(position, box, reach), found.padded(found.n_pairs)
        mask = np.asarray(tree.mask)
        for ours, theirs in zip((pairs.i, pairs.j, pairs.shift), (tree.i, tree.j, tree.shift), strict=True):
            np.testing.assert_array_equal(ours[..., : found.n_pairs], np.asarray(theirs)[..., mask])


@pytest.mark.parametrize("scale", [1e-10, 1.0, 1e10])
def test_lists_of_free_particles_at_any_scale(scale):
    position = scale * RNG.uniform(0, 4, (60, 2))
    found = listed(position, Cell.of(FreeBox(2)), np.zeros(60, np.int32), np.full((1, 1), 0.9 * scale))
    assert found.n_pairs == int(np.sum(neighbor_pairs(position, FreeBox(2), 0.9 * scale).mask))


def engine_of(state, rule, kind=engine_for):
    longest = max_reach(state.potential, state.configuration)
    reach = Reach(longest, 0.4 * longest, fitting_grid(state, state.position, longest, 0.4 * longest))
    pairs, reach = find_pairs(state, state.position, reach, 0)
    state = state.with_pairs(pairs)
    return kind(state, rule, Scales.found(state), reach)


@pytest.mark.parametrize("d", [2, 3])
@pytest.mark.parametrize("rule", [Fire(), ConjugateGradient()], ids=lambda rule: rule.words)
@pytest.mark.parametrize("name", ["soft spheres", "unlike", "Lennard-Jones"])
def test_every_step_is_that_of_the_rule_in_jax(name, rule, d):
    configuration = start(d=d)
    held = np.zeros((40, d), bool)
    held[[3, 17], 0] = True
    state = of(LAWS_OF_PAIRS[name], configuration.holding(held))
    scales = Scales.found(state.with_pairs(find_pairs_of(state)))
    ours, theirs = engine_of(state, rule), engine_of(state, rule, Compiled)
    assert isinstance(ours, Native)
    for engine in (ours, theirs):
        engine.relist()
    n_steps = 60 if isinstance(rule, Fire) else 25  # line searches double a rounding error at every other step
    found, expected = (engine.advance(1e-12, n_steps, np.inf, scales) for engine in (ours, theirs))
    np.testing.assert_allclose(found.energy, expected.energy, rtol=1e-9)
    np.testing.assert_allclose(found.max_force[:10], expected.max_force[:10], rtol=1e-9)
    np.testing.assert_allclose(ours.position[held], np.asarray(configuration.position)[held], atol=0)
    assert (found.resting, len(found.energy)) == (expected.resting, len(expected.energy))


def find_pairs_of(state):
    return neighbor_pairs(state.position, state.configuration.box, max_reach(state.potential, state.configuration))


def test_other_rules_are_left_to_xla():
    assert isinstance(engine_of(of(LAWS_OF_PAIRS["WCA"], start()), LBFGS()), Compiled)


def test_a_relaxation_ends_where_the_rule_in_jax_ends_it(monkeypatch):
    law, configuration = LAWS_OF_PAIRS["soft spheres"].for_species(("A", "B")), start(60)
    found = relax(law, configuration)
    monkeypatch.setattr("mdsens.relaxation.way.engine_for", Compiled)
    again = relax(law, configuration)
    assert found.verdict is again.verdict
    np.testing.assert_allclose(found.energy, again.energy, rtol=1e-12)
    np.testing.assert_allclose(found.state.position, again.state.position, atol=1e-9)


def test_a_force_that_is_no_number_ends_the_way():
    state = of(LAWS_OF_PAIRS["soft spheres"], start())
    engine = engine_of(state, Fire())
    engine._x[0] = np.nan
    taken = engine.advance(1e-9, 50, 1e-9, Scales.found(state.with_pairs(find_pairs_of(state))))
    assert taken.resting
    assert len(taken.energy) <= 1


def test_code_is_made_without_a_folder_to_keep_it_in(monkeypatch):
    monkeypatch.setattr(native_code, "code_folder", lambda: None)
    native_code._compiled.cache_clear()
    native_code.loops_of.cache_clear()
    kinds._REMEMBERED.clear()
    state = of(Oscillating(1.0), start())
    assert native_law(state) is not None
    native_code._compiled.cache_clear()
    native_code.loops_of.cache_clear()
    kinds._REMEMBERED.clear()


def test_what_numba_refuses_is_left_to_xla(monkeypatch):
    monkeypatch.setattr(native_code, "source_of", lambda function, names, results: ["u = du = ddu = 'text' + 1"])
    native_code.loops_of.cache_clear()
    kinds._REMEMBERED.clear()
    assert native_law(of(Oscillating(1.0), start())) is None
    native_code.loops_of.cache_clear()
    kinds._REMEMBERED.clear()
