"""Pairs gathered about every particle, a fixed number of places each: what angles about a centre are made of."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from mdsens.neighbors.pairs import PairList


def about_centres(
    pairs: PairList, within: Bool[Array, " m"], n: int, most: int
) -> tuple[Int[Array, "n most"], Bool[Array, ""]]:
    """Return which pairs every particle is in, inside compiled code.

    Args:
        pairs: The pairs; of a particle with its own image both ends count.
        within: Which of them count, shape (m,).
        n: Number of particles.
        most: Places of every particle, static.

    Returns:
        Numbers of pairs, shape (n, most): k < m where the particle is the first of pair k, m + k where it is the second
        one, 2 m where a place is empty; and whether all found a place.
    """
    m = len(pairs.i)
    centre = jnp.where(jnp.tile(jax.lax.stop_gradient(within), 2), jnp.concatenate([pairs.i, pairs.j]), n)
    order = jnp.argsort(centre, stable=True)
    centre = centre[order]
    place = jnp.arange(2 * m) - jnp.searchsorted(centre, centre)  # the how-manieth of its particle
    table = jnp.full((n, most), 2 * m, jnp.int32).at[centre, place].set(order.astype(jnp.int32), mode="drop")
    return table, ~jnp.any((centre < n) & (place >= most))
