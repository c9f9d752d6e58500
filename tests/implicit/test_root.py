"""`root` on problems with closed forms: every mode, any order, one run of the solver."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optimistix
import pytest
import scipy.optimize
from jaxtyping import Array

from mdsens.implicit import DenseCholesky, DenseLU, root

ROUNDING = 1e-12  # relative; the problems have condition numbers below 100


@root(lambda x, p: x**2 - p)
def square_root(x0: Array, p: Array) -> Array:
    """Newton's method in a while_loop, which reverse mode cannot pass through."""
    return jax.lax.while_loop(lambda x: jnp.abs(x**2 - p) > 1e-15 * p, lambda x: 0.5 * (x + p / x), x0)


def ridge_energy(x: Array, theta: Array, target: Array) -> Array:
    design = jnp.asarray(DESIGN)
    return 0.5 * jnp.sum((design @ x - target) ** 2) + 0.5 * jnp.sum(jnp.exp(theta) * x**2)


DESIGN = np.random.default_rng(0).normal(size=(8, 4))
TARGET = jnp.asarray(np.random.default_rng(1).normal(size=8))
THETA = jnp.array([-1.0, 0.0, 0.5, 1.0])
START = jnp.zeros(4)


def closed_ridge(theta: Array, target: Array) -> Array:
    return jnp.linalg.solve(DESIGN.T @ DESIGN + jnp.diag(jnp.exp(theta)), DESIGN.T @ target)


@root(jax.grad(ridge_energy), linear_solver=DenseCholesky())
def ridge(x0: Array, theta: Array, target: Array) -> Array:
    """One Newton step, exact for a quadratic; the wrapped solver itself is opaque to differentiation."""
    gradient = jax.grad(ridge_energy)(x0, theta, target)
    return jax.lax.stop_gradient(x0 - jnp.linalg.solve(jax.hessian(ridge_energy)(x0, theta, target), gradient))


def assert_close(found: Array, expected: Array, tolerance: float = ROUNDING) -> None:
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance * (1.0 + np.max(np.abs(expected))))


def test_scalar_root_has_the_derivatives_of_the_square_root_to_third_order() -> None:
    f = functools.partial(square_root, jnp.array(1.0))
    p = jnp.array(2.0)
    assert_close(f(p), jnp.sqrt(p))
    assert_close(jax.jvp(f, (p,), (jnp.array(3.0),))[1], 1.5 * p**-0.5)
    assert_close(jax.jit(jax.grad(f))(p), 0.5 * p**-0.5)
    assert_close(jax.jit(jax.grad(jax.grad(f)))(p), -0.25 * p**-1.5)
    assert_close(jax.jit(jax.grad(jax.grad(jax.grad(f))))(p), 0.375 * p**-2.5)


def test_python_float_parameters_are_differentiable() -> None:
    assert_close(jax.grad(square_root, argnums=1)(1.0, 2.0), 0.5 * 2.0**-0.5)


@pytest.mark.parametrize("jacobian", [jax.jacfwd, jax.jacrev])
def test_vector_root_of_a_non_symmetric_condition_matches_closed_form_and_differences(jacobian) -> None:  # type: ignore[no-untyped-def]
    matrix = jnp.asarray(np.random.default_rng(2).normal(size=(3, 3)) + 3 * np.eye(3))

    def solver(x0: Array, p: Array) -> Array:
        return jnp.linalg.solve(matrix, jnp.sin(p) + x0 * 0.0)

    wrapped = root(lambda x, p: matrix @ x - jnp.sin(p), linear_solver=DenseLU())(solver)
    p, x0, step = jnp.array([0.3, 1.0, -2.0]), jnp.zeros(3), 1e-5
    found = jax.jit(jacobian(wrapped, argnums=1))(x0, p)
    assert_close(found, jnp.linalg.inv(matrix) @ jnp.diag(jnp.cos(p)))
    differences = [(solver(x0, p + step * e) - solver(x0, p - step * e)) / (2 * step) for e in jnp.eye(3)]
    assert_close(found, jnp.stack(differences, axis=1), 1e-9)  # step^2 / 6 and rounding / step


@pytest.mark.parametrize("jacobian", [jax.jacfwd, jax.jacrev])
def test_ridge_jacobian_matches_closed_form_under_jit(jacobian) -> None:  # type: ignore[no-untyped-def]
    found = jax.jit(jacobian(ridge, argnums=(1, 2)))(START, THETA, TARGET)
    expected = jax.jit(jax.jacfwd(closed_ridge, argnums=(0, 1)))(THETA, TARGET)
    assert_close(found[0], expected[0])
    assert_close(found[1], expected[1])


SECOND_ORDER = {
    "forward over reverse": jax.hessian,
    "reverse over forward": lambda f: jax.jacrev(jax.jacfwd(f)),
    "reverse over reverse": lambda f: jax.jacrev(jax.jacrev(f)),
    "forward over forward": lambda f: jax.jacfwd(jax.jacfwd(f)),
}


