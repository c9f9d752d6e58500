"""The Hessian of a pair law, from its pairs to a sparse matrix."""

from __future__ import annotations

import dataclasses

import numpy as np
import scipy.sparse as sp


@dataclasses.dataclass(frozen=True)
class PairBlocks:
    """The Hessian of a pair law, pair by pair.

    Attributes:
        blocks: K of every pair that has stiffness, shape (m, d, d), units of energy per length squared.
        i: Number of its first particle, counted among the kept ones, shape (m,).
        j: Number of its second particle, shape (m,).
        n_particles: Number of kept particles.
    """

    blocks: np.ndarray
    i: np.ndarray
    j: np.ndarray
    n_particles: int


def merged(pairs: PairBlocks) -> PairBlocks:
    """Return the blocks with one per pair of particles: those of several images add up."""
    low, high = np.minimum(pairs.i, pairs.j), np.maximum(pairs.i, pairs.j)
    key = low.astype(np.int64) * pairs.n_particles + high
    if (key[1:] > key[:-1]).all():
        return pairs
    unique, place = np.unique(key, return_inverse=True)
    if len(unique) == len(key):
        return pairs
    blocks = np.zeros((len(unique), *pairs.blocks.shape[1:]))
    np.add.at(blocks, place, pairs.blocks)
    return PairBlocks(blocks, unique // pairs.n_particles, unique % pairs.n_particles, pairs.n_particles)


def upper_triangle(pairs: PairBlocks) -> sp.csr_array:
    """Return the upper triangle of a Hessian given by its pairs, every diagonal entry stored, indices sorted."""
    n, d = pairs.n_particles, pairs.blocks.shape[-1]
    low, high = np.minimum(pairs.i, pairs.j), np.maximum(pairs.i, pairs.j)
    key = low.astype(np.int64) * n + high
    order = np.arange(len(key)) if (key[1:] > key[:-1]).all() else np.argsort(key, kind="stable")
    ends = np.cumsum(np.bincount(low, minlength=n) + 1)
    starts = np.concatenate([[0], ends[:-1]])
    blocks = np.empty((len(key) + n, d, d))
    columns = np.empty(len(key) + n, np.int32)
    diagonal = np.zeros(len(columns), bool)
    diagonal[starts] = True
    blocks[~diagonal], columns[~diagonal] = -pairs.blocks[order], high[order]
    columns[starts] = np.arange(n)
    for a, b in np.ndindex(d, d):
        values = pairs.blocks[:, a, b]
        blocks[starts, a, b] = np.bincount(low, values, minlength=n) + np.bincount(high, values, minlength=n)
    rows = sp.csr_array(sp.bsr_array((blocks, columns, np.append(starts, ends[-1:])), shape=(n * d, n * d)))
    below = rows.indices < np.repeat(np.arange(n * d), np.diff(rows.indptr))  # inside the diagonal blocks
    dropped = np.concatenate([[0], np.cumsum(np.arange(n * d) % d)])
    return sp.csr_array((rows.data[~below], rows.indices[~below], rows.indptr - dropped), shape=rows.shape)


def assemble(pairs: PairBlocks) -> sp.csc_array:
    """Return the sparse matrix of a Hessian given by its pairs, every diagonal entry stored."""
    return whole(upper_triangle(pairs))


def whole(upper: sp.csr_array) -> sp.csc_array:
    """Return a symmetric matrix from its upper triangle."""
    return sp.csc_array(upper + sp.triu(upper, k=1).T)
