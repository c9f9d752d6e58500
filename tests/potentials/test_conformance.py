"""What every pair law of the registry of potentials promises; a new law is tested here unasked."""

from pathlib import Path
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array

import potentials
from mdsens.energy import PairPotential, State, energy, energy_at, forces, gradient_at, max_reach, pressure
from mdsens.energy.entries import is_entries
from mdsens.energy.parameters import Parameters, at_pairs
from mdsens.hessian import hessian
from mdsens.neighbors import every_pair, neighbor_pairs, numbered_pairs, padded_pairs
from mdsens.types import Configuration, PeriodicBox

# Settings beyond the defaults that a law is also tested with; laws not listed are tested at their defaults.
SETTINGS = {
    "lennard_jones": [
        {},
        {"onset": 1.5, "cutoff": 1.8, "epsilon": (1.0, 2.0)},
        {"mixing": "independent", "sigma": (1.0, 0.8, 0.88), "epsilon": (1.0, 1.5, 0.5)},
    ],
    "soft_sphere": [
        {},
        {"alpha": 2.5},
        {"mixing": "independent", "sigma": (0.8, 0.85, 1.1), "epsilon": (1.0, 1.5, 2.0)},
        {"alpha": 2.5, "epsilon": (1.0, 2.0)},
    ],
    # short ranges: few particles in a cell of two of them
    "mie": [{"n": (9.0, 14.0), "m": 5.0, "onset": 1.2, "cutoff": 1.5, "truncation": "force_switched"}],
    "yukawa": [{"onset": 1.2, "cutoff": 1.5, "truncation": "force_shifted"}],
    "inverse_power": [{"non_additivity": 0.2}],
    "gaussian_core": [{"onset": 1.0, "cutoff": 1.4}],
    "buckingham": [{"A": (40.0, 60.0), "rho": 0.25, "C": 0.05, "range": 1.5}],
    "born_mayer": [{"A": 0.5, "rho": (0.1, 0.15), "sigma": (0.8, 1.0), "C": 0.03, "D": 0.02, "range": 1.5}],
    "zbl": [{"Z": (2.0, 3.0), "a": (0.3, 0.4), "ke": 1.0, "range": 1.5}],
    "jagla": [{"n": 6, "onset": 1.2, "cutoff": 1.5, "truncation": "shifted"}],
    "spline": [{"u": (3.0, 0.5, -0.6, -0.3, 0.1), "start": 0.6, "cutoff": 1.5}],
    "table": [{"path": str(Path(__file__).parent / "table.txt")}],
}
PER_PARTICLE = ("soft_sphere", "lennard_jones")  # laws that take one length per particle
PAIR_LAWS = [kind for kind, module in potentials.REGISTRY.items() if issubclass(module.Law, PairPotential)]
CASES = [(kind, 2, settings, False) for kind in PAIR_LAWS for settings in SETTINGS.get(kind, [{}])]
CASES += [(kind, 3, SETTINGS.get(kind, [{}])[0], False) for kind in PAIR_LAWS] + [
    (kind, 2, {}, True) for kind in PER_PARTICLE
]
STEP = 1e-5  # of central differences: truncation ~ h^2 = 1e-10 times third derivatives, rounding ~ 1e-16 U/h = 1e-10


class Values(NamedTuple):
    energy: Array
    forces: Array
    gradient: Array
    parameter_slope: Parameters
    pressure: Array


class Case(NamedTuple):
    state: State
    listed: State
    by_all_pairs: Values
    by_list: Values


@jax.jit
def evaluate(state):
    x, p = state.position, state.parameters
    slope = jax.grad(energy_at, argnums=2)(state, x, p)
    return Values(energy(state), forces(state), gradient_at(state, x, p), slope, pressure(state))


jitted_energy = jax.jit(energy_at)


