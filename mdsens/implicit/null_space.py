"""Directions in which a state may move freely (or not at all), and the projector that removes them."""

from collections.abc import Callable
from typing import Any, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, PyTree, Shaped

from mdsens.implicit.trees import floating, with_float_arrays

Mask: TypeAlias = PyTree[Shaped[Array | np.ndarray, "..."]]  # checked to be boolean when it is used


class NullSpace(eqx.Module):
    """Known zero modes of a Jacobian and components of the state that are held fixed.

    The projector is P = K - Z^T Z, with K the diagonal 0/1 matrix of the components that are not frozen and Z the
    matrix whose rows are the orthonormal zero modes (already masked: Z K = Z). P is symmetric and P P = P.

    Build it with `from_modes` or `from_mask`. It works under jit and vmap, and it may depend on the state: an
    orthonormal basis made by `from_modes` has the exact derivatives of the projector onto the span of the modes, to any
    order, as long as the rank stays the same (no derivative of an SVD is taken).

    Attributes:
        basis: Pytree like the floating part of the state, each leaf with one more leading axis k; orthonormal over all
            leaves together. Modes that depend on the others are rows of zeros.
        frozen: Pytree like the floating part of the state, boolean leaves of the same shapes, True = held fixed.
    """

    basis: PyTree[Float[Array, "k ..."]]
    frozen: PyTree[Bool[Array, "..."]]

    @classmethod
    def from_modes(
        cls,
        modes: PyTree[Float[Array | np.ndarray, "_ ..."]] | list[PyTree],
        *,
        frozen: Mask | None = None,
        rank_tolerance: float = 1e-10,
    ) -> "NullSpace":
        """Build the null space spanned by `modes`, orthonormalised after the frozen components are masked out.

        With V the k normalised, masked modes as rows and V = U S W^T, the basis is the rows of W^T with
        S > rank_tolerance. Nothing needs to be independent: dependent modes become rows of zeros.

        Args:
            modes: List of k pytrees like the state, or one pytree like the state with a leading axis k on every leaf.
                A list is always read as a list of modes.
            frozen: Components held fixed, boolean pytree with the state's shapes. Left out: none.
            rank_tolerance: Modes that are shorter than this, once normalised, masked and made orthogonal to the others,
                are dependent. Between 1e-14 and 1.

        Returns:
            The null space with an orthonormal basis of at most k modes.

        Raises:
            ValueError: If the rank tolerance is out of range, the leaves disagree about k, or `frozen` does not fit.
        """
        if not 1e-14 <= rank_tolerance < 1.0:
            raise ValueError(f"rank_tolerance = {rank_tolerance} must lie in [1e-14, 1); 1e-10 suits most modes.")
        stacked = _stack(modes)
        one_mode = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape[1:]), stacked)
        mask = _no_mask(one_mode) if frozen is None else _checked_mask(frozen, one_mode)
        flat_mask = ravel_pytree(mask)[0]
        _, unravel = ravel_pytree(one_mode)
        rows = jax.vmap(lambda mode: ravel_pytree(mode)[0])(stacked)
        return cls(jax.vmap(unravel)(_orthonormal_rows(rows, flat_mask, rank_tolerance)), mask)

    @classmethod
    def from_mask(cls, frozen: Mask) -> "NullSpace":
        """Build the null space of the frozen components alone.

        Args:
            frozen: Boolean pytree with the shapes of the state's floating-point leaves, True = held fixed.

        Returns:
            The null space without modes (k = 0).

        Raises:
            ValueError: If a leaf is not boolean.
        """
        mask = _checked_mask(frozen, frozen)
        return cls(jax.tree.map(lambda leaf: jnp.zeros((0, *leaf.shape)), mask), mask)

    @classmethod
    def empty(cls, x: PyTree) -> "NullSpace":
        """Build the null space of a regular problem with the state `x`: nothing is removed."""
        return cls.from_mask(_no_mask(floating(x)))

    def components(self, vector: PyTree[Float[Array, "..."]]) -> Float[Array, " k"]:
        """Return Z v, the components of `vector` along the zero modes."""
        parts = jax.tree.map(lambda z, v: jnp.tensordot(z, v, axes=v.ndim), self.basis, vector)
        return jax.tree.reduce(jnp.add, parts)

    def project(self, vector: PyTree[Float[Array, "..."]]) -> PyTree[Float[Array, "..."]]:
        """Return P v: `vector` without its frozen components and without its components along the zero modes.

        Args:
            vector: Pytree like the floating part of the state.

        Returns:
            The projected pytree.
        """
        kept = jax.tree.map(lambda fixed, v: jnp.where(fixed, 0.0, v), self.frozen, vector)
        along = self.components(kept)
        return jax.tree.map(lambda z, v: v - jnp.tensordot(along, z, axes=1), self.basis, kept)

    def flatten(self) -> "NullSpace":
        """Return the same null space for states flattened with `jax.flatten_util.ravel_pytree`."""
        return NullSpace(jax.vmap(lambda mode: ravel_pytree(mode)[0])(self.basis), ravel_pytree(self.frozen)[0])

    def require_like(self, x: PyTree) -> None:
        """Check that this null space belongs to states like `x`.

        Raises:
            ValueError: If structure or shapes differ; both are named.
        """
        expected = floating(x)
        if _shapes(self.frozen) != _shapes(expected):
            raise ValueError(
                f"the null space is for states like {eqx.tree_pformat(self.frozen)}, but x is {eqx.tree_pformat(x)}. "
                "Build it from modes or a mask with the structure and shapes of x's floating-point leaves "
                "(None in place of other leaves)."
            )


