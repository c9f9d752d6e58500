r"""The Hessian of the energy: as blocks of pairs, and as a sparse matrix.

For a pair law, with :math:`n = r_{ij}/|r_{ij}|`, every pair adds the block

.. math:: K = u''\, n n^T + \frac{u'}{r}\,(1 - n n^T)

to the two diagonal (d, d) blocks of its particles and -K to the two off-diagonal ones. Other energies are
differentiated densely where small, by colouring where larger (``mdsens.hessian.any_energy``), and not at all where that
would take too much memory: then only products with the Hessian are known. Degrees of freedom are numbered d i + a for
component a of particle i.
"""

from __future__ import annotations

import contextlib
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp
from jaxtyping import Array, Bool, Float

from mdsens.energy import PairPotential, State, energy_at, harmless
from mdsens.energy.native_law import native_terms
from mdsens.energy.parameters import at_pairs
from mdsens.energy.products import hessian_products
from mdsens.energy.strain import Components, deformed, n_strains
from mdsens.errors import UserError
from mdsens.hessian.any_energy import MOST_ENTRIES, coloured_hessian, is_assembled, unknowns_of
from mdsens.hessian.krylov import block_krylov
from mdsens.hessian.matrix_free import matrix_free
from mdsens.linear import (
    Factor,
    PairBlocks,
    banded_cholesky,
    dense_matrix,
    merged,
    pardiso,
    sparse_factor,
    spectrum,
    upper_triangle,
    whole,
)
from mdsens.linear.base import TooLargeError
from mdsens.neighbors import pair_components
from mdsens.types import Scalar

LinearSolver = Literal["auto", "direct", "krylov"]
SMALL = 600  # unknowns: up to here a band is factored faster than a sparse matrix
_TINY = 64  # unknowns: up to here the spectrum is
_MOST_NUMBERS = 4e8  # of Pardiso's factor, 3 GB; while it fits, ten solves cost less by it than without
_MOST_SUPERLU = 10_000  # unknowns of a three-dimensional system factored by SuperLU; at 30 000 it takes 15 s
_PROBES = 16


def pair_blocks(state: State, particles: np.ndarray | None = None) -> PairBlocks:
    """Return the Hessian of a pair law by its pairs.

    Args:
        state: The state; its potential is a pair law.
        particles: As for ``hessian``.
    """
    kept = np.ones(state.configuration.n_particles, bool) if particles is None else particles
    number = np.cumsum(kept) - 1
    blocks, i, j = _native_blocks(state) or _compiled_blocks(state)
    return merged(PairBlocks(blocks, number[i], number[j], int(kept.sum())))


_Blocks = tuple[np.ndarray, np.ndarray, np.ndarray]


def _native_blocks(state: State) -> _Blocks | None:
    """Return the blocks of pairs with stiffness and their particles, from machine code; None where there is none."""
    terms = native_terms(state)
    if terms is None:
        return None
    own = terms.i != terms.j  # an image of its own moves with a particle
    live = own & ((terms.slope != 0) | (terms.curvature != 0) | ~np.isfinite(terms.slope + terms.curvature))
    i, j, vector, distance, _, slope, curvature = (part[live] for part in terms)
    normal, across = vector / distance[:, None], slope / distance
    blocks = (curvature - across)[:, None, None] * normal[:, :, None] * normal[:, None, :]
    axes = np.arange(vector.shape[1])
    blocks[:, axes, axes] += across[:, None]
    return blocks, i, j


def _compiled_blocks(state: State) -> _Blocks:
    blocks, live = (np.asarray(part) for part in _live_stiffness(state))
    i, j = (np.asarray(index)[live] for index in (state.pairs.i, state.pairs.j))
    return blocks[live], i, j


