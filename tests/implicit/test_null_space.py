"""Singular systems: minimum-norm derivatives, zero for cotangents along zero modes, exact second derivatives."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import pytest
from jaxtyping import Array, Float

from mdsens.implicit import DenseCholesky, DenseLU, Iterative, LinearSolver, NullSpace, root

N = 6
SOLVERS = {
    "lu": DenseLU(),
    "cholesky": DenseCholesky(),
    "cg": Iterative(lx.CG(rtol=1e-13, atol=1e-13), symmetric=True, tolerance=1e-10),
    "gmres": Iterative(lx.GMRES(rtol=1e-13, atol=1e-13), tolerance=1e-10),
}
REST_LENGTH = jnp.array([0.3, -0.1, 0.5, 0.2, -0.4, 0.1])
STIFFNESS = jnp.array([1.0, 2.0, 0.5, 1.5, 3.0, 1.0])
INCIDENCE = np.roll(np.eye(N), 1, axis=1) - np.eye(N)  # a ring of N springs


def ring_energy(x: Array, stiffness: Array, rest_length: Array) -> Array:
    """Springs whose elongations sum to zero around the ring; a quartic term makes the Laplacian depend on x."""
    elongation = jnp.asarray(INCIDENCE) @ x - rest_length
    return jnp.sum(0.5 * stiffness * elongation**2 + 0.1 * elongation**4)


@jax.jit
def relax_ring(x0: Array, stiffness: Array, rest_length: Array) -> Array:
    """Descend by fixed steps, converging to rounding; it keeps the mean of the start and compiles fast."""
    gradient = jax.grad(ring_energy)
    return jax.lax.fori_loop(0, 3000, lambda _, x: x - 0.08 * gradient(x, stiffness, rest_length), x0)


def ring_root(solver: LinearSolver):  # type: ignore[no-untyped-def]
    translation = NullSpace.from_modes([jnp.ones(N)])
    return root(jax.grad(ring_energy), linear_solver=solver, null_space=translation)(relax_ring)


@jax.jit
def pseudo_inverse_jacobian(x: Array) -> Array:
    hessian = jax.hessian(ring_energy)(x, STIFFNESS, REST_LENGTH)
    mixed = jax.jacfwd(jax.grad(ring_energy), argnums=2)(x, STIFFNESS, REST_LENGTH)
    return -jnp.linalg.pinv(hessian, rtol=1e-10) @ mixed


@pytest.mark.parametrize("name", SOLVERS)
def test_ring_has_the_pseudo_inverse_jacobian_and_zero_for_a_translation_only_cotangent(name: str) -> None:
    solve = functools.partial(ring_root(SOLVERS[name]), jnp.zeros(N), STIFFNESS)

    @jax.jit
    def derivatives(cotangents: Array) -> tuple[Array, Array]:
        return jax.jacfwd(solve)(REST_LENGTH), jax.vmap(lambda v: jax.vjp(solve, REST_LENGTH)[1](v)[0])(cotangents)

    expected = pseudo_inverse_jacobian(relax_ring(jnp.zeros(N), STIFFNESS, REST_LENGTH))
    forward, adjoint = derivatives(jnp.concatenate([jnp.eye(N), 3.7 * jnp.ones((1, N))]))
    np.testing.assert_allclose(forward, expected, atol=1e-11)
    np.testing.assert_allclose(forward.sum(axis=0), 0.0, atol=1e-14)
    np.testing.assert_allclose(adjoint[:N], expected, atol=1e-11)  # one-hot cotangents are not translation invariant
    assert jnp.linalg.norm(adjoint[N]) < 1e-10


def test_second_derivatives_of_the_ring_match_differences_of_first_ones() -> None:
    def observable(stiffness: Array, solver: LinearSolver) -> Array:
        x = ring_root(solver)(jnp.zeros(N), stiffness, REST_LENGTH)
        return jnp.sum(jnp.sin(x + jnp.arange(N)))  # not translation invariant

    step = 1e-5
    for solver in (DenseLU(), DenseCholesky()):
        gradient = jax.grad(functools.partial(observable, solver=solver))

        @jax.jit
        def both(gradient=gradient) -> tuple[Array, Array]:  # type: ignore[no-untyped-def]
            steps = step * jnp.eye(N)
            differences = jax.vmap(lambda h: (gradient(STIFFNESS + h) - gradient(STIFFNESS - h)) / (2 * step))(steps)
            return jax.jacfwd(gradient)(STIFFNESS), differences

        hessian, differences = both()
        np.testing.assert_allclose(hessian, differences, atol=1e-9)


def test_batch_of_rings_under_vmap_equals_a_loop() -> None:
    batch = STIFFNESS * jnp.array([[0.5], [1.0], [2.0]])
    jacobian = jax.jit(jax.jacrev(ring_root(DenseCholesky()), argnums=2))
    together = jax.vmap(jacobian, in_axes=(None, 0, None))(jnp.zeros(N), batch, REST_LENGTH)
    for found, stiffness in zip(together, batch, strict=True):
        np.testing.assert_allclose(found, jacobian(jnp.zeros(N), stiffness, REST_LENGTH), atol=1e-13)


def test_frozen_components_stay_and_the_rest_is_solved_without_them() -> None:
    frozen = jnp.array([True, False, False, False, True, False])
    solve = root(jax.grad(ring_energy), null_space=NullSpace.from_mask(frozen))(relax_ring)
    found = jax.jit(jax.jacrev(solve, argnums=2))(jnp.zeros(N), STIFFNESS, REST_LENGTH)
    x = relax_ring(jnp.zeros(N), STIFFNESS, REST_LENGTH)
    free = np.flatnonzero(~np.asarray(frozen))
    hessian = np.asarray(jax.jit(jax.hessian(ring_energy))(x, STIFFNESS, REST_LENGTH))[np.ix_(free, free)]
    mixed = np.asarray(jax.jit(jax.jacfwd(jax.grad(ring_energy), argnums=2))(x, STIFFNESS, REST_LENGTH))[free]
    np.testing.assert_allclose(np.asarray(found)[free], -np.linalg.solve(hessian, mixed), atol=1e-12)
    np.testing.assert_array_equal(np.asarray(found)[np.asarray(frozen)], 0.0)


def test_modes_are_orthonormalised_after_masking() -> None:
    """A ring of N and two particles without springs: frozen rattlers take no part in the mean displacement."""
    frozen = jnp.arange(N + 2) >= N

    def condition(x: Array, stiffness: Array, rest_length: Array) -> Array:
        return jnp.concatenate([jax.grad(ring_energy)(x[:N], stiffness, rest_length), jnp.zeros(2)])

    def solver(x0: Array, stiffness: Array, rest_length: Array) -> Array:
        return jnp.concatenate([relax_ring(x0[:N], stiffness, rest_length), x0[N:]])

    null_space = NullSpace.from_modes([jnp.ones(N + 2)], frozen=frozen)
    solve = root(condition, linear_solver=DenseCholesky(), null_space=null_space)(solver)
    for jacobian in (jax.jacfwd, jax.jacrev):
        found = jax.jit(jacobian(solve, argnums=2))(jnp.zeros(N + 2), STIFFNESS, REST_LENGTH)
        expected = pseudo_inverse_jacobian(relax_ring(jnp.zeros(N), STIFFNESS, REST_LENGTH))
        np.testing.assert_allclose(found[:N], expected, atol=1e-12)
        np.testing.assert_array_equal(found[N:], 0.0)


class Trimer(eqx.Module):
    """Three bonded points in the plane, as a pytree of two leaves: translations and a rotation that follows them."""

    pair: Float[Array, "2 2"]
    tip: Float[Array, "2"]

    def points(self) -> Float[Array, "3 2"]:
        return jnp.concatenate([self.pair, self.tip[None]])


def trimer(points: Float[Array, "3 2"]) -> Trimer:
    return Trimer(points[:2], points[2])


def trimer_energy(x: Trimer, lengths: Array) -> Array:
    points = x.points()
    bond = jnp.linalg.norm(points - jnp.roll(points, 1, axis=0), axis=1)
    return jnp.sum((bond - lengths) ** 2) / 2


@jax.jit
def trimer_null_space(x: Trimer, lengths: Array) -> NullSpace:
    points = x.points()
    rotation = jnp.stack([-points[:, 1], points[:, 0]], axis=1)
    shifts = [jnp.broadcast_to(e, (3, 2)) for e in jnp.eye(2)]
    return NullSpace.from_modes([trimer(mode) for mode in [*shifts, rotation, rotation + 2 * shifts[0]]])


@jax.jit
def relax_trimer(x0: Trimer, lengths: Array) -> Trimer:
    def step(_: int, x: Trimer) -> Trimer:
        return jax.tree.map(lambda v, g: v - 0.2 * g, x, jax.grad(trimer_energy)(x, lengths))

    return jax.lax.fori_loop(0, 1000, step, x0)


TRIMER = trimer(jnp.array([[0.0, 0.0], [1.1, 0.1], [0.4, 0.9]]))
LENGTHS = jnp.array([1.0, 1.2, 1.1])


def solve_trimer(lengths: Array, x0: Trimer = TRIMER) -> Trimer:
    null_space = trimer_null_space
    return root(jax.grad(trimer_energy), linear_solver=DenseCholesky(), null_space=null_space)(relax_trimer)(
        x0, lengths
    )


def test_rotating_modes_match_the_pseudo_inverse_and_differences_of_re_relaxed_states() -> None:
    found = jax.jit(jax.jacfwd(solve_trimer))(LENGTHS)
    back = jax.jit(jax.jacrev(solve_trimer))(LENGTHS)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-12), found, back)
    state, step = relax_trimer(TRIMER, LENGTHS), 1e-5
    for i, h in enumerate(step * jnp.eye(3)):
        ends = [relax_trimer(state, LENGTHS + sign * h).points() for sign in (1, -1)]
        difference = (ends[0] - ends[1]) / (2 * step)
        projected = trimer_null_space(state, LENGTHS).project(trimer(difference)).points()
        slope = jnp.concatenate([found.pair[..., i], found.tip[None, :, i]])
        np.testing.assert_allclose(slope, projected, atol=1e-8)


def test_second_derivatives_with_rotating_modes_are_exact() -> None:
    """Follow the minimum-norm path dx/dt = x'(lengths(t)) by small steps and difference its velocity."""
    direction, step = jnp.array([0.3, -0.2, 0.5]), 1e-4

    @jax.jit
    def velocity(lengths: Array, x0: Trimer) -> Array:
        return jax.jvp(lambda p: solve_trimer(p, x0).points(), (lengths,), (direction,))[1]

    start = relax_trimer(TRIMER, LENGTHS)
    found = jax.jit(jax.jacfwd(lambda t: velocity(LENGTHS + t * direction, start)))(0.0)
    first = velocity(LENGTHS, start)
    ends = []
    for sign in (1, -1):
        moved = start.points() + sign * step * first + 0.5 * step**2 * found
        ends.append(velocity(LENGTHS + sign * step * direction, trimer(moved)))
    # The path's error is of third order in the step, so this difference is right to about step^2.
    np.testing.assert_allclose(found, (ends[0] - ends[1]) / (2 * step), atol=1e-6)
    assert jnp.abs(found).max() > 1e-2


def test_hessian_of_an_invariant_observable_with_rotating_modes_matches_differences() -> None:
    def area(lengths: Array) -> Array:
        points = solve_trimer(lengths).points()
        a, b = points[1] - points[0], points[2] - points[0]
        return (a[0] * b[1] - a[1] * b[0]) / 2

    def heron(lengths: Array) -> Array:
        half = lengths.sum() / 2
        return jnp.sqrt(half * jnp.prod(half - lengths))

    for derivative in (jax.grad, jax.hessian):
        found, expected = (jax.jit(derivative(f))(LENGTHS) for f in (area, heron))
        np.testing.assert_allclose(found, expected, atol=1e-10)
