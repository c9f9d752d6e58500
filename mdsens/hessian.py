r"""The Hessian of the energy as a sparse matrix, and a direct factor of it.

For a pair law, with :math:`n = r_{ij}/|r_{ij}|`, every pair adds the block

.. math:: K = u''\, n n^T + \frac{u'}{r}\,(1 - n n^T)

to the two diagonal (d, d) blocks of its particles and -K to the two off-diagonal ones. Other energies are
differentiated densely. Degrees of freedom are numbered d i + a for component a of particle i.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp
import scipy.sparse.linalg as spla
from jaxtyping import Array, Float

from mdsens.energy import PairPotential, State, energy_at, pair_components
from mdsens.errors import NumericalError
from mdsens.parameters import at_pairs
from mdsens.types import Scalar

SHIFT = 1e-10  # of the largest eigenvalue: makes the factor exist, biases nothing once refined (measured: 6e-12)


def hessian(state: State, particles: np.ndarray | None = None) -> sp.csc_array:
    """Return d2U/dx2 at the state, sparse, symmetric, units of energy per length squared.

    Args:
        state: The state.
        particles: True for the particles whose rows and columns are kept, shape (n,); all by default. Listed pairs must
            then connect kept particles only.

    Returns:
        The matrix, shape (m d, m d) for m kept particles, with every diagonal entry stored.
    """
    n = state.configuration.n_particles
    kept = np.ones(n, bool) if particles is None else particles
    if not isinstance(state.potential, PairPotential):
        size = state.position.size
        unknowns = np.repeat(kept, state.configuration.dimension)
        dense = np.asarray(_dense_hessian(state)).reshape(size, size)[np.ix_(unknowns, unknowns)]
        return _assemble_dense(dense)
    mask = np.asarray(state.pairs.mask)
    blocks = np.asarray(_pair_stiffness(state))
    live = mask & np.any(blocks != 0.0, axis=(1, 2))
    number = np.cumsum(kept) - 1
    i, j = (number[np.asarray(index)[live]] for index in (state.pairs.i, state.pairs.j))
    return _assemble(blocks[live], i, j, int(kept.sum()))


@jax.jit
def _pair_stiffness(state: State) -> Float[Array, "m d d"]:
    potential, configuration, pairs = state.potential, state.configuration, state.pairs
    assert isinstance(potential, PairPotential)
    separation = jnp.stack(pair_components(configuration, pairs), axis=-1)
    distance = jnp.linalg.norm(separation, axis=-1)
    params = at_pairs(state.params, configuration.species, pairs.i, pairs.j)
    safe = jnp.where(pairs.mask, distance, potential.cutoff * potential.pair_length(params))

    def total(r: Array) -> Array:
        return jnp.sum(potential.pair_energy(r, params))  # pair k feels r_k alone

    first, second = jax.jvp(jax.grad(total), (safe,), (jnp.ones_like(safe),))
    normal = separation / distance[:, None]
    along = normal[:, :, None] * normal[:, None, :]
    across = jnp.eye(configuration.dimension) - along
    stiffness = second[:, None, None] * along + (first / safe)[:, None, None] * across
    return jnp.where(pairs.mask[:, None, None], stiffness, 0.0)


def dense_hessian(state: State) -> Float[Array, "m m"]:
    """Return d2U/dx2 of all particles as a dense matrix, shape (n d, n d), inside compiled code."""
    n, d = state.position.shape
    if not isinstance(state.potential, PairPotential):
        return _dense_hessian(state).reshape(n * d, n * d)
    blocks, i, j = _pair_stiffness(state), state.pairs.i, state.pairs.j
    pieces = (
        jnp.zeros((n, n, d, d)).at[i, i].add(blocks).at[j, j].add(blocks).at[i, j].add(-blocks).at[j, i].add(-blocks)
    )
    return pieces.transpose(0, 2, 1, 3).reshape(n * d, n * d)


@jax.jit
def _dense_hessian(state: State) -> Float[Array, "n d n d"]:
    return jax.hessian(energy_at, argnums=1)(state, state.position, state.parameters)


def directional_norm(state: State, step: Float[Array, "n d"]) -> float:
    r"""Bound the spectral norm of the Hessian's change under a step, :math:`\|\partial H[\delta]\|`, by its row sums.

    Args:
        state: The state.
        step: Displacement delta, shape (n, d), units of length.

    Returns:
        The bound to first order in the step, units of the Hessian.
    """
    return float(directional_row_sum(state, step))


@jax.jit
def directional_row_sum(state: State, step: Float[Array, "n d"]) -> Scalar:
    """Return the bound of ``directional_norm`` as a traced scalar."""
    if not isinstance(state.potential, PairPotential):
        return jnp.max(jnp.sum(jnp.abs(_dense_drift(state, step)), axis=(0, 1)))
    norms = jnp.sqrt(jnp.sum(_stiffness_drift(state, step) ** 2, axis=(1, 2)))
    rows = jnp.zeros(state.configuration.n_particles).at[state.pairs.i].add(norms).at[state.pairs.j].add(norms)
    return 2.0 * jnp.max(rows)


@jax.jit
def _stiffness_drift(state: State, step: Float[Array, "n d"]) -> Float[Array, "m d d"]:
    return jax.jvp(lambda x: _pair_stiffness(state.at(x, state.parameters)), (state.position,), (step,))[1]


@jax.jit
def _dense_drift(state: State, step: Float[Array, "n d"]) -> Float[Array, "n d n d"]:
    return jax.jvp(lambda x: _dense_hessian(state.at(x, state.parameters)), (state.position,), (step,))[1]


def _assemble(blocks: np.ndarray, i: np.ndarray, j: np.ndarray, n_particles: int) -> sp.csc_array:
    dimension = blocks.shape[-1]
    size = n_particles * dimension
    component = np.arange(dimension)
    rows = np.stack([i, j, i, j])[:, :, None, None] * dimension + component[:, None]
    columns = np.stack([i, j, j, i])[:, :, None, None] * dimension + component[None, :]
    values = np.stack([blocks, blocks, -blocks, -blocks])
    diagonal = np.arange(size)  # stored even where it vanishes
    rows, columns = (
        np.concatenate([np.broadcast_to(index, values.shape).ravel(), diagonal]) for index in (rows, columns)
    )
    entries = np.concatenate([values.ravel(), np.zeros(size)])
    return sp.csc_array(sp.coo_array((entries, (rows, columns)), shape=(size, size)))


def _assemble_dense(matrix: np.ndarray) -> sp.csc_array:
    rows, columns = np.nonzero((matrix != 0) | np.eye(len(matrix), dtype=bool))
    return sp.csc_array(sp.coo_array((matrix[rows, columns], (rows, columns)), shape=matrix.shape))


@dataclasses.dataclass(frozen=True)
class Factor:
    """A symmetric-mode LU factor of H + shift.

    Attributes:
        lu: SciPy's SuperLU object.
        shift: What was added to the diagonal, units of the matrix.
        norm: Largest absolute row sum of H, an upper bound of its largest eigenvalue.
        n_negative: Number of negative eigenvalues of H + shift (Sylvester's law on the pivots).
    """

    lu: spla.SuperLU
    shift: float
    norm: float
    n_negative: int

    def solve(self, rhs: np.ndarray) -> np.ndarray:
        """Return (H + shift)^-1 rhs for one or many right-hand sides (columns)."""
        return self.lu.solve(np.ascontiguousarray(rhs))


def factorise(matrix: sp.csc_array, *, relative_shift: float = SHIFT) -> Factor:
    """Factor H + shift with the pivots taken from the diagonal, shift = relative_shift x max row sum.

    Args:
        matrix: Symmetric sparse matrix, shape (m, m).
        relative_shift: Shift in units of the matrix norm, > 0 for singular matrices.

    Returns:
        The factor.

    Raises:
        NumericalError: When the matrix holds a non-finite number or stays singular.
        ValueError: When a diagonal entry is not stored.
    """
    columns = np.repeat(np.arange(matrix.shape[1]), np.diff(matrix.indptr))
    norm = float(np.bincount(columns, np.abs(matrix.data), minlength=1).max())
    if not np.isfinite(norm):
        raise NumericalError(
            "the Hessian holds infinite or NaN entries: particles overlap completely or a parameter is wrong."
        )
    shift = relative_shift * (norm or 1.0)
    diagonal = matrix.indices == columns
    if np.count_nonzero(diagonal) < matrix.shape[0]:
        raise ValueError("every diagonal entry of the matrix must be stored: add explicit zeros where there are none.")
    data = np.where(diagonal, matrix.data + shift, matrix.data)
    shifted = sp.csc_array((data, matrix.indices, matrix.indptr), shape=matrix.shape)
    try:
        lu = spla.splu(shifted, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True})
    except RuntimeError as error:
        raise NumericalError(f"the shifted Hessian is exactly singular ({error}): raise the shift.") from error
    return Factor(lu, shift, norm, _count_negative(lu, shifted))


def _count_negative(lu: spla.SuperLU, matrix: sp.csc_array) -> int:
    if np.array_equal(lu.perm_r, lu.perm_c):
        return int(np.sum(lu.U.diagonal() < 0))
    # a zero pivot made SuperLU leave the diagonal, so the pivots no longer show the inertia
    return int(np.sum(np.linalg.eigvalsh(matrix.toarray()) < 0))