def hessian(state: State, particles: np.ndarray | None = None) -> sp.csc_array:
    """Return d2U/dx2 at the state, sparse, symmetric, units of energy per length squared.

    Args:
        state: The state.
        particles: True for the particles whose rows and columns are kept, shape (n,); all by default. Listed pairs must
            then connect kept particles only.

    Returns:
        The matrix, shape (m d, m d) for m kept particles, less what is held, with every diagonal entry stored.

    Raises:
        UserError: When an energy that is no pair law has too many entries, or couples particles farther apart than it
            declares.
    """
    if isinstance(state.potential, PairPotential):
        return whole(_upper_of_pairs(state, pair_blocks(state, particles), particles))
    if not is_assembled(state):
        raise UserError(
            f"the Hessian of {state.position.size} unknowns would hold more than {MOST_ENTRIES} entries: declare the "
            "energy's Locality (cutoff, hops) if it has one, or take factorise(state), which only multiplies."
        )
    unknowns, size = unknowns_of(state, particles), state.position.size
    if size <= SMALL:
        return _assemble_dense(np.asarray(_dense_hessian(state)).reshape(size, size)[np.ix_(unknowns, unknowns)])
    matrix = coloured_hessian(state)
    return matrix if len(unknowns) == size else sp.csc_array(matrix[unknowns][:, unknowns])


def factorise(
    state: State,
    particles: np.ndarray | None = None,
    like: Factor | None = None,
    *,
    definite: bool = True,
    solver: LinearSolver = "auto",
) -> Factor:
    """Prepare solves with the Hessian of a state: a direct factor as far as memory goes, else a Krylov method.

    A few dozen unknowns are diagonalised, a few hundred factored as a band if there is no negative eigenvalue, more of
    them sparsely. Conjugate gradients on the blocks take over where the factor would hold more than 4e8 numbers (3 GB;
    discs reach that beyond a million, spheres near a hundred thousand) and, without MKL, for more than 10 000 unknowns
    in three dimensions. Energies that are no pair laws and whose
    matrix would have too many entries are solved with matrix-free.

    Args:
        state: The state.
        particles: True for the particles whose rows and columns are kept, as for ``hessian``.
        like: An earlier factor of as many unknowns: its fill-reducing order is used again.
        definite: Whether no negative eigenvalue is expected.
        solver: "direct" or "krylov" to override the choice.

    Raises:
        NumericalError: When the Hessian holds a non-finite number or stays singular, or when conjugate gradients fail.
    """
    dimension = state.configuration.dimension
    if not isinstance(state.potential, PairPotential):
        if not is_assembled(state):
            return matrix_free(state, particles)
        edge = dimension if _is_by_particles(state) else 1
        return _sparse(_upper(hessian(state, particles)), edge, like, definite, solver)
    pairs = pair_blocks(state, particles)
    if state.configuration.held is not None:
        upper = _upper_of_pairs(state, pairs, particles)
        if solver != "krylov" and upper.shape[0] <= _TINY:
            return spectrum(whole(upper).toarray())
        return _sparse(upper, dimension if _is_by_particles(state) else 1, like, definite, solver)
    size = pairs.n_particles * dimension
    if solver != "krylov" and size <= _TINY:
        return spectrum(dense_matrix(pairs))
    banded = banded_cholesky(pairs) if solver != "krylov" and size <= SMALL and definite else None
    return banded or _sparse(upper_triangle(pairs), dimension, like, definite, solver)


def _upper_of_pairs(state: State, pairs: PairBlocks, particles: np.ndarray | None) -> sp.csr_array:
    """Return the upper triangle of the Hessian of some particles, without what is held."""
    upper, held = upper_triangle(pairs), state.configuration.held
    if held is None:
        return upper
    free = np.flatnonzero(~(np.asarray(held) if particles is None else np.asarray(held)[particles]))
    upper = sp.csr_array(upper[free][:, free])
    upper.sort_indices()
    return upper


def _is_by_particles(state: State) -> bool:
    """Return whether particles are free or held as a whole, so that the Hessian consists of their blocks."""
    held = state.configuration.held
    return held is None or bool(np.all(np.asarray(held).any(axis=1) == state.configuration.immobile))


def _sparse(upper: sp.csr_array, dimension: int, like: Factor | None, definite: bool, solver: LinearSolver) -> Factor:
    if solver == "direct":
        return sparse_factor(upper, like, definite=definite)
    slow = dimension > 2 and upper.shape[0] > _MOST_SUPERLU and not pardiso.available()
    if solver == "auto" and not slow:
        with contextlib.suppress(TooLargeError):
            return sparse_factor(upper, like, definite=definite, most_numbers=_MOST_NUMBERS)
    return block_krylov(upper, dimension)


