"""What differentiation costs: one run of the solver, one factorisation, no dense matrix where none is asked for."""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import pytest
from jaxtyping import Array

from mdsens.implicit import DenseCholesky, DenseLU, Iterative, root

N = 8


def equations(jaxpr) -> Iterator:  # type: ignore[no-untyped-def, type-arg]
    for equation in jaxpr.eqns:
        yield equation
        for value in equation.params.values():
            for inner in jax.tree.leaves(value, is_leaf=lambda v: hasattr(v, "eqns") or hasattr(v, "jaxpr")):
                inner = getattr(inner, "jaxpr", inner)
                if hasattr(inner, "eqns"):
                    yield from equations(inner)


@root(lambda x, p: x**2 - p)
def looping(x0: Array, p: Array) -> Array:
    return jax.lax.fori_loop(0, jnp.max(x0).astype(int), lambda _, x: 0.5 * (x + p / x), x0)


USES = {
    "call": looping,
    "jvp": lambda x0, p: jax.jvp(looping, (x0, p), (x0, p)),
    "jacfwd": jax.jacfwd(looping, argnums=1),
    "jacrev": jax.jacrev(looping, argnums=1),
    "hessian": jax.hessian(lambda x0, p: looping(x0, p).sum(), argnums=1),
    "grad of grad": jax.grad(lambda x0, p: jax.grad(lambda p: looping(x0, p).sum())(p).sum(), argnums=1),
}


@pytest.mark.parametrize("use", USES)
def test_solver_runs_once_whatever_the_mode(use: str) -> None:
    jaxpr = jax.make_jaxpr(USES[use])(jnp.ones(3), jnp.ones(3)).jaxpr
    assert [e.primitive.name for e in equations(jaxpr)].count("while") == 1


@pytest.mark.parametrize("jacobian", [jax.jacfwd, jax.jacrev])
@pytest.mark.parametrize(("solver", "primitive"), [(DenseLU(), "lu"), (DenseCholesky(), "cholesky")])
def test_all_right_hand_sides_share_one_factorisation(solver, primitive: str, jacobian) -> None:  # type: ignore[no-untyped-def]
    matrix = 3 * jnp.eye(N) + 1.0
    solve = root(lambda x, p: matrix @ x - p, linear_solver=solver)(lambda x0, p: x0 + p)
    jaxpr = jax.make_jaxpr(jacobian(solve, argnums=1))(jnp.zeros(N), jnp.ones(N)).jaxpr
    factors = [e.outvars[0].aval.shape for e in equations(jaxpr) if e.primitive.name == primitive]
    assert factors == [(N, N)]


def test_large_matrix_free_jacobian_product_holds_no_dense_matrix() -> None:
    n = 3000
    diagonal = jnp.linspace(1.0, 2.0, n)
    solver = Iterative(lx.CG(rtol=1e-12, atol=1e-12), symmetric=True)
    solve = root(lambda x, p: diagonal * x - p, linear_solver=solver)(lambda x0, p: p / diagonal)
    function = jax.grad(lambda p: jnp.sum(solve(jnp.zeros(n), p)))
    jaxpr = jax.make_jaxpr(function)(jnp.ones(n)).jaxpr
    assert max(v.aval.size for e in equations(jaxpr) for v in e.outvars) < 100 * n
    np.testing.assert_allclose(jax.jit(function)(jnp.ones(n)), 1 / diagonal, rtol=1e-10)


def test_solution_without_differentiation_is_the_bare_solver() -> None:
    def solver(x0: Array, p: Array) -> Array:
        return jax.lax.fori_loop(0, 50, lambda _, x: x - 0.1 * (x**2 - p), x0)

    def never(x: Array, p: Array) -> Array:
        raise AssertionError("F must not be called")

    x0, p = jnp.array(1.0), jnp.array(2.0)
    wrapped = root(never)(solver)
    assert wrapped(x0, p) == solver(x0, p)
    assert wrapped.__name__ == "solver"
    assert str(jax.jit(wrapped).lower(x0, p).compile().as_text()).count("while(") == 1