def zero_modes(
    F: Callable[..., PyTree], *, most: int = 12, relative: float = 1e-9, frozen: Mask | None = None
) -> Callable[..., NullSpace]:
    r"""Return a function (x, \*p) -> NullSpace that finds the zero modes of a symmetric dF/dx in its spectrum.

    For modes that nobody can name: floppy modes, a marginal state. Dense: an eigen-decomposition of order n^3.

    Args:
        F: The optimality function, with a symmetric derivative.
        most: Most modes to remove; the eigenvectors of the eigenvalues smallest in magnitude are candidates.
        relative: An eigenvalue counts as zero below this fraction of the largest, in (0, 1).
        frozen: Components held fixed, as for `NullSpace.from_modes`.

    Returns:
        The function, for `null_space=`. Its modes are constants for differentiation, so second derivatives lack their
        components along the zero modes. A state with more than ``most`` zero modes stays singular, and is reported so.

    Raises:
        ValueError: When ``most`` or ``relative`` is out of range.
    """
    if most < 1 or not 0.0 < relative < 1.0:
        raise ValueError(f"most = {most} must be at least 1 and relative = {relative} in (0, 1).")

    def null_space(x: PyTree, *p: PyTree) -> NullSpace:
        flat, unravel = ravel_pytree(floating(x))
        rest = eqx.filter(x, eqx.is_inexact_array, inverse=True)
        kept = jnp.ones(flat.shape) if frozen is None else 1.0 - ravel_pytree(frozen)[0]

        def condition(y: Float[Array, " n"]) -> Float[Array, " n"]:
            return ravel_pytree(floating(F(eqx.combine(unravel(y), rest), *p)))[0]

        matrix = jax.lax.stop_gradient(jax.jacfwd(condition)(flat)) * kept[:, None] * kept
        size = jnp.max(jnp.sum(jnp.abs(matrix), axis=0))
        # frozen components must not be taken for zero modes
        values, vectors = jnp.linalg.eigh(0.5 * (matrix + matrix.T) + size * jnp.diag(1.0 - kept))
        order = jnp.argsort(jnp.abs(values))[:most]
        found = jnp.abs(values[order]) <= relative * size
        modes = jax.vmap(unravel)(jnp.where(found, vectors[:, order], 0.0).T)
        return NullSpace.from_modes(modes, frozen=frozen)

    return null_space


def _orthonormal_rows(rows: Float[Array, "k n"], frozen: Bool[Array, " n"], tolerance: float) -> Float[Array, "k n"]:
    """Return an orthonormal basis of the masked rows' span, with the derivatives of the projector onto it.

    A constant matrix G from an SVD makes W = G V orthonormal here and now; W^T (W W^T)^-1 W is the projector onto the
    span for every neighbouring V as well, and its Cholesky factor at W W^T = 1 has harmless derivatives.
    """
    if rows.shape[0] == 0:
        return rows
    masked = jnp.where(frozen, 0.0, rows)
    length = jnp.linalg.norm(jax.lax.stop_gradient(rows), axis=1, keepdims=True)
    unit = masked / jnp.where(length > 0.0, length, 1.0)
    left, size, _ = jnp.linalg.svd(jax.lax.stop_gradient(unit), full_matrices=False)
    kept = size > tolerance
    mix = (left * jnp.where(kept, 1.0 / jnp.where(kept, size, 1.0), 0.0)).T
    orthonormal = jax.lax.stop_gradient(mix) @ unit
    gram = orthonormal @ orthonormal.T + jnp.diag(jnp.where(kept, 0.0, 1.0))
    basis = jax.scipy.linalg.solve_triangular(jnp.linalg.cholesky(gram), orthonormal, lower=True)
    return jnp.concatenate([basis, jnp.zeros((rows.shape[0] - basis.shape[0], rows.shape[1]))])


def _stack(modes: PyTree) -> PyTree:
    if isinstance(modes, list):
        each = [floating(with_float_arrays(mode)) for mode in modes]
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *each) if each else None
    else:
        stacked = floating(with_float_arrays(modes))
    counts = {leaf.shape[:1] for leaf in jax.tree.leaves(stacked)}
    if len(counts) != 1 or () in counts:
        raise ValueError(
            f"every leaf of the modes needs the same leading axis (one entry per mode), got {eqx.tree_pformat(modes)}."
        )
    return stacked


def _no_mask(x: PyTree) -> PyTree:
    return jax.tree.map(lambda leaf: jnp.zeros(jnp.shape(leaf), dtype=bool), x)


def _checked_mask(frozen: PyTree, x: PyTree) -> PyTree:
    mask = jax.tree.map(jnp.asarray, frozen)
    if _shapes(mask) != _shapes(x) or any(leaf.dtype != bool for leaf in jax.tree.leaves(mask)):
        raise ValueError(
            f"the mask must hold booleans (True = frozen) in the shapes of the state {eqx.tree_pformat(x)}, "
            f"got {eqx.tree_pformat(frozen)}."
        )
    return mask


def _shapes(tree: PyTree) -> Any:
    return jax.tree.structure(tree), [leaf.shape for leaf in jax.tree.leaves(tree)]