def _upper(matrix: sp.csc_array) -> sp.csr_array:
    upper = sp.csr_array(sp.triu(matrix))
    upper.sort_indices()
    return upper


@jax.jit
def pair_stiffness(state: State) -> Float[Array, "m d d"]:
    """Return the block K of every listed pair, shape (m, d, d), inside compiled code; padding gets zero."""
    potential, configuration, pairs = state.potential, state.configuration, state.pairs
    assert isinstance(potential, PairPotential)
    separation = jnp.stack(pair_components(configuration, pairs), axis=-1)
    distance = jnp.linalg.norm(separation, axis=-1)
    law = at_pairs(potential, configuration.species, pairs.i, pairs.j)
    safe = harmless(law, distance, pairs)

    def total(r: Array) -> Array:
        return jnp.sum(law.pair_energy(r))  # pair k feels r_k alone

    first, second = jax.jvp(jax.grad(total), (safe,), (jnp.ones_like(safe),))
    normal = separation / distance[:, None]
    along = normal[:, :, None] * normal[:, None, :]
    across = jnp.eye(configuration.dimension) - along
    stiffness = second[:, None, None] * along + (first / safe)[:, None, None] * across
    return jnp.where(pairs.mask[:, None, None], stiffness, 0.0)


@jax.jit
def _live_stiffness(state: State) -> tuple[Float[Array, "m d d"], Bool[Array, " m"]]:
    """Return the blocks of the listed pairs, and which of them are real pairs with stiffness."""
    blocks = pair_stiffness(state)
    live = jnp.any(blocks != 0.0, axis=(1, 2)) & state.pairs.mask
    return blocks, live & (jnp.asarray(state.pairs.i) != state.pairs.j)  # an image of its own moves with a particle


@jax.jit
def _dense_hessian(state: State) -> Float[Array, "n d n d"]:
    return jax.hessian(energy_at, argnums=1)(state, state.position, state.parameters)


def directional_norm(state: State, step: Float[Array, "n d"]) -> float:
    r"""Bound the spectral norm of the Hessian's change under a step, :math:`\|\partial H[\delta]\|`, by its row sums.

    Args:
        state: The state.
        step: Displacement delta, shape (n, d), units of length.

    Returns:
        The bound to first order in the step, units of the Hessian. For energies that are no pair laws it is twice the
        Frobenius norm, estimated from 16 random products: below the norm with a probability of 0.1 % at most.
    """
    return float(directional_row_sum(state, step))


@jax.jit
def directional_row_sum(state: State, step: Float[Array, "n d"], strain_step: Components | None = None) -> Scalar:
    """Return the bound of ``directional_norm`` as a traced scalar; the box may be strained, too."""
    along_strains = jnp.zeros(n_strains(state)) if strain_step is None else strain_step
    here, directions = (state.position, jnp.zeros(n_strains(state))), (step, along_strains)
    at = lambda x, e: deformed(state, x, e, state.parameters)  # noqa: E731
    if not isinstance(state.potential, PairPotential):
        probes = jax.random.rademacher(jax.random.key(0), (_PROBES, *state.position.shape), float)
        images = jax.jvp(lambda *q: hessian_products(at(*q), probes), here, directions)[1]
        return 2.0 * jnp.sqrt(jnp.sum(images**2) / _PROBES)
    change = jax.jvp(lambda *q: pair_stiffness(at(*q)), here, directions)[1]
    norms = jnp.sqrt(jnp.sum(change**2, axis=(1, 2)))
    norms = jnp.where(jnp.asarray(state.pairs.i) != state.pairs.j, norms, 0.0)
    rows = jnp.zeros(state.configuration.n_particles).at[state.pairs.i].add(norms).at[state.pairs.j].add(norms)
    return 2.0 * jnp.max(rows)


def _assemble_dense(matrix: np.ndarray) -> sp.csc_array:
    rows, columns = np.nonzero((matrix != 0) | np.eye(len(matrix), dtype=bool))
    return sp.csc_array(sp.coo_array((matrix[rows, columns], (rows, columns)), shape=matrix.shape))
