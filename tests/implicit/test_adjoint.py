"""`Adjoint`: optimistix's four calls with our linear solvers, null spaces and refusals."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import optimistix as optx
import pytest

from mdsens.implicit import Adjoint, DenseCholesky, DenseLU, Iterative, NullSpace

N, M = 30, 4
LAM = 3.0
TIGHT = {"rtol": 1e-12, "atol": 1e-12}


@pytest.fixture(scope="module")
def data():
    generator = np.random.default_rng(0)
    return jnp.asarray(generator.standard_normal((N, M))), jnp.asarray(generator.standard_normal(N))


def closed(lam, X, y):
    return jnp.linalg.solve(X.T @ X + lam * jnp.eye(M), X.T @ y)


@pytest.fixture(scope="module")
def slope(data):
    return jax.jacfwd(closed)(LAM, *data)


def residuals(x, p):
    lam, X, y = p
    return X @ x - y, jnp.sqrt(lam) * x


def objective(x, p):
    return 0.5 * sum(jnp.sum(part**2) for part in residuals(x, p))


slopes = jax.grad(objective)


def stepped(x, p):
    return x - 0.01 * slopes(x, p)


CALLS = {
    "root_find": lambda p, a: optx.root_find(slopes, optx.Newton(**TIGHT), jnp.zeros(M), p, adjoint=a),
    "minimise": lambda p, a: optx.minimise(objective, optx.BFGS(**TIGHT), jnp.zeros(M), p, adjoint=a),
    "least_squares": lambda p, a: optx.least_squares(
        residuals, optx.LevenbergMarquardt(**TIGHT), jnp.zeros(M), p, adjoint=a
    ),
    "fixed_point": lambda p, a: optx.fixed_point(
        stepped, optx.FixedPointIteration(**TIGHT), jnp.zeros(M), p, adjoint=a, max_steps=10_000
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_optimistix_takes_our_adjoint(data, slope, name):
    adjoint = Adjoint(DenseLU() if name == "fixed_point" else DenseCholesky())

    def solution(lam):
        return CALLS[name]((lam, *data), adjoint).value

    np.testing.assert_allclose(jax.jacfwd(solution)(LAM), slope, rtol=1e-9)
    np.testing.assert_allclose(jax.jit(jax.jacrev(solution))(LAM), slope, rtol=1e-9)


def test_second_derivatives_batches_and_trees_with_aux(data):
    X, y = data

    def equations(x, p):
        whole = slopes(jnp.concatenate([x["first"], x["rest"]]), (p["lam"] ** p["power"], X, y))
        return {"first": whole[:1], "rest": whole[1:]}, p["lam"]

    def solution(lam):
        start, p = {"first": jnp.zeros(1), "rest": jnp.zeros(M - 1)}, {"lam": lam, "power": 1, "name": "ridge"}
        return optx.root_find(equations, optx.Newton(**TIGHT), start, p, has_aux=True, adjoint=Adjoint()).value

    second = jax.hessian(closed)(LAM, X, y)
    found = jax.jit(jax.vmap(jax.hessian(solution)))(jnp.array([LAM, LAM]))
    np.testing.assert_allclose(found["rest"], [second[1:]] * 2, rtol=1e-9)


@pytest.mark.parametrize(
    "null_space", [NullSpace.from_modes([jnp.ones(3)]), lambda x: NullSpace.from_modes([jnp.ones_like(x)])]
)
def test_a_chain_that_floats_is_answered_at_rest(null_space):
    def energy(x, length):
        return 0.5 * (x[1] - x[0] - length) ** 2 + (x[2] - x[1] - 2 * length) ** 2

    def solution(length):
        adjoint = Adjoint(DenseCholesky(), null_space)
        return optx.minimise(energy, optx.BFGS(**TIGHT), jnp.arange(3.0), length, adjoint=adjoint).value

    expected = np.array([0.0, 1.0, 3.0]) - 4 / 3
    np.testing.assert_allclose(jax.jacfwd(solution)(1.5), expected, rtol=1e-9)
    np.testing.assert_allclose(jax.jit(jax.jacrev(solution))(1.5), expected, rtol=1e-9)


def test_what_our_solver_cannot_solve_is_no_derivative_also_outside_jit(data):
    hasty = Adjoint(Iterative(lx.CG(rtol=1e-1, atol=1e-1, max_steps=1), symmetric=True))

    def solution(lam):
        return CALLS["root_find"]((lam, *data), hasty).value

    assert np.isnan(jax.jacfwd(solution)(LAM)).all()
    assert np.isnan(jax.jit(jax.jacrev(solution))(LAM)).all()


PROGRAM = """
import sys
sys.modules["optimistix"] = None
import jax, lineax, mdsens.implicit as implicit
jax.config.update("jax_enable_x64", True)
solution = implicit.root(lambda x, p: x - p, linear_solver=lineax.CG(1e-9, 1e-9))(lambda x0, p: p)
for use in (lambda: implicit.Adjoint, lambda: jax.grad(solution, 1)(0.0, 1.0)):
    try:
        use()
    except ValueError as error:
        print(error)
"""


def test_a_missing_optimistix_and_a_solver_of_another_house_are_a_sentence():
    """In a process of its own, without optimistix and without checks of types."""
    run = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    missing, foreign = run.stdout.splitlines()
    assert missing == "mdsens.implicit.Adjoint is for optimistix, which is missing: pip install optimistix."
    assert foreign.startswith("linear_solver = CG(")
    assert foreign.endswith("such as DenseLU(): give one of lineax's as Iterative(...).")