@pytest.mark.parametrize("mode", SECOND_ORDER)
def test_ridge_second_derivative_of_the_solution_matches_closed_form(mode: str) -> None:
    found = jax.jit(SECOND_ORDER[mode](lambda theta: ridge(START, theta, TARGET)))(THETA)
    assert_close(found, jax.jit(jax.hessian(closed_ridge))(THETA, TARGET))


def test_ridge_hessian_of_an_observable_matches_closed_form_and_differences_of_gradients() -> None:
    def observable(theta: Array) -> Array:
        return jnp.sum(jnp.sin(ridge(START, theta, TARGET)) * theta)

    gradient, step = jax.jit(jax.grad(observable)), 1e-5
    found = jax.jit(jax.hessian(observable))(THETA)
    assert_close(found, jax.jit(jax.hessian(lambda t: jnp.sum(jnp.sin(closed_ridge(t, TARGET)) * t)))(THETA))
    differences = [(gradient(THETA + step * e) - gradient(THETA - step * e)) / (2 * step) for e in jnp.eye(4)]
    assert_close(found, jnp.stack(differences), 1e-8)


def test_vmap_over_parameters_and_starts_equals_a_loop() -> None:
    starts = jnp.asarray(np.random.default_rng(3).normal(size=(3, 4)))
    thetas = jnp.asarray(np.random.default_rng(4).normal(size=(3, 4)))
    jacobian = jax.jacrev(ridge, argnums=1)
    both = jax.jit(jax.vmap(jacobian, in_axes=(0, 0, None)))(starts, thetas, TARGET)
    only_starts = jax.jit(jax.vmap(jacobian, in_axes=(0, None, None)))(starts, THETA, TARGET)
    for i in range(3):
        assert_close(both[i], jax.jacfwd(closed_ridge)(thetas[i], TARGET))
        assert_close(only_starts[i], jax.jacfwd(closed_ridge)(THETA, TARGET))


def test_start_has_no_influence_on_derivatives_of_any_order() -> None:
    @jax.jit
    def derivatives(x0: Array, p: Array) -> list[Array]:
        hessian = jax.hessian(square_root, argnums=(0, 1))(x0, p)
        return [
            jax.grad(square_root, argnums=0)(x0, p),
            jax.jvp(square_root, (x0, p), (jnp.array(5.0), jnp.array(0.0)))[1],
            jax.grad(lambda x0: jax.grad(square_root, argnums=1)(x0, p))(x0),
            *(hessian[0][0], hessian[0][1], hessian[1][0]),
        ]

    np.testing.assert_array_equal(derivatives(jnp.array(1.3), jnp.array(2.0)), 0.0)


def test_foreign_solvers_get_the_same_derivatives() -> None:
    gradient = jax.grad(ridge_energy)

    def with_optimistix(x0: Array, theta: Array, target: Array) -> Array:
        solver = optimistix.BFGS(rtol=1e-12, atol=1e-12)
        return optimistix.minimise(lambda x, args: ridge_energy(x, *args), solver, x0, args=(theta, target)).value

    def with_optax(x0: Array, theta: Array, target: Array) -> Array:
        def objective(x: Array) -> Array:
            return ridge_energy(x, theta, target)

        optimiser = optax.lbfgs()
        value_and_grad = optax.value_and_grad_from_state(objective)

        def step(carry):  # type: ignore[no-untyped-def]
            x, state = carry
            value, grad = value_and_grad(x, state=state)
            updates, state = optimiser.update(grad, state, x, value=value, grad=grad, value_fn=objective)
            return optax.apply_updates(x, updates), state

        def unconverged(carry):  # type: ignore[no-untyped-def]
            return jnp.linalg.norm(gradient(carry[0], theta, target)) > 1e-11

        return jax.lax.while_loop(unconverged, step, (x0, optimiser.init(x0)))[0]

    expected = jax.jacfwd(closed_ridge)(THETA, TARGET)
    for solver in (with_optimistix, with_optax):
        wrapped = root(gradient, linear_solver=DenseCholesky())(solver)
        found = jax.jit(jax.jacrev(wrapped, argnums=1))(START, THETA, TARGET)
        assert_close(found, expected, 1e-8)  # the error of the solution, about 1e-10


def test_solver_written_in_numpy_works_outside_jit() -> None:
    @root(lambda x, p: x**3 - p)
    def cube_root(x0: Array, p: Array) -> Array:
        return scipy.optimize.fsolve(lambda x: x**3 - np.asarray(p), np.asarray(x0), xtol=1e-12)

    p = jnp.array([2.0, 3.0])
    assert_close(jax.jacrev(cube_root, argnums=1)(jnp.ones(2), p), jnp.diag(p ** (-2 / 3) / 3))
