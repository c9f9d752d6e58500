"""The projector of `NullSpace`: orthogonal, rank-aware, differentiable, refused when it cannot be built."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array

from mdsens.implicit import NullSpace

MODES = jnp.asarray(np.random.default_rng(0).normal(size=(3, 7)))
FROZEN = jnp.arange(7) % 3 == 0


@jax.jit
def matrix(null_space: NullSpace) -> Array:
    return jax.vmap(null_space.project)(jnp.eye(7))


def closed_projector(modes: Array, frozen: Array) -> Array:
    kept = jnp.diag(jnp.where(frozen, 0.0, 1.0))
    masked = modes @ kept
    return kept - masked.T @ jnp.linalg.inv(masked @ masked.T) @ masked


def test_projector_matches_its_closed_form_and_is_orthogonal() -> None:
    found = matrix(NullSpace.from_modes(MODES, frozen=FROZEN))
    np.testing.assert_allclose(found, closed_projector(MODES, FROZEN), atol=1e-14)
    np.testing.assert_allclose(found, found.T, atol=1e-15)
    np.testing.assert_allclose(found @ found, found, atol=1e-14)


def test_basis_is_orthonormal_and_free_of_frozen_components() -> None:
    basis = jax.jit(NullSpace.from_modes)(MODES, frozen=FROZEN).basis
    np.testing.assert_allclose(basis @ basis.T, np.eye(3), atol=1e-14)
    np.testing.assert_array_equal(basis[:, np.flatnonzero(FROZEN)], 0.0)


def test_dependent_and_vanishing_modes_are_dropped_inside_jit_and_vmap() -> None:
    dependent = jnp.concatenate([MODES, 1e3 * MODES[:1] - MODES[1:2], jnp.zeros((1, 7)), MODES, MODES])
    expected = closed_projector(MODES, FROZEN)
    build = jax.jit(lambda modes: matrix(NullSpace.from_modes(modes, frozen=FROZEN)))
    np.testing.assert_allclose(build(dependent), expected, atol=1e-13)
    batch = jax.vmap(build)(jnp.stack([dependent, 1e-8 * dependent]))
    np.testing.assert_allclose(batch, jnp.stack([expected, expected]), atol=1e-13)


def test_projector_has_exact_first_and_second_derivatives_whatever_the_singular_values() -> None:
    degenerate = jnp.eye(7)[:3] * 2.0  # equal singular values: the derivative of an SVD is infinite here
    direction = jnp.asarray(np.random.default_rng(1).normal(size=(3, 7)))
    for modes in (MODES, degenerate):

        def path(t: Array, build, modes: Array = modes) -> Array:  # type: ignore[no-untyped-def]
            return build(modes + t * direction + t**2 * direction[::-1])

        def built(m: Array) -> Array:
            return matrix(NullSpace.from_modes(m))

        def closed(m: Array) -> Array:
            return closed_projector(m, jnp.zeros(7, dtype=bool))

        for derivative in (jax.jacfwd(path), jax.jacfwd(jax.jacfwd(path))):
            derivative = jax.jit(derivative, static_argnums=1)
            np.testing.assert_allclose(derivative(0.0, built), derivative(0.0, closed), atol=1e-11)


def test_derivative_at_a_dropped_mode_is_finite_and_exact() -> None:
    def built(t: Array) -> Array:
        moved = MODES + t * MODES[::-1] ** 2
        return matrix(NullSpace.from_modes(jnp.concatenate([moved, moved[:1], jnp.zeros((1, 7))])))

    def closed(t: Array) -> Array:
        return closed_projector(MODES + t * MODES[::-1] ** 2, jnp.zeros(7, dtype=bool))

    found, expected = (jax.jit(jax.jacfwd(f))(0.0) for f in (built, closed))
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_list_of_modes_and_stacked_pytree_are_the_same() -> None:
    stacked = {"position": MODES[:, :6].reshape(3, 3, 2), "strain": MODES[:, 6], "species": None}
    listed = [jax.tree.map(lambda leaf, i=i: leaf[i], stacked) for i in range(3)]
    vector = {"position": jnp.ones((3, 2)), "strain": jnp.array(2.0), "species": None}
    found = [NullSpace.from_modes(modes).project(vector) for modes in (stacked, listed)]
    jax.tree.map(np.testing.assert_array_equal, *found)


def test_everything_frozen_projects_to_zero() -> None:
    everything = jnp.ones(7, dtype=bool)
    for null_space in (NullSpace.from_mask(everything), NullSpace.from_modes(MODES, frozen=everything)):
        np.testing.assert_array_equal(null_space.project(jnp.ones(7)), 0.0)


def test_impossible_null_spaces_are_refused() -> None:
    with pytest.raises(ValueError, match=r"rank_tolerance = 2.0 must lie in \[1e-14, 1\)"):
        NullSpace.from_modes(MODES, rank_tolerance=2.0)
    with pytest.raises(ValueError, match="must hold booleans"):
        NullSpace.from_mask(jnp.zeros(3))
    with pytest.raises(ValueError, match="must hold booleans"):
        NullSpace.from_modes(MODES, frozen=jnp.zeros(3, dtype=bool))
    with pytest.raises(ValueError, match="same leading axis"):
        NullSpace.from_modes({"a": MODES, "b": MODES[:2]})
    with pytest.raises(ValueError, match="same leading axis"):
        NullSpace.from_modes([])