def build(kind, d, settings, polydisperse, seed=0):
    """Return a jittered square or cubic lattice of two species, dense enough that many pairs interact."""
    module = potentials.REGISTRY[kind]
    rng = np.random.default_rng(seed)
    spacing = 0.78
    per_side = 5 if d == 2 else 3
    for _ in range(2):  # the second time large enough for the law's range
        n = per_side**d
        species = jnp.asarray(rng.integers(0, 2, n))
        diameters = jnp.asarray(rng.uniform(0.8, 1.1, n) if polydisperse else np.array([0.8, 1.0]))
        law = module.build(module.Options(kind=kind, **settings), diameters, 2)
        grid = np.stack(np.meshgrid(*[np.arange(per_side)] * d, indexing="ij"), axis=-1).reshape(-1, d)
        position = jnp.asarray((grid + rng.uniform(-0.2, 0.2, (n, d))) * spacing)
        box = PeriodicBox.cubic(per_side * spacing, d)
        configuration = Configuration(position, species, box, ("A", "B"))
        reach = max_reach(law, configuration)
        per_side = max(per_side, int(np.ceil(2.05 * reach / spacing)))
    state = State.unlisted(configuration, law).with_every_pair()
    pairs = neighbor_pairs(position, box, 1.05 * reach, capacity=3 * n * n)  # plenty of padding
    assert not bool(pairs.mask.all())
    listed = state.with_pairs(pairs)
    return Case(state, listed, evaluate(state), evaluate(listed))


def name(case):
    return f"{case[0]}-{case[1]}D-{case[2]}{'-per particle' if case[3] else ''}"


@pytest.fixture(scope="module", params=CASES, ids=name)
def case(request):
    return build(*request.param)


in_the_plane = pytest.mark.parametrize("case", [c for c in CASES if c[1] == 2], ids=name, indirect=True)


def assert_trees_close(first, second, **tolerance):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **tolerance), first, second)


def directions(parameters):
    """Yield every one-hot direction in parameter space, the box's matrix included."""
    leaves, structure = jax.tree.flatten(parameters)
    for k, leaf in enumerate(leaves):
        for index in np.ndindex(*leaf.shape):
            one_hot = [jnp.zeros_like(other) for other in leaves]
            one_hot[k] = one_hot[k].at[index].set(1.0)
            yield jax.tree.unflatten(structure, one_hot)


def moved(parameters, direction, step):
    return jax.tree.map(lambda p, dp: p + step * dp, parameters, direction)


def test_the_neighbour_list_gives_what_all_pairs_give(case):
    assert abs(case.by_all_pairs.energy) > 0.05  # particles do interact
    assert_trees_close(case.by_list, case.by_all_pairs, rtol=1e-12, atol=1e-13)


def test_forces_are_minus_the_gradient_of_the_energy(case):
    np.testing.assert_allclose(case.by_list.forces, -case.by_list.gradient, atol=1e-13)


def test_forces_are_central_differences_of_the_energy(case):
    state = case.listed
    force = np.asarray(case.by_list.forces)
    rng = np.random.default_rng(1)
    for _ in range(5):
        direction = jnp.asarray(rng.standard_normal(state.position.shape))
        ends = [jitted_energy(state, state.position + s * STEP * direction, state.parameters) for s in (1, -1)]
        assert float(ends[0] - ends[1]) / (2 * STEP) == pytest.approx(-np.vdot(force, direction), rel=1e-6, abs=1e-7)


@in_the_plane
def test_parameter_derivatives_are_central_differences(case):
    # every sigma, epsilon and entry of the box's matrix; image counts do not change within the step
    state = case.listed
    slope = case.by_list.parameter_slope
    for direction in directions(state.parameters):
        ends = [jitted_energy(state, state.position, moved(state.parameters, direction, s * STEP)) for s in (1, -1)]
        expected = sum(np.vdot(a, b) for a, b in zip(jax.tree.leaves(slope), jax.tree.leaves(direction), strict=True))
        assert float(ends[0] - ends[1]) / (2 * STEP) == pytest.approx(expected, rel=1e-6, abs=1e-8)


def test_pressure_is_minus_the_energy_slope_under_scaling_of_everything(case):
    state = case.listed
    d, volume = state.configuration.dimension, float(state.configuration.box.volume)

    def scaled(factor):
        box = PeriodicBox(state.configuration.box.matrix * factor)
        return float(jitted_energy(state, state.position * factor, Parameters(state.potential, box)))

    slope = (scaled(1 + STEP) - scaled(1 - STEP)) / (2 * STEP)
    assert float(case.by_list.pressure) == pytest.approx(-slope / (d * volume), rel=1e-6)


def test_the_net_force_is_zero(case):
    force = np.asarray(case.by_list.forces)
    np.testing.assert_allclose(force.sum(axis=0), 0.0, atol=1e-13 * max(10.0, np.abs(force).max()))


