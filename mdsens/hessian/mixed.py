r"""The mixed derivative :math:`\partial^2 U/\partial x\,\partial p` of a pair law as a sparse matrix.

A pair whose law is :math:`u(r; q)`, with expanded parameters q(p), pushes its two particles with

.. math:: \pm\,\frac{\partial u'}{\partial q}\,\frac{\partial q}{\partial p_k}\, n, \qquad n = r_{ij}/|r_{ij}|

per unit of :math:`p_k`. A value that belongs to one particle thus moves that particle and those in contact with it:
there are O(n) entries for n such values. Parameters that are no ``PairParameter`` (the box, plain arrays) have full
columns. Rows are numbered d i + a for component a of particle i; columns follow the leaves of ``state.parameters``,
the box last.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp
from jaxtyping import Array, Float, Int

from mdsens.energy import PairPotential, State, harmless
from mdsens.energy.entries import Entries, is_entries
from mdsens.energy.parameters import PairParameter, Parameters, at_pairs
from mdsens.hessian.derivatives import mixed
from mdsens.hessian.matrix import pair_stiffness
from mdsens.linear import PairBlocks, assemble, merged
from mdsens.neighbors import pair_components
from mdsens.types import Position

Terms = tuple[Float[Array, "m d d"], tuple[Float[Array, "m d"], ...], Float[Array, "f n d"]]


@dataclasses.dataclass(frozen=True)
class SparseDerivatives:
    """Second derivatives of a pair law, or their change along a step.

    Attributes:
        by_position: d2U/dx2, shape (n d, n d).
        by_parameter: d2U/dx dp, shape (n d, P) for P numbers among the parameters.
    """

    by_position: sp.csc_array
    by_parameter: sp.csc_array


def mixed_matrix(state: State) -> sp.csc_array:
    """Return d2U/dx dp of a pair law for all its parameters, shape (n d, P), units of force per unit of p."""
    return _by_parameter(state, _jitted_terms(state))


def sparse_drifts(state: State, step: Position) -> SparseDerivatives:
    """Return the change of both matrices of second derivatives of a pair law under a step, to first order.

    Args:
        state: The state.
        step: Displacement of the particles, shape (n, d).
    """
    terms = _terms_drift(state, step)
    mask = np.asarray(state.pairs.mask)
    i, j = (np.asarray(index)[mask] for index in (state.pairs.i, state.pairs.j))
    moving = i != j  # an image of its own moves with a particle
    blocks = PairBlocks(np.asarray(terms[0])[mask][moving], i[moving], j[moving], state.configuration.n_particles)
    return SparseDerivatives(assemble(merged(blocks)), _by_parameter(state, terms))


def _terms(state: State) -> Terms:
    """Return per pair the stiffness and, per parameter, the push in a unit of its expanded value; full columns."""
    potential, configuration, pairs = state.potential, state.configuration, state.pairs
    assert isinstance(potential, PairPotential)
    separation = jnp.stack(pair_components(configuration, pairs), axis=-1)
    distance = jnp.linalg.norm(separation, axis=-1)
    expanded = at_pairs(potential, configuration.species, pairs.i, pairs.j)
    safe = harmless(expanded, distance, pairs)
    normal = jnp.where(pairs.mask[:, None], separation / distance[:, None], 0.0)
    leaves, structure = jax.tree.flatten(expanded)

    def slope(*values: Array) -> Array:
        law = jax.tree.unflatten(structure, values)
        return jax.grad(lambda r: jnp.sum(law.pair_energy(r)))(safe)

    pushes = []
    for k, (leaf, is_pair) in enumerate(zip(leaves, _are_pair_parameters(state), strict=True)):
        if is_pair:
            along = lambda value, k=k: slope(*leaves[:k], value, *leaves[k + 1 :])  # noqa: E731
            full = jnp.broadcast_to(leaf, safe.shape)
            pushes.append(jax.jvp(along, (full,), (jnp.ones_like(safe),))[1][:, None] * normal)
    return pair_stiffness(state), tuple(pushes), mixed(state, _full_directions(state))


_jitted_terms = jax.jit(_terms)


@jax.jit
def _terms_drift(state: State, step: Position) -> Terms:
    return jax.jvp(lambda x: _terms(state.at(x, state.parameters)), (state.position,), (step,))[1]


def _nodes(state: State) -> list[Entries | Array]:
    return jax.tree.leaves(state.potential, is_leaf=is_entries)


def _are_pair_parameters(state: State) -> list[bool]:
    return [isinstance(node, PairParameter) for node in _nodes(state)]


def _full_directions(state: State) -> Parameters:
    """Return a unit direction for every number that is not in a ``PairParameter``, leading axis of every leaf."""
    leaves, structure = jax.tree.flatten(state.parameters)
    pair = _are_pair_parameters(state) + [False] * len(jax.tree.leaves(state.configuration.box))
    sizes = [0 if skipped else leaf.size for leaf, skipped in zip(leaves, pair, strict=True)]
    directions, total = [], sum(sizes)
    for leaf, size, before in zip(leaves, sizes, np.cumsum([0, *sizes]), strict=False):
        rows = np.zeros((total, leaf.size))
        rows[before : before + size] = np.eye(leaf.size)[:size]
        directions.append(rows.reshape(total, *leaf.shape))
    return jax.tree.unflatten(structure, directions)


@jax.jit
def _stencils(state: State) -> tuple[tuple[Int[Array, "q m"], Float[Array, "q m"]], ...]:
    species, pairs = state.configuration.species, state.pairs
    return tuple(node.stencil(species, pairs.i, pairs.j) for node in _nodes(state) if isinstance(node, PairParameter))


def _by_parameter(state: State, terms: Terms) -> sp.csc_array:
    _, pushes, full = terms
    (n, d), mask = state.position.shape, np.asarray(state.pairs.mask)
    i, j = (np.asarray(index)[mask] for index in (state.pairs.i, state.pairs.j))
    held = iter(zip(pushes, _stencils(state), strict=True))
    rest, taken = np.asarray(full).reshape(len(full), n * d).T, 0
    columns: list[sp.coo_array | sp.csc_array] = []
    for node in _nodes(state):
        size = jax.tree.leaves(node)[0].size
        if not isinstance(node, PairParameter):
            columns.append(sp.csc_array(rest[:, taken : taken + size]))
            taken += size
            continue
        push, (entry, weight) = next(held)
        value = np.asarray(weight)[:, mask, None] * np.asarray(push)[mask]
        column = np.broadcast_to(np.asarray(entry)[:, mask, None], value.shape)
        rows = [np.broadcast_to(d * index[:, None] + np.arange(d), value.shape) for index in (i, j)]
        places = (np.concatenate([row.ravel() for row in rows]), np.tile(column.ravel(), 2))
        entries = np.concatenate([value.ravel(), -value.ravel()])
        columns.append(sp.coo_array((entries, places), shape=(n * d, size)))
    columns.append(sp.csc_array(rest[:, taken:]))
    return sp.csc_array(sp.hstack(columns, format="csc"))
