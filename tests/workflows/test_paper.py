"""The paper's claims: closed forms, gradients against differences, and the workflow on tiny problems."""

import re
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mdsens.implicit import root
from mdsens.io import read_tables
from workflows.paper import ridge
from workflows.paper.distillation import Distillation, logistic_loss
from workflows.paper.outer import descend, difference
from workflows.paper.selection import SelectionOptions, make_machine, outer_loss, project_on_simplex

TINY = """
[system]
kind = "bidisperse"
n_particles = 32
[potential]
kind = "soft_sphere"
[paper]
last_step = 500
n_records = 12
[ridge]
n_samples = 20
n_features = 5
n_steps = 60
[selection]
n_training = 12
n_validation = 12
n_features = 24
n_classes = 3
[distillation]
n_training = 200
regularisation = 1e-2
n_iterations = 30
"""
FIGURES = {f"paper_{name}.png" for name in ("ridge", "packing", "selection", "distillation")}


@pytest.fixture
def regression():
    return ridge.make_ridge(ridge.RidgeOptions(n_samples=12, n_features=4, seed=3))


@pytest.fixture
def tiny(tmp_path):
    path = tmp_path / "tiny.toml"
    path.write_text(TINY)
    return path


THETAS = [jnp.array(0.7), jnp.array([0.3, 0.9, 2.0, 5.0])]


def test_ridge_with_one_unknown_is_worked_out_by_hand():
    # x* = a b/(a^2 + theta), dx*/dtheta = -a b/(a^2 + theta)^2 with a = 2, b = 3, theta = 1
    problem = ridge.Ridge(jnp.array([[2.0]]), jnp.array([3.0]))
    np.testing.assert_allclose(problem.solution(jnp.array(1.0)), [6 / 5], rtol=1e-15)
    np.testing.assert_allclose(problem.jacobian(jnp.array(1.0)), [-6 / 25], rtol=1e-15)


@pytest.mark.parametrize("theta", THETAS, ids=["shared", "separate"])
def test_the_closed_form_jacobian_is_the_derivative_of_the_closed_form_solution(regression, theta):
    np.testing.assert_allclose(regression.jacobian(theta), jax.jacobian(regression.solution)(theta), rtol=1e-10)