def test_a_uniform_translation_changes_nothing(case):
    state = case.state
    shifted = state.position + jnp.asarray([0.37, -5.1, 2.9][: state.configuration.dimension])
    there = evaluate(state.at(shifted, state.parameters))
    np.testing.assert_allclose(there.energy, case.by_all_pairs.energy, rtol=1e-12)
    np.testing.assert_allclose(there.forces, case.by_all_pairs.forces, atol=1e-12)


def test_periodic_images_are_equivalent(case):
    state = case.state
    counts = np.random.default_rng(2).integers(-2, 3, state.position.shape)
    images = state.position + jnp.asarray(counts) @ state.configuration.box.matrix.T
    there = state.moved(images, state.pairs).with_every_pair()
    np.testing.assert_allclose(jitted_energy(there, images, state.parameters), case.by_all_pairs.energy, rtol=1e-12)


@in_the_plane
def test_the_sparse_hessian_is_the_second_derivative(case):
    state = case.listed
    size = state.position.size
    dense = jax.jit(jax.hessian(energy_at, argnums=1))(state, state.position, state.parameters).reshape(size, size)
    np.testing.assert_allclose(hessian(state).toarray(), dense, atol=1e-11)


@in_the_plane
def test_padding_cannot_reach_a_derivative(case):
    # only padding: every value and derivative is finite and exactly zero, though padded pairs have distance zero
    state = case.state.with_pairs(
        padded_pairs(*(np.zeros(shape, int) for shape in (0, 0, (case.state.configuration.dimension, 0))), 7)
    )
    for leaf in jax.tree.leaves(evaluate(state)):
        np.testing.assert_array_equal(leaf, 0.0)
    second = jax.jit(jax.jacfwd(gradient_at, argnums=2))(state, state.position, state.parameters)
    for leaf in jax.tree.leaves(second):
        np.testing.assert_array_equal(leaf, 0.0)
    assert not hessian(state).toarray().any()


def law_derivatives(state, distance):
    """Return u and its derivatives up to one beyond the declared smoothness at a distance, for the pair (0, 1)."""
    index = jnp.zeros(1, int)
    law = at_pairs(state.potential, state.configuration.species, index, index + 1)
    scalar = jax.tree.map(lambda node: node if is_entries(node) else node.ravel()[0], law, is_leaf=is_entries)
    functions = [scalar.pair_energy]
    for _ in range(state.potential.smoothness + 1):
        functions.append(jax.grad(functions[-1]))
    return [float(function(jnp.asarray(distance))) for function in functions], float(scalar.pair_length)


@in_the_plane
def test_the_law_is_as_smooth_at_its_cutoff_as_declared(case):
    state = case.state
    smoothness = state.potential.smoothness
    cutoff = state.potential.cutoff * law_derivatives(state, 0.5)[1]
    outside, _ = law_derivatives(state, cutoff * (1 + 1e-9))
    assert outside == [0.0] * len(outside)
    far, near = (law_derivatives(state, cutoff * (1 - gap))[0] for gap in (1e-4, 1e-8))
    for order in range(smoothness + 1):  # continuous: tends to its value outside, zero
        assert abs(near[order]) <= 0.2 * abs(far[order])
    assert abs(near[-1]) > 0.5 * abs(far[-1]) > 0  # one more does not


@in_the_plane
def test_a_position_gradient_is_finite_at_the_cutoff_itself(case):
    state = case.state
    law = state.potential
    reach = float(law.reach(state.configuration, numbered_pairs(np.array([0]), np.array([1]), 2))[0])
    position = jnp.zeros((2, 2)).at[1, 0].set(reach)
    if any(leaf.shape == (state.configuration.n_particles,) for leaf in jax.tree.leaves(law)):
        law = jax.tree.map(lambda leaf: leaf[:2] if leaf.ndim else leaf, law)
    pair = eqx.tree_at(
        lambda s: (s.configuration.position, s.configuration.species, s.potential, s.pairs),
        state,
        (position, state.configuration.species[:2], law, every_pair(position, state.configuration.box)),
    )
    assert all(np.isfinite(np.asarray(leaf)).all() for leaf in jax.tree.leaves(evaluate(pair)))
    assert np.isfinite(hessian(pair).toarray()).all()
