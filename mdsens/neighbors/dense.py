"""Pairs in jax-md's format of dense neighbour lists: the only place that touches it."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Bool

from mdsens.neighbors.centres import about_centres
from mdsens.neighbors.pairs import PairList, pair_distances
from mdsens.types import Configuration


def jax_md_neighbors(
    configuration: Configuration, pairs: PairList, cutoff: float, most: int, *, with_self: bool
) -> tuple[Any, Bool[Array, ""]]:
    """Return the pairs within the cutoff as a dense neighbour list of jax-md's, inside compiled code.

    Args:
        configuration: The particles; jax-md's lists know no images, so that no particle may see two of one other.
        pairs: Every pair within the cutoff; more do no harm.
        cutoff: Largest distance of a neighbour, units of length.
        most: Most neighbours of a particle, static.
        with_self: Whether every particle is its own neighbour besides.

    Returns:
        The neighbour list, and whether all neighbours found a place in it.
    """
    from jax_md import partition

    position = configuration.position
    n = len(position)
    near = jnp.asarray(pairs.mask) & (pair_distances(configuration, pairs) < cutoff)
    places, fits = about_centres(pairs, near, n, most)
    table = jnp.concatenate([pairs.j, pairs.i, jnp.array([n])]).astype(jnp.int32)[places]
    if with_self:
        table = jnp.concatenate([jnp.arange(n, dtype=jnp.int32)[:, None], table], axis=1)
    neighbors = partition.NeighborList(
        idx=table,
        reference_position=position,
        error=partition.PartitionError(jnp.zeros((), jnp.uint8)),
        cell_list_capacity=None,
        max_occupancy=table.shape[1],
        format=partition.Dense,
        cell_size=None,
        cell_list_fn=None,
        update_fn=None,
    )
    return neighbors, fits
