"""States, parameters and auxiliary outputs of any structure; wrong structures are refused in a sentence."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array, Int, PyTree

from mdsens.implicit import NullSpace, root


class State(eqx.Module):
    """A record with everything that must be tolerated: integers, booleans, None, a string, a callable."""

    position: Array
    scale: Array
    species: Int[Array, " n"]
    active: Array
    note: str
    law: object
    nothing: None = None
    name: str = eqx.field(static=True, default="record")


def make_state(position: Array, scale: Array) -> State:
    return State(position, scale, jnp.arange(2), jnp.array([True, False]), "text", jnp.sin)


def condition(x: State, p: dict[str, PyTree]) -> State:
    values = x.position**2 - p["square"][x.species] * p["factor"]
    return eqx.tree_at(lambda s: (s.position, s.scale), x, (values, x.scale - jnp.sum(x.position)))


def solve_state(x0: State, p: dict[str, PyTree]) -> State:
    position = jnp.sqrt(p["square"][x0.species] * p["factor"])
    return make_state(position, jnp.sum(position))


PARAMETERS = {
    "square": jnp.array([2.0, 3.0]),
    "factor": jnp.array(1.5),
    "count": jnp.array(4),
    "law": jnp.cos,
    "none": None,
}
X0 = make_state(jnp.ones(2), jnp.array(0.0))


def observable(solve, square: Array, factor: Array) -> Array:  # type: ignore[no-untyped-def]
    x = solve(X0, {**PARAMETERS, "square": square, "factor": factor})
    return jnp.sum(x.position**3) * x.scale


def test_record_state_keeps_its_other_leaves_and_has_exact_derivatives() -> None:
    wrapped = root(condition)(solve_state)
    result = wrapped(X0, PARAMETERS)
    assert (result.note, result.law, result.nothing, result.name) == ("text", jnp.sin, None, "record")
    np.testing.assert_array_equal(result.species, [0, 1])
    arguments = (PARAMETERS["square"], PARAMETERS["factor"])
    for derivative in (jax.grad, jax.jacfwd, jax.hessian):
        found, expected = (
            jax.jit(derivative(functools.partial(observable, solve), argnums=(0, 1)))(*arguments)
            for solve in (wrapped, solve_state)
        )
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-11), found, expected)


def test_filtered_gradient_with_respect_to_a_whole_record_works() -> None:
    wrapped = root(condition)(solve_state)
    found = eqx.filter_jit(eqx.filter_grad(lambda p: jnp.sum(wrapped(X0, p).position)))(PARAMETERS)
    expected = eqx.filter_grad(lambda p: jnp.sum(solve_state(X0, p).position))(PARAMETERS)
    assert found["count"] is None
    np.testing.assert_allclose(found["square"], expected["square"], rtol=1e-13)
    np.testing.assert_allclose(found["factor"], expected["factor"], rtol=1e-13)


def test_condition_may_leave_other_leaves_out() -> None:
    wrapped = root(lambda x, p: eqx.filter(condition(x, p), eqx.is_inexact_array))(solve_state)
    found = jax.jit(jax.grad(lambda f: observable(wrapped, PARAMETERS["square"], f)))(jnp.array(1.5))
    expected = jax.grad(lambda f: observable(solve_state, PARAMETERS["square"], f))(jnp.array(1.5))
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_integer_parameters_have_float0_tangents_and_no_derivative() -> None:
    wrapped = root(lambda x, p, k: x**k - p)(lambda x0, p, k: p ** (1.0 / k))
    arguments = (jnp.array(1.0), jnp.array(2.0), jnp.array(3))
    tangents = (jnp.array(0.0), jnp.array(1.0), np.zeros((), dtype=jax.dtypes.float0))
    slope = 2.0 ** (-2 / 3) / 3
    np.testing.assert_allclose(
        jax.jit(lambda *args: jax.jvp(wrapped, args, tangents)[1])(*arguments), slope, rtol=1e-13
    )
    np.testing.assert_allclose(jax.jit(jax.grad(wrapped, argnums=1))(*arguments), slope, rtol=1e-13)


def test_aux_is_returned_and_carries_no_derivative() -> None:
    @root(lambda x, p: x**2 - p, has_aux=True)
    def solve(x0: Array, p: Array) -> tuple[Array, dict[str, object]]:
        x = jnp.sqrt(p)
        return x, {"steps": jnp.array(7), "residual": x * p, "verdict": "converged", "history": None}

    x0, p = jnp.array(1.0), jnp.array(4.0)
    x, aux = solve(x0, p)
    assert (float(x), int(aux["steps"]), aux["verdict"], aux["history"]) == (2.0, 7, "converged", None)

    @jax.jit
    def derivatives(p: Array) -> tuple[Array, ...]:
        tangent_x, tangent_aux = jax.jacfwd(lambda p: (solve(x0, p)[0], solve(x0, p)[1]["residual"]))(p)
        return tangent_x, tangent_aux, jax.grad(lambda p: solve(x0, p)[1]["residual"])(p)

    np.testing.assert_allclose(derivatives(p), [0.25, 0.0, 0.0], rtol=1e-14)
    gradient, aux = eqx.filter_jit(jax.grad(lambda p: solve(x0, p), has_aux=True))(p)
    assert (float(gradient), int(aux["steps"]), aux["verdict"]) == (0.25, 7, "converged")


def test_batch_of_record_states_under_vmap() -> None:
    wrapped = root(condition)(solve_state)
    factors = jnp.array([0.5, 1.0, 2.0])
    found = jax.jit(jax.vmap(jax.grad(lambda f: observable(wrapped, PARAMETERS["square"], f))))(factors)
    expected = jax.jit(jax.vmap(jax.grad(lambda f: observable(solve_state, PARAMETERS["square"], f))))(factors)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_condition_of_another_structure_or_shape_is_refused_with_both_named() -> None:
    x0, p = jnp.ones(3), jnp.array(1.0)
    for wrong, found in ((lambda x, p: {"a": x}, r"\{'a': f64\[3\]\}"), (lambda x, p: x[:2], r"f64\[2\]")):
        with pytest.raises(ValueError, match=rf"returned {found}, but x is f64\[3\]"):
            jax.grad(lambda p, wrong=wrong: root(wrong)(lambda x0, p: x0)(x0, p).sum())(p)


def test_state_that_is_not_double_precision_is_refused() -> None:
    solve = root(lambda x, p: x - p)(lambda x0, p: p.astype(x0.dtype))
    for start, message in ((jnp.float32(0.0), "float32 leaf"), (jnp.array(0), "no floating-point array leaf")):
        with pytest.raises(ValueError, match=message):
            jax.jvp(lambda p, start=start: solve(start, p), (jnp.array(1.0),), (jnp.array(1.0),))


def test_call_without_x64_is_refused_with_the_remedy() -> None:
    solve = root(lambda x, p: x - p)(lambda x0, p: p)
    with jax.enable_x64(False), pytest.raises(RuntimeError, match="jax_enable_x64"):
        solve(np.float32(1.0), np.float32(2.0))


def test_aux_without_a_pair_is_refused() -> None:
    with pytest.raises(ValueError, match=r"must return \(x, aux\)"):
        root(lambda x, p: x - p, has_aux=True)(lambda x0, p: p)(jnp.array(1.0), jnp.array(1.0))


def test_null_space_of_another_shape_is_refused_with_both_named() -> None:
    null_space = NullSpace.from_modes([jnp.ones(4)])
    solve = root(lambda x, p: x - p, null_space=null_space)(lambda x0, p: p)
    with pytest.raises(ValueError, match=r"bool\[4\], but x is f64\[3\]"):
        jax.jacfwd(solve, argnums=1)(jnp.ones(3), jnp.ones(3))
    solve = root(lambda x, p: x - p, null_space=lambda x, p: jnp.ones(3))(lambda x0, p: p)
    with pytest.raises(ValueError, match="must return a NullSpace"):
        jax.jacfwd(solve, argnums=1)(jnp.ones(3), jnp.ones(3))
