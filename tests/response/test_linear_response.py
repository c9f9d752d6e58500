"""Linear response: the pseudo-inverse of the backbone's Hessian, exactly, and refusals."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mdsens.contacts import changes_within
from mdsens.energy import energy_at
from mdsens.energy.foreign import EnergyFunction
from mdsens.errors import NumericalError
from mdsens.neighbors import pair_distances
from mdsens.relaxation import RelaxationSettings, relax
from mdsens.response import known_zero_modes, linear_response, response_at
from mdsens.results import Verdict, check
from mdsens.types import Configuration, FreeBox, PeriodicBox
from potentials import lennard_jones, soft_sphere
from systems import bidisperse


def relaxed(settings=None, potential=None, **options):
    start = bidisperse.build(bidisperse.Options(**options))
    law = soft_sphere.build(soft_sphere.Options(**(potential or {})), start.diameters, 2)
    return relax(law, start.configuration, settings)


HERTZIAN = {"alpha": 2.5, "epsilon": (1.0, 2.0)}
PACKINGS = {
    "harmonic 2D": {"n_particles": 40},
    "tiny": {"n_particles": 24, "packing_fraction": 0.95},
    "Hertzian 3D": {"n_particles": 32, "dimension": 3, "packing_fraction": 0.8, "potential": HERTZIAN},
    "with rattlers": {"n_particles": 40, "packing_fraction": 0.86, "seed": 2},
}


@pytest.fixture(scope="module", params=PACKINGS.values(), ids=PACKINGS)
def response(request):
    relaxation = relaxed(**request.param)
    check(relaxation.verdict)
    assert (relaxation.network.n_rattlers > 0) == (request.param is PACKINGS["with rattlers"])
    return linear_response(relaxation)


@pytest.fixture(scope="module")
def dense(response):
    """Return the pseudo-inverse of the dense backbone Hessian, and its spectrum."""
    state, size = response.state, response.state.position.size
    matrix = jax.jit(jax.hessian(energy_at, argnums=1))(state, state.position, state.parameters).reshape(size, size)
    held = np.repeat(response.network.backbone, state.configuration.dimension)
    values, vectors = np.linalg.eigh(np.asarray(matrix)[np.ix_(held, held)])
    kept = np.abs(values) > 1e-10 * values[-1]
    inverse = np.zeros((size, size))
    inverse[np.ix_(held, held)] = (vectors[:, kept] / values[kept]) @ vectors[:, kept].T
    return inverse, values


def random_sides(response, k=3):
    return np.random.default_rng(0).standard_normal((k, *response.state.position.shape))


def test_a_solve_applies_the_pseudo_inverse_of_the_backbone(response, dense):
    sides = random_sides(response)
    expected = (sides.reshape(len(sides), -1) @ dense[0]).reshape(sides.shape)
    found, residual = response.solve(sides)
    # relative error of a refined solve: rounding times the condition number, 1e-16 * 1e5
    np.testing.assert_allclose(found, expected, atol=1e-10 * np.abs(expected).max())
    assert residual.max() < 1e-12


def test_answers_have_minimum_norm(response):
    found, _ = response.solve(random_sides(response))
    held = response.network.backbone
    scale = np.abs(found).max()
    np.testing.assert_array_equal(found[:, ~held], 0.0)
    np.testing.assert_allclose(found[:, held].mean(axis=1), 0.0, atol=1e-13 * scale)


def test_a_pure_translation_is_answered_by_nothing(response):
    side = np.broadcast_to(np.arange(1.0, 1.0 + response.state.configuration.dimension), response.state.position.shape)
    held = response.network.backbone[:, None]
    found, _ = response.solve(np.where(held, side, 0.0)[None])
    assert np.linalg.norm(found) < 1e-10 * np.linalg.norm(side)


def test_zero_modes_and_stiffness_are_counted(response, dense):
    d = response.state.configuration.dimension
    values = dense[1]
    assert (response.zero_modes.translations, response.zero_modes.rotations, response.zero_modes.floppy) == (d, 0, 0)
    assert f"{d} translations" in str(response.zero_modes)
    assert response.smallest_eigenvalue == pytest.approx(values[d], rel=1e-5)
    assert values[-1] <= response.norm * (1 + 1e-12)


def test_the_answer_to_no_force_is_nothing(response):
    found, residual = response.solve(np.zeros((2, *response.state.position.shape)))
    np.testing.assert_array_equal(found, 0.0)
    np.testing.assert_array_equal(residual, 0.0)


def test_an_unjammed_packing_is_refused():
    with pytest.raises(NumericalError, match="unjammed"):
        linear_response(relaxed(n_particles=40, packing_fraction=0.6))


def test_an_unconverged_state_is_refused_except_through_the_labelled_door():
    relaxation = relaxed(RelaxationSettings(max_steps=60), n_particles=40)
    assert relaxation.verdict is Verdict.MAX_STEPS
    with pytest.raises(NumericalError, match="stationarity threshold"):
        linear_response(relaxation)
    assert linear_response(relaxation, at_any_point=True).at_any_point
    assert response_at(relaxation.state).at_any_point


@pytest.mark.parametrize("verdict", [Verdict.SADDLE, Verdict.NONFINITE, Verdict.OVERFLOW])
def test_other_bad_verdicts_are_refused_with_their_sentence(verdict):
    relaxation = dataclasses.replace(relaxed(n_particles=40), verdict=verdict)
    with pytest.raises(NumericalError, match="no sensitivity") as caught:
        linear_response(relaxation)
    assert verdict.sentence in str(caught.value)


def test_a_floppy_mode_is_found_and_left_out():
    # two springs at rest in a bent chain of three: three rigid motions, and the hinge bends at no cost
    def springs(x, params, box):
        lengths = jnp.linalg.norm(x[1:] - x[:-1], axis=1)
        return 0.5 * jnp.sum(params["stiffness"] * (lengths - 1.0) ** 2)

    position = jnp.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]])
    configuration = Configuration(position, jnp.zeros(3, int), FreeBox(2))
    relaxation = relax(EnergyFunction(springs, {"stiffness": jnp.array([1.0, 2.0])}, "chain"), configuration)
    response = linear_response(relaxation)
    assert (response.zero_modes.translations, response.zero_modes.rotations, response.zero_modes.floppy) == (2, 1, 1)
    side = np.random.default_rng(0).standard_normal((1, 3, 2))
    matrix = np.asarray(jax.hessian(energy_at, argnums=1)(response.state, position, response.state.parameters))
    expected = np.linalg.pinv(matrix.reshape(6, 6), rcond=1e-10) @ side.ravel()
    np.testing.assert_allclose(response.solve(side)[0].ravel(), expected, atol=1e-12)


@pytest.mark.parametrize(
    ("position", "box", "counts"),
    [
        (np.random.default_rng(0).standard_normal((5, 3)), FreeBox(3), (3, 3)),
        (np.random.default_rng(0).standard_normal((5, 2)), FreeBox(2), (2, 1)),
        (np.outer(np.arange(4.0), [1.0, 2.0, 3.0]), FreeBox(3), (3, 2)),
        (np.zeros((1, 3)), FreeBox(3), (3, 0)),
        (np.random.default_rng(0).standard_normal((5, 3)), PeriodicBox.cubic(9.0, 3), (3, 0)),
    ],
    ids=["cluster 3D", "cluster 2D", "line", "one particle", "periodic"],
)
def test_rigid_motions_are_counted_by_rank(position, box, counts):
    modes, translations, rotations = known_zero_modes(position, box)
    assert (translations, rotations) == counts
    assert modes.shape == (position.size, sum(counts))
    np.testing.assert_allclose(modes.T @ modes, np.eye(sum(counts)), atol=1e-12)


def test_a_particle_alone_is_no_packing():
    alone = Configuration(jnp.zeros((1, 3)), jnp.zeros(1, int), FreeBox(3))
    law = lennard_jones.build(lennard_jones.Options(), jnp.ones(1), 1)
    with pytest.raises(NumericalError, match="No particle feels another") as caught:
        linear_response(relax(law, alone))
    assert "unjammed" not in str(caught.value)


def test_a_contact_within_twice_the_remaining_step_makes_the_derivative_one_sided():
    relaxation = relaxed(n_particles=40)
    network, state = relaxation.network, relaxation.state
    assert not linear_response(relaxation).network.one_sided  # relaxed to rounding: no step remains
    i, j = np.asarray(state.pairs.i), np.asarray(state.pairs.j)
    reach = np.asarray(state.potential.reach(state.configuration, state.pairs))
    gaps = np.abs(1 - np.asarray(pair_distances(state.configuration, state.pairs)) / reach)
    held = np.asarray(state.pairs.mask) & network.backbone[i] & network.backbone[j]
    k = int(np.argmin(np.where(held, gaps, np.inf)))
    apart = np.asarray(state.configuration.box.displacement(state.position[i[k]] - state.position[j[k]]))
    step = np.zeros(state.position.shape)
    step[i[k]] = gaps[k] * reach[k] * apart / np.linalg.norm(apart)
    assert changes_within(state, network, 0.51 * step)
    assert not changes_within(state, network, 0.49 * step)