@pytest.mark.parametrize("theta", THETAS, ids=["shared", "separate"])
def test_the_implicit_jacobian_of_gradient_descent_is_the_closed_form(regression, theta):
    step = 1.0 / np.linalg.eigvalsh(regression.hessian(theta))[-1]
    solve = root(regression.gradient)(lambda start, theta: regression.iterates(theta, step, 3000)[-1])
    found = jax.jacobian(solve, argnums=1)(jnp.zeros(4), theta)
    np.testing.assert_allclose(found, regression.jacobian(theta), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("theta", THETAS, ids=["shared", "separate"])
def test_the_theorem_bounds_the_estimate_at_any_point(regression, theta):
    stiffness = np.linalg.eigvalsh(regression.hessian(theta))[0]
    solution, exact = regression.solution(theta), regression.jacobian(theta)
    for apart in np.random.default_rng(0).standard_normal((20, 4)):
        estimate, error = ridge.implicit_jacobian(regression, solution + apart, theta, at_any_point=True)
        true = np.linalg.norm(estimate - exact)
        assert true <= np.linalg.norm(apart) / stiffness * (1 + 1e-12)
        np.testing.assert_allclose(error, true, rtol=1e-9)  # J is linear in x: the first-order estimate is exact


def test_the_last_unrolled_jacobian_is_that_of_the_last_iterate(regression):
    # central difference of 10 steps of descent, step 1e-5: its error is 1e-10 of the third derivative
    theta, rate = jnp.array(0.7), 0.02
    unrolled = jax.jacfwd(lambda t: regression.iterates(t, rate, 10)[-1])(theta)
    ends = [regression.iterates(theta + h, rate, 10)[-1] for h in (1e-5, -1e-5)]
    np.testing.assert_allclose(unrolled, (ends[0] - ends[1]) / 2e-5, rtol=1e-6, atol=1e-9)


def test_the_projection_on_the_simplex_is_the_nearest_probability_vector():
    rows = jnp.asarray(np.random.default_rng(1).standard_normal((50, 4)))
    nearest = project_on_simplex(rows)
    np.testing.assert_allclose(nearest.sum(axis=1), 1.0, rtol=1e-14)
    assert jnp.all(nearest >= 0)
    # the variational inequality <y - P y, c - P y> <= 0 at every corner c of the simplex
    slack = (rows - nearest) @ jnp.eye(4) - jnp.sum((rows - nearest) * nearest, axis=1, keepdims=True)
    assert jnp.all(slack <= 1e-14)
    np.testing.assert_allclose(project_on_simplex(nearest), nearest, atol=1e-15)


def test_the_derivative_of_the_projection_keeps_the_sum_and_the_face():
    # diag(s) - s s^T/|s|_1 with s the support
    jacobian = jax.jacobian(lambda row: project_on_simplex(row[None])[0])(jnp.array([0.9, 0.6, -2.0]))
    np.testing.assert_allclose(jacobian, [[0.5, -0.5, 0.0], [-0.5, 0.5, 0.0], [0.0, 0.0, 0.0]], atol=1e-15)


@pytest.mark.parametrize("log_theta", [-0.3, 0.4, 2.0])
def test_the_gradient_in_the_hyper_parameter_is_the_difference_of_re_solved_machines(log_theta):
    machine = make_machine(SelectionOptions(n_training=10, n_validation=10, n_features=20, n_classes=3))
    value = jax.jit(lambda t: outer_loss(machine, t))
    point, one = jnp.array(log_theta), jnp.ones(())
    slope = jax.grad(value)(point)
    assert abs(slope) > 1e-3  # the inner solution moves
    # inner error 1e-13 over the step 1e-5, and 1e-10 of the third derivative
    np.testing.assert_allclose(slope, difference(value, point, one, 1e-5), rtol=1e-6, atol=1e-8)


def test_distillation_differentiates_through_converged_training():
    generator = np.random.default_rng(2)
    images, labels = jnp.asarray(generator.random((30, 6))), jnp.eye(3)[jnp.arange(30) % 3]
    problem, theta = Distillation(images, labels, 1e-2), jnp.asarray(generator.random((3, 6)))
    x = problem.trained(theta)
    assert jnp.linalg.norm(problem.condition(x, theta)) < 1e-12
    value = jax.jit(lambda t: problem.outer(problem.trained(t)))
    gradient = jax.grad(value)(theta)
    direction = jnp.asarray(generator.standard_normal((3, 6)))
    found = difference(value, theta, direction, 1e-4)
    np.testing.assert_allclose(jnp.vdot(gradient, direction), found, rtol=1e-6)
    unrolled = jax.grad(lambda t: problem.outer(problem.after(t, jnp.array(1000), implicit=False)))(theta)
    np.testing.assert_allclose(unrolled, gradient, rtol=1e-6, atol=1e-9)


def test_the_logistic_loss_of_an_untrained_model_is_the_logarithm_of_the_number_of_classes():
    loss = logistic_loss(jnp.zeros((6, 3)), jnp.ones((5, 6)), jnp.eye(3)[jnp.array([0, 1, 2, 0, 1])])
    np.testing.assert_allclose(loss, np.log(3), rtol=1e-15)


def test_descent_finds_a_minimum_at_a_bound_and_keeps_its_way():
    both = jax.value_and_grad(lambda x: jnp.sum((x - jnp.array([[1.0, 5.0]])) ** 2))
    way = descend(both, np.zeros((1, 2)), 50, [(-2.0, 2.0)] * 2)
    np.testing.assert_allclose(way.point[-1], [[1.0, 2.0]], atol=1e-8)
    np.testing.assert_array_equal(way.point[0], np.zeros((1, 2)))
    assert len(way.value) == len(way.point)
    assert np.all(np.diff(way.value) <= 0)


@pytest.mark.slow
def test_the_workflow_measures_every_part_and_draws_it_from_the_file(mdsens, tiny, tmp_path):
    outcome = mdsens("paper", tiny, "-o", tmp_path / "out")
    assert (outcome.code, outcome.err) == (0, "")
    assert "MISSED" not in outcome.out
    assert re.search(r"wall time: ridge_shared [\d.]+ s, .*distillation [\d.]+ s", outcome.out)
    tables = read_tables(tmp_path / "out" / "paper.h5")
    assert set(tables.groups) == {
        "ridge_shared", "ridge_separate", "packing", "selection", "distillation", "claims",
    }  # fmt: skip
    assert np.all(tables.groups["claims"]["reached"])
    packing = tables.groups["packing"]
    settled = packing["settled"]
    assert np.all(packing["implicit_error"][settled] <= packing["bound"][settled])
    assert np.all(np.isnan(packing["bound"][~settled]))
    assert {path.name for path in (tmp_path / "out").glob("*.png")} == FIGURES
    assert mdsens("plot", tmp_path / "out" / "paper.h5", "-o", tmp_path / "again").code == 0
    assert {path.name for path in (tmp_path / "again").glob("*.png")} == FIGURES


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["--paper.parameter", "soft_sphere.sigma"], "name a single entry, such as soft_sphere.sigma[A]"),
        (["--selection.n_training", "25"], "selection.n_features = 24 must be at least selection.n_training = 25"),
        (["--ridge.theta", "0"], "ridge.theta"),
        (["--selection.log_theta", "[1.0, 1.0]"], "selection.log_theta"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_runs(mdsens, tiny, tmp_path, overrides, words):
    outcome = mdsens("paper", tiny, *overrides, "-o", tmp_path / "out")
    assert outcome.code == 2
    assert words in outcome.sentence
    assert not (tmp_path / "out").exists()


def test_a_series_without_a_settled_iterate_is_a_failure_with_a_remedy(mdsens, tiny, tmp_path):
    outcome = mdsens("paper", tiny, "--paper.last_step", "3", "-o", tmp_path / "out")
    assert outcome.code == 1
    assert "choose another paper.last_step" in outcome.sentence
    assert not (tmp_path / "out" / "paper.h5").exists()


def test_without_scikit_learn_it_says_how_to_install_it(mdsens, tiny, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    outcome = mdsens("paper", tiny, "-o", tmp_path / "out")
    assert outcome.code == 2
    assert "pip install 'mdsens[paper]'" in outcome.sentence
    assert not (tmp_path / "out").exists()
