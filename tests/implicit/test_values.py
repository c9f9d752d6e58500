"""Values with verdicts: what is refused, in words, and how honest the estimate of the error is."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import pytest

from mdsens.errors import NumericalError
from mdsens.implicit import (
    DenseCholesky,
    Iterative,
    NullSpace,
    SparseDirect,
    energy_hessian,
    jacobian,
    jvp,
    root,
    stationary,
    vjp,
)

N = 6
RNG = np.random.default_rng(3)
MATRIX = jnp.asarray(RNG.normal(size=(N, N)))
MATRIX = MATRIX @ MATRIX.T + jnp.eye(N)
P = jnp.asarray(RNG.normal(size=3))
PULL = jnp.asarray(RNG.normal(size=(N, 3)))


def energy(x, p):
    return 0.5 * x @ MATRIX @ x + 0.05 * jnp.sum(x**4) - x @ PULL @ jnp.sin(p)


F = stationary(energy)


def solve(x0, p):
    step = lambda _, x: x - jnp.linalg.solve(jax.jacfwd(F)(x, p), F(x, p))  # noqa: E731
    return jax.lax.fori_loop(0, 30, step, x0)


X = solve(jnp.zeros(N), P)
TRUE = jax.jacfwd(solve, argnums=1)(jnp.zeros(N), P)


@pytest.mark.parametrize("distance", [1e-3, 1e-5, 1e-7])
def test_the_estimate_is_the_error_of_an_unconverged_solution(distance):
    off = X + distance * jnp.asarray(RNG.normal(size=N))
    for way, take in (("forward", jacobian), ("adjoint", vjp)):
        arguments = (F, off, (P,)) if way == "forward" else (F, off, (P,), jnp.ones(N))
        with pytest.raises(NumericalError, match="F does not vanish at x"):
            take(*arguments, stationarity=1e-9)
        value, certificate = take(*arguments, at_any_point=True)
        if way == "forward":
            error = np.linalg.norm(value[0] - TRUE, axis=0)
        else:
            error = np.linalg.norm(value[0] - jnp.ones(N) @ TRUE)[None]
        np.testing.assert_allclose(certificate.error, error, rtol=100 * distance, atol=1e-14)
        assert certificate.at_any_point
        assert certificate.condition == pytest.approx(float(jnp.abs(F(off, P)).max()))


def test_the_cheaper_way_is_taken():
    assert jacobian(F, X, (P,))[1].way == "forward"
    wide = stationary(lambda x, p: 0.5 * jnp.sum((x - jnp.sum(p)) ** 2))
    full, certificate = jacobian(wide, jnp.full(2, 5.0), (jnp.ones(5),))
    assert certificate.way == "adjoint"
    assert certificate.residual.shape == (2,)
    np.testing.assert_allclose(full[0], np.ones((2, 5)), atol=1e-14)


def test_the_hessian_of_a_relaxed_energy_is_that_of_its_differences():
    def relaxed(p):
        return energy(solve(jnp.zeros(N), p), p)

    found, _ = energy_hessian(energy, X, (P,))
    np.testing.assert_allclose(found, jax.hessian(relaxed)(P), atol=1e-11)
    h = 1e-4
    slope = jax.jit(jax.grad(relaxed))
    differences = jnp.stack([(slope(P + h * e) - slope(P - h * e)) / (2 * h) for e in jnp.eye(3)])
    np.testing.assert_allclose(found, differences, atol=1e-6)


SINGULAR = jnp.ones((2, 2))
CAUSES = {
    "singular": (lambda x, p: SINGULAR @ x - p, None, None, "1 of 2 singular values vanish"),
    "saddle": (lambda x, p: jnp.array([1.0, -1.0]) * (x - p), DenseCholesky(), None, "1 negative eigenvalues"),
    "no gradient": (lambda x, p: jnp.array([[1.0, 2.0], [0.0, 1.0]]) @ (x - p), DenseCholesky(), None, "no gradient"),
    "no zero mode": (
        lambda x, p: 2 * (x - p),
        None,
        NullSpace.from_modes([jnp.array([1.0, 0.0])]),
        "a claimed zero mode is none",
    ),
    "few steps": (
        lambda x, p: jnp.array([[2.0, 1.0], [1.0, 3.0]]) @ (x - p),
        Iterative(lx.CG(rtol=1e-12, atol=1e-12, max_steps=1), symmetric=True),
        None,
        "left a relative residual",
    ),
    "lopsided preconditioner": (
        lambda x, p: jnp.array([1.0, 3.0]) * (x - p),
        Iterative(lx.CG(rtol=1e-12, atol=1e-12), symmetric=True, preconditioner=lambda x, p: jnp.cumsum),
        None,
        "preconditioner is not symmetric",
    ),
    "wrong matrix": (
        lambda x, p: jnp.array([1.0, 3.0]) * (x - p),
        SparseDirect(lambda x, p: np.diag([1.0, 2.0])),
        None,
        "left a relative residual",
    ),
    "not finite": (lambda x, p: jnp.sqrt(x - 2.0) * p, None, None, "F is not finite"),
}


@pytest.mark.parametrize("cause", CAUSES)
def test_a_failure_is_explained_outside_jit_and_nan_inside(cause):
    condition, solver, null_space, words = CAUSES[cause]
    p = jnp.array([0.5, -0.25])
    options = {"linear_solver": solver, "null_space": null_space}
    function = lambda q: root(condition, **options)(lambda x0, q: p)(jnp.zeros(2), q)  # noqa: E731
    uses = {
        "jvp": lambda q: jax.jvp(function, (q,), (jnp.ones(2),))[1],
        "jacfwd": jax.jacfwd(function),
        "grad": jax.grad(lambda q: jnp.vdot(jnp.array([1.0, 2.0]), function(q))),
        "jacrev": jax.jacrev(function),
    }
    for use in uses.values():
        with pytest.raises(NumericalError, match=words):
            use(p)
    assert jnp.all(jnp.isnan(jax.jit(uses["jvp"])(p)))
    with pytest.raises(NumericalError, match=words):
        jvp(condition, p, (p,), (jnp.ones(2),), at_any_point=True, **options)


def test_arguments_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="the tangents must have one floating-point leaf"):
        jvp(F, X, (P,), (jnp.ones(4),))
    with pytest.raises(ValueError, match="the cotangent must have"):
        vjp(F, X, (P,), jnp.ones(N + 1))
    with pytest.raises(ValueError, match="must return a pytree like x"):
        jvp(lambda x, p: x[:2], X, (P,), (P,))
    with pytest.raises(ValueError, match="every floating-point leaf of x must be float64"):
        jvp(F, X.astype(jnp.float32), (P,), (P,))
    with pytest.raises(NumericalError, match="not finite"):
        jvp(F, jnp.full(N, jnp.nan), (P,), (P,), at_any_point=True)


def test_a_preconditioner_of_the_wrong_size_is_refused():
    solver = Iterative(lx.CG(rtol=1e-9, atol=1e-9), symmetric=True, preconditioner=lambda x, p: lambda v: v[:2])
    with pytest.raises(ValueError, match="2 numbers for 6 unknowns"):
        jvp(F, X, (P,), (P,), linear_solver=solver)
