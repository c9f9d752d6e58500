"""Every condition with every solver that suits it, in every mode, against closed forms."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import pytest
import scipy.sparse as sp

from mdsens.implicit import (
    Condition,
    DenseCholesky,
    Iterative,
    LinearSolver,
    Minres,
    NullSpace,
    SparseDirect,
    fixed_point,
    jacobian,
    joint,
    jvp,
    kkt,
    projected_gradient,
    root,
    second_derivative,
    stationary,
    vjp,
    zero_modes,
)

N = 4
RNG = np.random.default_rng(0)
GENERAL = jnp.asarray(RNG.normal(size=(N, N)))
POSITIVE = GENERAL @ GENERAL.T + jnp.eye(N)
INDEFINITE = POSITIVE - 3.0 * jnp.eye(N)
P = jnp.asarray([0.3, -0.4, 0.7, 1.6])
RING = 2 * jnp.eye(N) - jnp.roll(jnp.eye(N), 1, axis=0) - jnp.roll(jnp.eye(N), -1, axis=0)
NORMAL = jnp.asarray([1.0, 2.0, -1.0, 0.5])
TIGHT = {"rtol": 1e-13, "atol": 1e-13}


@dataclass(frozen=True)
class Case:
    """A condition on x with one parameter p of shape (N,), its solution in closed form, and its structure."""

    condition: Callable[..., Any]
    solution: Callable[[jax.Array], Any]
    matrix: Callable[[Any, np.ndarray], np.ndarray]
    symmetric: bool = False
    positive: bool = False
    null_space: Any = None

    def assemble(self, x: Any, p: np.ndarray) -> sp.coo_array:
        """Return dF/dx on the host."""
        return sp.coo_array(self.matrix(x, p))


def always(matrix: jax.Array) -> Callable[[Any, np.ndarray], np.ndarray]:
    return lambda x, p: np.asarray(matrix)


def within_bounds(x: np.ndarray, p: np.ndarray) -> np.ndarray:
    inside = np.abs(x - 0.7 * (x - np.sin(p)) - 0.45) < 0.45
    return np.diag(np.where(inside, 0.7, 1.0))


KKT = np.block([[np.eye(N), np.asarray(NORMAL)[:, None]], [np.asarray(NORMAL), np.zeros(1)]])


def quadratic(matrix: jax.Array) -> Callable[..., jax.Array]:
    return lambda x, p: 0.5 * x @ matrix @ x - x @ (p + p**2)


CASES = {
    "minimum": Case(
        stationary(quadratic(POSITIVE)),
        lambda p: jnp.linalg.solve(POSITIVE, p + p**2),
        always(POSITIVE),
        symmetric=True,
        positive=True,
    ),
    "saddle": Case(
        stationary(quadratic(INDEFINITE)),
        lambda p: jnp.linalg.solve(INDEFINITE, p + p**2),
        always(INDEFINITE),
        symmetric=True,
    ),
    "within bounds": Case(
        projected_gradient(lambda x, p: 0.5 * jnp.sum((x - jnp.sin(p)) ** 2), lambda p: (0.0, 0.9), step=0.7),
        lambda p: jnp.clip(jnp.sin(p), 0.0, 0.9),
        within_bounds,
    ),
    "constrained": Case(
        kkt(lambda x, p: 0.5 * jnp.sum((x - p) ** 2), lambda x, p: NORMAL @ x - p[0] ** 2),
        lambda p: (
            p - NORMAL * (NORMAL @ p - p[0] ** 2) / (NORMAL @ NORMAL),
            (NORMAL @ p - p[0] ** 2) / (NORMAL @ NORMAL),
        ),
        always(KKT),
        symmetric=True,
    ),
    "joint": Case(
        joint(lambda s, p: s[0] - p * jnp.sum(s[1]), lambda s, p: s[1] - p**2),
        lambda p: (p * jnp.sum(p**2), p**2),
        lambda x, p: np.block([[np.eye(N), -np.outer(p, np.ones(N))], [np.zeros((N, N)), np.eye(N)]]),
    ),
    "fixed point": Case(
        lambda x, p: x - (2.0 + p) / (1.0 + x),
        lambda p: 0.5 * (jnp.sqrt(1 + 4 * (2.0 + p)) - 1),
        lambda x, p: np.diag(1 + (2.0 + p) / (1.0 + x) ** 2),
        symmetric=True,
        positive=True,
    ),
    "singular": Case(
        stationary(lambda x, p: 0.5 * x @ RING @ x - x @ (p - jnp.mean(p))),
        lambda p: jnp.linalg.pinv(RING) @ p,
        always(RING),
        symmetric=True,
        positive=True,
        null_space=NullSpace.from_modes([jnp.ones(N)]),
    ),
    "singular, modes found": Case(
        stationary(lambda x, p: 0.5 * x @ RING @ x - x @ (p - jnp.mean(p))),
        lambda p: jnp.linalg.pinv(RING) @ p,
        always(RING),
        symmetric=True,
        positive=True,
        null_space=zero_modes(stationary(lambda x, p: 0.5 * x @ RING @ x - x @ (p - jnp.mean(p)))),
    ),
}


def solvers(case: Case) -> dict[str, LinearSolver | None]:
    found: dict[str, LinearSolver | None] = {
        "chosen": None,
        "sparse": SparseDirect(case.assemble, symmetric=case.symmetric),
    }
    if case.symmetric:
        found["minres"] = Minres(rtol=1e-13)
    else:
        found["gmres"] = Iterative(lx.GMRES(**TIGHT))
    if case.positive:
        found["cholesky"] = DenseCholesky()
        found["cg"] = Iterative(lx.CG(**TIGHT), symmetric=True)
        found["preconditioned cg"] = Iterative(lx.CG(**TIGHT), symmetric=True, preconditioner=halved)
    return found


def halved(x: Any, p: jax.Array) -> Callable[[Any], Any]:
    return lambda v: jax.tree.map(lambda leaf: 0.5 * leaf, v)


# These solve the same matrices as others do, or of the same kind.
REPEATED = {
    "fixed point": ("minres", "cholesky", "cg", "preconditioned cg"),
    "singular, modes found": ("sparse", "cholesky", "minres", "preconditioned cg"),
    "constrained": ("sparse",),
    "singular": ("preconditioned cg",),
}
PAIRS = [
    pytest.param(case, solver, marks=[pytest.mark.exhaustive] if solver in REPEATED.get(case, ()) else [])
    for case in CASES
    for solver in solvers(CASES[case])
]


def flat(tree: Any) -> jax.Array:
    return jax.flatten_util.ravel_pytree(tree)[0]


@pytest.mark.parametrize(("name", "method"), PAIRS)
def test_every_mode_is_right(name: str, method: str) -> None:
    case = CASES[name]
    solver = solvers(case)[method]
    # found by somebody else: the closed form, its derivatives cut
    solve = root(case.condition, linear_solver=solver, null_space=case.null_space)(
        lambda x0, p: jax.lax.stop_gradient(case.solution(p))
    )
    x0 = jax.tree.map(jnp.zeros_like, case.solution(P))
    dp = jnp.asarray([0.5, 1.0, -0.3, 0.2])

    def observables(solution: Callable[..., Any]) -> Callable[..., Any]:
        energy = lambda p: jnp.sum(jnp.sin(flat(solution(p))))  # noqa: E731
        return lambda p: {
            "jvp": jax.jvp(lambda q: flat(solution(q)), (p,), (dp,))[1],
            "jacfwd": jax.jacfwd(lambda q: flat(solution(q)))(p),
            "jacrev": jax.jacrev(lambda q: flat(solution(q)))(p),
            "grad": jax.grad(energy)(p),
            "hessian": jax.hessian(energy)(p),
            # compiles long, and sees the same two solves: once per condition
            **(
                {"grad of grad": jax.grad(lambda q: jnp.vdot(dp, jax.grad(energy)(q)))(p)} if method == "chosen" else {}
            ),
        }

    batch = jnp.stack([P, 0.9 * P])
    found = jax.jit(jax.vmap(observables(lambda p: solve(x0, p))))(batch)
    expected = jax.vmap(observables(case.solution))(batch)
    for mode in expected:
        np.testing.assert_allclose(found[mode], expected[mode], atol=1e-9, err_msg=mode)


@pytest.mark.parametrize(("name", "method"), PAIRS)
def test_values_come_with_an_honest_verdict(name: str, method: str) -> None:
    case = CASES[name]
    options = {"linear_solver": solvers(case)[method], "null_space": case.null_space}
    x, dp = case.solution(P), jnp.asarray([0.5, 1.0, -0.3, 0.2])
    expected = jax.jacfwd(lambda p: flat(case.solution(p)))(P)
    full, certificate = jacobian(case.condition, x, (P,), **options)
    np.testing.assert_allclose(jnp.concatenate([b.reshape(-1, N) for b in jax.tree.leaves(full)]), expected, atol=1e-9)
    forward, _ = jvp(case.condition, x, (P,), (dp,), **options)
    np.testing.assert_allclose(flat(forward), expected @ dp, atol=1e-9)
    cotangent = jax.tree.map(lambda leaf: jnp.cos(leaf), x)
    (back,), adjoint = vjp(case.condition, x, (P,), cotangent, **options)
    np.testing.assert_allclose(back, flat(cotangent) @ expected, atol=1e-9)
    assert certificate.residual.max() < 1e-9
    assert certificate.condition < 1e-13
    assert certificate.zero_modes == ("singular" in name)
    assert (certificate.way, adjoint.way) == ("forward", "adjoint")
    if method in ("gmres", "preconditioned cg"):
        return  # second derivatives repeat the solves of the test above
    second, _ = second_derivative(case.condition, x, (P,), (dp,), (dp,), **options)
    twice = jax.jvp(lambda q: jax.jvp(lambda p: flat(case.solution(p)), (q,), (dp,))[1], (P,), (dp,))[1]
    np.testing.assert_allclose(flat(second), twice, atol=1e-9)


def test_fixed_point_takes_the_iteration_itself() -> None:
    case = CASES["fixed point"]
    solve = fixed_point(lambda x, p: (2.0 + p) / (1.0 + x))(lambda x0, p: case.solution(p))
    np.testing.assert_allclose(jax.jacrev(solve, argnums=1)(P, P), jax.jacfwd(case.solution)(P), atol=1e-12)


def test_conditions_know_their_structure() -> None:
    assert stationary(quadratic(POSITIVE)).symmetric
    assert kkt(quadratic(POSITIVE), lambda x, p: x[0]).symmetric
    assert not projected_gradient(quadratic(POSITIVE), lambda p: (0.0, 1.0)).symmetric
    assert isinstance(joint(lambda s, p: s[0]), Condition)


def test_a_moving_bound_moves_what_lies_on_it() -> None:
    energy = lambda x, p: 0.5 * jnp.sum((x - 2.0) ** 2)  # noqa: E731
    condition = projected_gradient(energy, lambda p: (-jnp.inf, p))
    x = jnp.minimum(2.0, P)
    full, _ = jacobian(condition, x, (P,))
    np.testing.assert_allclose(full[0], jnp.eye(N), atol=1e-14)


def test_other_leaves_of_a_state_stand_still() -> None:
    energy = lambda x, p: 0.5 * jnp.sum((x["y"] - x["k"] * p) ** 2)  # noqa: E731
    x = {"y": 3 * P, "k": jnp.array(3), "name": "state"}
    full, _ = jacobian(stationary(energy), x, (P,))
    np.testing.assert_allclose(full["y"][0], 3 * jnp.eye(N), atol=1e-14)
    assert full["k"] is None


def test_conditions_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match=r"step = 0\.0 must be greater than 0"):
        projected_gradient(quadratic(POSITIVE), lambda p: (0.0, 1.0), step=0.0)
    with pytest.raises(ValueError, match="2 parts but there are 1 conditions"):
        joint(lambda s, p: s[0])((P, P), P)
    with pytest.raises(ValueError, match=r"most = 0 must be at least 1"):
        zero_modes(stationary(quadratic(POSITIVE)), most=0)
