"""Sparse direct solver: the caller assembles the matrix, SuperLU factors it on the host, in and out of jit and vmap."""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import threading
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp
import scipy.sparse.linalg as spla
from jaxtyping import Array, Float

from mdsens.errors import NumericalError
from mdsens.implicit.linear import LinearSolution, LinearSolver, check_tolerance
from mdsens.implicit.operator import Point, ProjectedOperator
from mdsens.linear import SHIFT, sparse_lu

_MOST_REFINEMENTS = 6
_ROUNDING = 1e-15  # relative residual at which refinement has nothing left to gain
_KEPT = 4  # factors kept between calls

Assemble = Callable[..., Any]
Solve = Callable[[np.ndarray], np.ndarray]


class SparseDirect(LinearSolver):
    r"""SuperLU factor of a sparse matrix that the caller assembles: 10^4 to 10^6 unknowns in low dimension.

    The factor of :math:`A + \mu` on the components that are not frozen, with a shift of 1e-10 of A's size so that it
    exists for a singular A, is made once per point and kept: further right-hand sides, forward or adjoint, one by one
    or in a block (under vmap), find it again by the content of x and p. Each solve is projected and refined until the
    residual stops falling, so that the shift leaves no trace. Under jit the work is done in a host callback.

    Attributes:
        assemble: Function (x, *p) -> dF/dx as a SciPy sparse matrix over the flat floating-point components of x in
            the order of `jax.flatten_util.ravel_pytree`; called on the host with NumPy leaves, and must not call
            JAX, which would wait for itself. A matrix that is not dF/dx makes the solve fail its check.
        symmetric: Whether A is symmetric: the factor then takes its pivots from the diagonal, half the time and memory.
        tolerance: Largest accepted relative residual, in (0, 1).
    """

    assemble: Assemble = eqx.field(static=True)  # type: ignore[misc]  # mypy counts abstract attributes as fields
    symmetric: bool = True
    tolerance: float = 1e-6

    def __check_init__(self) -> None:
        check_tolerance(self.tolerance)

    @property
    def name(self) -> str:
        """The method, in words."""
        return "sparse direct (SuperLU)"

    def prepare(self, operator: ProjectedOperator, point: Point) -> tuple[list[Array], Callable[..., Point]]:
        """Return everything the host needs: x, p, zero modes, frozen components; and how to put x and p together."""
        arrays, static = eqx.partition(point, eqx.is_array)
        leaves, structure = jax.tree.flatten(arrays)

        def join(parts: list[np.ndarray]) -> Point:
            return eqx.combine(jax.tree.unflatten(structure, parts), static)

        return [operator.null_space.basis, operator.null_space.frozen, *leaves], join

    def solve(
        self,
        state: tuple[list[Array], Callable[..., Point]],
        operator: ProjectedOperator,
        right_hand_side: Float[Array, " n"],
        *,
        transposed: bool,
    ) -> LinearSolution:
        """Solve on the host, NaN where the factorisation failed."""
        arrays, join = state
        n_steps = jax.ShapeDtypeStruct((), jnp.int64)
        shapes = (jax.ShapeDtypeStruct(right_hand_side.shape, right_hand_side.dtype), n_steps)

        def on_host(b: Any, *given: Any) -> tuple[np.ndarray, np.ndarray]:
            return self._solve_batch(np.asarray(b), [np.asarray(part) for part in given], join, transposed)

        value, steps = jax.pure_callback(on_host, shapes, right_hand_side, *arrays, vmap_method="expand_dims")
        # outside the null space M y = b is A y = b; along it M is the shift, and b has no component there
        return LinearSolution(value, steps)

    def _solve_batch(
        self,
        b: np.ndarray,
        given: list[np.ndarray],
        join: Callable[..., Point],
        transposed: bool,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Solve for right-hand sides with leading batch axes: those that share a point in one block."""
        n_batch = b.ndim - 1
        shape = np.broadcast_shapes(b.shape[:-1], *(part.shape[:n_batch] for part in given))
        right = np.broadcast_to(b, (*shape, b.shape[-1]))
        shared = all(set(part.shape[:n_batch]) <= {1} for part in given)  # axes that vmap did not map have length one
        answer, steps = np.empty(right.shape), np.zeros(shape, np.int64)
        for index in [()] if shared else list(np.ndindex(*shape)):
            parts = [np.asarray(part[_own(index, part.shape[:n_batch])]) for part in given]
            block = right[index].reshape(-1, b.shape[-1])
            found, n_steps = self._solve_at(block, parts, join, transposed)
            answer[index], steps[index] = found.reshape(right[index].shape), n_steps
        return answer, steps

    def _solve_at(
        self, block: np.ndarray, parts: list[np.ndarray], join: Callable[..., Point], transposed: bool
    ) -> tuple[np.ndarray, int]:
        try:
            factored = _factored(self, parts, join)
        except NumericalError:
            return np.full(block.shape, np.nan), 0
        return factored.solve(block, transposed=transposed)


def _own(index: tuple[int, ...], batch: tuple[int, ...]) -> tuple[int, ...]:
    """Return where a member of a batch finds its part of an array that may be the same for all (length one)."""
    return tuple(0 if length == 1 else k for k, length in zip(index or (0,) * len(batch), batch, strict=True))


@dataclasses.dataclass(frozen=True)
class _Factored:
    """A factored matrix on the free components, with the zero modes to project out."""

    assemble: Assemble  # held, so that its identity stays its own
    matrix: sp.csc_array
    forward: Solve
    backward: Solve
    free: np.ndarray
    modes: np.ndarray

    def solve(self, block: np.ndarray, *, transposed: bool) -> tuple[np.ndarray, int]:
        """Return the projected, refined solutions of rows of right-hand sides, and the refinement steps."""
        matrix = self.matrix.T if transposed else self.matrix
        inverse = self.backward if transposed else self.forward
        wanted = block[:, self.free].T
        solution, residual, n_steps = np.zeros_like(wanted), wanted, -1
        size = norm = np.linalg.norm(wanted, axis=0)
        for _ in range(1 + _MOST_REFINEMENTS):
            n_steps += 1
            candidate = solution + self._project(inverse(residual))
            left = self._project(wanted - matrix @ candidate)
            better = (left_size := np.linalg.norm(left, axis=0)) < size
            solution, residual = np.where(better, candidate, solution), np.where(better, left, residual)
            size = np.minimum(size, left_size)
            if not better.any() or np.all(size <= _ROUNDING * norm):
                break
        full = np.zeros(block.shape)
        full[:, self.free] = solution.T
        return full, n_steps

    def _project(self, columns: np.ndarray) -> np.ndarray:
        return columns - self.modes.T @ (self.modes @ columns)


_cache: collections.OrderedDict[bytes, _Factored] = collections.OrderedDict()
_lock = threading.Lock()


def _factored(solver: SparseDirect, parts: list[np.ndarray], join: Callable[..., Point]) -> _Factored:
    """Return the factor at a point, from the few that are kept or made anew."""
    digest = hashlib.blake2b(str((id(solver.assemble), solver.symmetric)).encode(), digest_size=16)
    for part in parts:
        digest.update(str((part.shape, part.dtype)).encode() + np.ascontiguousarray(part).tobytes())
    key = digest.digest()
    with _lock:
        if key in _cache:
            _cache.move_to_end(key)
            return _cache[key]
    made = _factor(solver, parts, join)
    with _lock:
        _cache[key] = made
        while len(_cache) > _KEPT:
            _cache.popitem(last=False)
    return made


def _factor(solver: SparseDirect, parts: list[np.ndarray], join: Callable[..., Point]) -> _Factored:
    basis, frozen, *leaves = parts
    point = join(leaves)
    free = ~frozen
    matrix = sp.csc_array(solver.assemble(point.x, *point.p)).astype(float)
    if matrix.shape != (free.size, free.size):
        raise ValueError(
            f"assemble returned a matrix of shape {matrix.shape}; it must be dF/dx of the {free.size} floating-point "
            "components of x."
        )
    matrix = sp.csc_array(matrix[free][:, free])
    forward, backward = _symmetric_inverse(matrix) if solver.symmetric else _general_inverse(matrix)
    return _Factored(solver.assemble, matrix, forward, backward, free, basis[:, free])


def _symmetric_inverse(matrix: sp.csc_array) -> tuple[Solve, Solve]:
    n, entries = matrix.shape[0], matrix.tocoo()
    diagonal = np.arange(n)  # stored even where it vanishes
    rows, columns = (np.concatenate([index, diagonal]) for index in (entries.row, entries.col))
    data = np.concatenate([entries.data, np.zeros(n)])
    inverse = sparse_lu(sp.csc_array(sp.coo_array((data, (rows, columns)), shape=(n, n)))).solve
    return inverse, inverse


def _general_inverse(matrix: sp.csc_array) -> tuple[Solve, Solve]:
    size = float(abs(matrix).sum(axis=1).max(initial=0.0))
    try:
        lu = spla.splu(sp.csc_array(matrix + SHIFT * (size or 1.0) * sp.eye_array(matrix.shape[0])))
    except RuntimeError as error:
        raise NumericalError(f"the matrix is exactly singular ({error}).") from error
    return (lambda b: np.asarray(lu.solve(b)), lambda b: np.asarray(lu.solve(b, "T")))  # type: ignore[call-overload]
