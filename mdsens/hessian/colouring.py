r"""A sparse symmetric matrix from few of its products, by colouring the graph of its blocks.

Columns of one colour are added up and multiplied at once; every block is then read off where nothing else of that
colour reaches. A *star colouring* makes that possible for a symmetric matrix: neighbours differ in colour, and no path
of four vertices has only two colours, so that the vertices of any two colours form stars. A star's leaf has one
neighbour of its hub's colour: its row of the product with that colour is the block (leaf, hub), and by symmetry
(hub, leaf). The number of colours follows the number of neighbours, not that of particles.

References:
    A. H. Gebremedhin, F. Manne, A. Pothen, SIAM Rev. 47, 629 (2005), doi:10.1137/S0036144504444711, sections 4 and 6.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import scipy.sparse as sp
from scipy.sparse.csgraph import reverse_cuthill_mckee


@dataclasses.dataclass(frozen=True)
class Colouring:
    """Which columns are multiplied together, and where every block is read.

    Attributes:
        colour: Colour of every vertex, shape (n,), 0 <= colour < n_colours.
        n_colours: Number of colours: products needed, times d for blocks of shape (d, d).
        hub: Column of every block of one triangle and the diagonal, shape (e,), sorted by its colour.
        leaf: Row in which that block is read from the product with the hub's colour, shape (e,).
    """

    colour: np.ndarray
    n_colours: int
    hub: np.ndarray
    leaf: np.ndarray


def star_colouring(pattern: sp.csr_array) -> Colouring:
    """Colour the graph of a symmetric pattern greedily, its vertices in reverse Cuthill-McKee order.

    Args:
        pattern: Pattern of the blocks, shape (n, n), symmetric; values and the diagonal do not matter.
    """
    graph = _without_diagonal(pattern)
    colour, count = _greedy_stars(graph)
    edges = sp.triu(graph, k=1, format="coo")
    i, j = edges.coords
    i_is_leaf = count[i, colour[j]] == 1
    diagonal = np.arange(len(colour))
    leaf = np.concatenate([np.where(i_is_leaf, i, j), diagonal])
    hub = np.concatenate([np.where(i_is_leaf, j, i), diagonal])
    by_colour = np.argsort(colour[hub], kind="stable")
    return Colouring(colour, int(colour.max(initial=-1)) + 1, hub[by_colour], leaf[by_colour])


def full_colouring(n: int) -> Colouring:
    """Return the colouring of a full matrix: every column by itself."""
    colour = np.arange(n)
    hub, leaf = np.tril_indices(n)[::-1]
    by_colour = np.argsort(hub, kind="stable")
    return Colouring(colour, n, hub[by_colour], leaf[by_colour])


def _without_diagonal(pattern: sp.csr_array) -> sp.csr_array:
    entries = sp.coo_array(pattern)
    i, j = entries.coords
    off = i != j
    return sp.csr_array((np.ones(int(off.sum()), bool), (i[off], j[off])), shape=entries.shape)


def _greedy_stars(graph: sp.csr_array) -> tuple[np.ndarray, np.ndarray]:
    """Return every vertex's colour, shape (n,), and how many neighbours of each colour it has, shape (n, c)."""
    n, starts, neighbours = graph.shape[0], graph.indptr, graph.indices
    degree = np.diff(starts)
    colour = np.full(n, -1)
    count = np.zeros((n, int(degree.max(initial=0)) + 1), np.int32)
    for v in reverse_cuthill_mckee(graph, symmetric_mode=True):
        around = neighbours[starts[v] : starts[v + 1]]
        w = around[colour[around] >= 0]
        # every second neighbour x, reached by way of a coloured neighbour w
        via = np.repeat(np.arange(len(w)), degree[w])
        first = np.cumsum(degree[w]) - degree[w]
        x = neighbours[starts[w][via] + np.arange(len(via)) - first[via]]
        through = colour[w][via]
        # v - w - x - y with y coloured as w, or y - v - w - x with y coloured as w: v must differ from x
        path = (colour[x] >= 0) & ((count[x, through] > 1) | (count[v, through] > 1))
        forbidden = np.zeros(count.shape[1] + 1, bool)
        forbidden[colour[w]] = True
        forbidden[colour[x[path]]] = True
        colour[v] = chosen = int(np.argmin(forbidden))
        if chosen >= count.shape[1]:
            count = np.hstack([count, np.zeros_like(count)])
        count[around, chosen] += 1
    return colour, count


def coloured_blocks(colouring: Colouring, product: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Return every block H[leaf, hub] from one call of ``product`` per colour.

    Args:
        colouring: Which blocks there are.
        product: Function (members, shape (n,), bool) -> H times the columns of the members added up, shape (d, n, d):
            [a, l, b] is component b of row l for columns of component a.

    Returns:
        The blocks, shape (e, d, d): [k, b, a] in row d leaf_k + b and column d hub_k + a.
    """
    bounds = np.searchsorted(colouring.colour[colouring.hub], np.arange(colouring.n_colours + 1))
    blocks = []
    for c in range(colouring.n_colours):
        image = product(colouring.colour == c)
        blocks.append(image[:, colouring.leaf[bounds[c] : bounds[c + 1]], :].transpose(1, 2, 0))
    return np.concatenate(blocks)


def assemble_blocks(colouring: Colouring, blocks: np.ndarray) -> sp.csc_array:
    """Return the symmetric matrix of the blocks, shape (n d, n d); zeros are dropped except on the diagonal."""
    n, d = len(colouring.colour), blocks.shape[-1]
    on_diagonal = colouring.leaf == colouring.hub
    blocks = np.where(on_diagonal[:, None, None], 0.5 * (blocks + blocks.transpose(0, 2, 1)), blocks)
    component = np.arange(d)
    rows = np.broadcast_to(d * colouring.leaf[:, None, None] + component[:, None], blocks.shape)
    columns = np.broadcast_to(d * colouring.hub[:, None, None] + component, blocks.shape)
    below = (blocks != 0) & ~on_diagonal[:, None, None]
    kept = (blocks != 0) & on_diagonal[:, None, None]
    every = np.arange(n * d)
    entries = np.concatenate([blocks[below], blocks[below], blocks[kept], np.zeros(n * d)])
    i = np.concatenate([rows[below], columns[below], rows[kept], every])
    j = np.concatenate([columns[below], rows[below], columns[kept], every])
    return sp.csc_array(sp.coo_array((entries, (i, j)), shape=(n * d, n * d)))
