"""`fixed_point`: the same derivatives from x = T(x, p)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array, PyTree

from mdsens.implicit import DenseCholesky, fixed_point


def iterate(T, n_steps: int):  # type: ignore[no-untyped-def]
    return lambda x0, *p: jax.lax.fori_loop(0, n_steps, lambda _, x: T(x, *p), x0)


def test_cosine_fixed_point_matches_closed_form_to_second_order() -> None:
    def T(x: Array, p: Array) -> Array:
        return jnp.cos(p * x)

    solve = fixed_point(T)(iterate(T, 200))
    x0, p = jnp.array(0.5), jnp.array(0.9)

    @jax.jit
    def slope(p: Array) -> Array:
        x = solve(x0, p)
        return -x * jnp.sin(p * x) / (1 + p * jnp.sin(p * x))

    np.testing.assert_allclose(jax.jit(jax.grad(solve, argnums=1))(x0, p), slope(p), rtol=1e-13)
    step = 1e-5
    second = (slope(p + step) - slope(p - step)) / (2 * step)
    np.testing.assert_allclose(jax.jit(jax.hessian(solve, argnums=1))(x0, p), second, rtol=1e-8)


@pytest.mark.parametrize("jacobian", [jax.jacfwd, jax.jacrev])
def test_affine_contraction_of_a_pytree_matches_closed_form(jacobian) -> None:  # type: ignore[no-untyped-def]
    matrix = jnp.asarray(np.random.default_rng(0).uniform(-0.2, 0.2, size=(3, 3)))

    def T(x: PyTree, p: Array) -> PyTree:
        whole = matrix @ jnp.concatenate([x["a"], x["b"]]) + p
        return {"a": whole[:1], "b": whole[1:]}

    solve = fixed_point(T)(iterate(T, 100))
    found = jax.jit(jacobian(solve, argnums=1))({"a": jnp.zeros(1), "b": jnp.zeros(2)}, jnp.arange(3.0))
    expected = jnp.linalg.inv(jnp.eye(3) - matrix)
    np.testing.assert_allclose(jnp.concatenate([found["a"], found["b"]]), expected, rtol=1e-12)


def test_gradient_step_has_a_positive_definite_condition() -> None:
    hessian = jnp.array([[2.0, 0.5], [0.5, 1.0]])

    def T(x: Array, p: Array) -> Array:
        return x - 0.3 * (hessian @ x - p)

    solve = fixed_point(T, linear_solver=DenseCholesky())(iterate(T, 300))
    found = jax.jit(jax.jacrev(solve, argnums=1))(jnp.zeros(2), jnp.ones(2))
    np.testing.assert_allclose(found, jnp.linalg.inv(hessian), rtol=1e-12)


def test_iteration_of_the_wrong_shape_is_refused_by_name() -> None:
    solve = fixed_point(lambda x, p: (x, p))(lambda x0, p: x0)
    with pytest.raises(ValueError, match="the fixed-point iteration must return a pytree like x"):
        jax.grad(solve, argnums=1)(jnp.array(1.0), jnp.array(1.0))
