"""Linear solvers: one factorisation for many right-hand sides, NaN and never a wrong number when a solve fails."""

import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import pytest
from jaxtyping import Array

from mdsens.implicit import DenseCholesky, DenseLU, Iterative, LinearSolver, NullSpace, root

N = 8
GENERAL = jnp.asarray(np.random.default_rng(0).normal(size=(N, N)) + 4 * np.eye(N))
POSITIVE = GENERAL @ GENERAL.T
GOOD = {
    "lu": (DenseLU(), GENERAL),
    "lu without refinement": (DenseLU(refinement_steps=0), GENERAL),
    "cholesky": (DenseCholesky(), POSITIVE),
    "cg": (Iterative(lx.CG(rtol=1e-13, atol=1e-13), symmetric=True), POSITIVE),
    "gmres": (Iterative(lx.GMRES(rtol=1e-13, atol=1e-13)), GENERAL),
    "default iterative": (Iterative(), GENERAL),
    "bicgstab": (Iterative(lx.BiCGStab(rtol=1e-13, atol=1e-13)), GENERAL),
}
BAD = {
    "cg, too few steps": (Iterative(lx.CG(rtol=1e-13, atol=1e-13, max_steps=1), symmetric=True), POSITIVE),
    "gmres, too few steps": (Iterative(lx.GMRES(rtol=1e-13, atol=1e-13, restart=2, max_steps=1)), GENERAL),
    "bicgstab, too few steps": (Iterative(lx.BiCGStab(rtol=1e-13, atol=1e-13, max_steps=1)), GENERAL),
    "claims success too early": (Iterative(lx.CG(rtol=0.9, atol=0.9), symmetric=True), POSITIVE),
    "cholesky of an indefinite matrix": (DenseCholesky(), POSITIVE - 5.0 * jnp.eye(N)),
    "cholesky of a non-symmetric matrix": (DenseCholesky(), GENERAL),
    "gmres told that a general matrix is symmetric": (
        Iterative(lx.GMRES(rtol=1e-13, atol=1e-13), symmetric=True),
        GENERAL,
    ),
    "lu of a singular matrix": (DenseLU(), GENERAL - GENERAL.mean(axis=1, keepdims=True)),
    "cholesky of a singular matrix": (DenseCholesky(), N * jnp.eye(N) - jnp.ones((N, N))),
    "not a number": (DenseLU(), GENERAL.at[2, 3].set(jnp.nan)),
}


def linear_root(linear_solver: LinearSolver, matrix: Array, null_space: NullSpace | None = None):  # type: ignore[no-untyped-def]
    """Return the solver of matrix @ x = p; it is not asked for a good x, which does not matter here."""
    return root(lambda x, p: matrix @ x - p, linear_solver=linear_solver, null_space=null_space)(
        lambda x0, p: x0 + 0 * p
    )


@pytest.mark.parametrize("jacobian", [jax.jacfwd, jax.jacrev])
@pytest.mark.parametrize("name", GOOD)
def test_jacobian_is_the_inverse_matrix(name: str, jacobian) -> None:  # type: ignore[no-untyped-def]
    solver, matrix = GOOD[name]
    found = jax.jit(jacobian(linear_root(solver, matrix), argnums=1))(jnp.zeros(N), jnp.ones(N))
    np.testing.assert_allclose(found, jnp.linalg.inv(matrix), atol=1e-9 if name == "default iterative" else 1e-12)


@pytest.mark.parametrize("name", BAD)
def test_failed_solve_gives_nan_forward_and_adjoint(name: str) -> None:
    solver, matrix = BAD[name]
    solve = linear_root(solver, matrix)
    arguments, direction = (jnp.zeros(N), jnp.ones(N)), jnp.arange(1.0, N + 1)

    @jax.jit
    def both(x0: Array, p: Array) -> tuple[Array, Array]:
        forward = jax.jvp(lambda p: solve(x0, p), (p,), (direction,))[1]
        return forward, jax.vjp(lambda p: solve(x0, p), p)[1](direction)[0]

    np.testing.assert_array_equal(both(*arguments), np.full((2, N), np.nan))


def test_a_failure_in_a_batch_leaves_the_others_alone() -> None:
    def solve(p: Array) -> Array:
        return root(lambda x, p: (POSITIVE - p * jnp.eye(N)) @ x - p, linear_solver=DenseCholesky())(
            lambda x0, p: p * jnp.linalg.solve(POSITIVE - p * jnp.eye(N), jnp.ones(N))
        )(jnp.zeros(N), p)

    slopes = jax.jit(jax.vmap(jax.jacfwd(solve)))(jnp.array([0.0, 1e3, 0.1]))
    assert jnp.all(jnp.isfinite(slopes[jnp.array([0, 2])]))
    assert jnp.all(jnp.isnan(slopes[1]))


def test_claimed_zero_mode_that_is_none_gives_nan() -> None:
    solve = linear_root(DenseLU(), GENERAL, NullSpace.from_modes([jnp.ones(N)]))
    for jacobian in (jax.jacfwd, jax.jacrev):
        assert jnp.all(jnp.isnan(jax.jit(jacobian(solve, argnums=1))(jnp.zeros(N), jnp.ones(N))))


def test_zero_direction_gives_zero() -> None:
    solve = linear_root(DenseLU(), GENERAL)
    zeros = jnp.zeros(N)
    np.testing.assert_array_equal(jax.jit(lambda v: jax.jvp(solve, (zeros, zeros), (v, v))[1])(zeros), 0.0)


def test_units_of_the_unknowns_do_not_make_a_matrix_singular() -> None:
    scales = 10.0 ** jnp.arange(-12, 12, 3)
    for solver, matrix in ((DenseLU(), GENERAL), (DenseCholesky(), POSITIVE)):
        scaled = scales[:, None] * matrix * scales
        direction = scales * jnp.arange(1.0, N + 1)
        solve = linear_root(solver, scaled)
        zeros = jnp.zeros(N)
        found = jax.jit(lambda v, solve=solve, zeros=zeros: jax.jvp(solve, (zeros, zeros), (v, v))[1])(direction)
        np.testing.assert_allclose(found * scales, jnp.linalg.solve(matrix, jnp.arange(1.0, N + 1)), rtol=1e-9)


def test_solvers_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match=r"tolerance = 0.0 must lie in \(0, 1\)"):
        DenseLU(tolerance=0.0)
    with pytest.raises(ValueError, match="refinement_steps = -1 must be 0 or more"):
        DenseCholesky(refinement_steps=-1)
    with pytest.raises(ValueError, match="symmetric=True"):
        Iterative(lx.CG(rtol=1e-6, atol=1e-6))
