r"""Pair sums of all members at once.

Arrays carry the member first: positions and forces have shape (b, d, n), pair lists (b, m). Gathers and scatters go
through flat indices, because XLA's batched ones take half as long again on a CPU. A listed pair has i < j; padding has
i = j = 0.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PyTree

from mdsens.batch.stack import Stack
from mdsens.energy import PairPotential, State
from mdsens.pairs import PairList, all_pairs
from mdsens.parameters import at_pairs
from mdsens.types import Components

Fields = Float[Array, "b d n"]
Index = Int[Array, "b m"]
Values = Float[Array, "b m"]


class Lists(NamedTuple):
    """The pairs of every member and the law's parameters on them.

    Attributes:
        i: First particle, shape (b, m).
        j: Second particle, shape (b, m); equal to i in padding.
        params: The law's parameters expanded to the pairs, leaves (b, m) or (b,).
        overflow: Whether a member has more pairs than fit, shape (b,).
    """

    i: Index
    j: Index
    params: PyTree
    overflow: Bool[Array, " b"]

    @property
    def mask(self) -> Bool[Array, "b m"]:
        """True for real pairs."""
        return self.i != self.j


_BLOCK = 64  # pairs per block of a running count


def list_pairs(stack: Stack, position: Fields, skin: Float[Array, " b"], capacity: int) -> Lists:
    """List every pair closer than its own interaction range plus a skin, from all candidate pairs.

    With its own range instead of the largest one a mixture of diameters 0.6 and 1 lists a third fewer pairs.

    Args:
        stack: The systems; their own positions are not used.
        position: Where the particles are, shape (b, d, n).
        skin: Extra reach, shape (b,), units of length.
        capacity: Length of the lists, static.
    """

    def one(state: State, x: Array, extra: Array) -> Lists:
        candidates, near = _near(state, x, extra)
        counts = _running_count(near)
        # the k-th listed pair is the first candidate up to which k pairs are near
        chosen = jnp.searchsorted(counts, jnp.arange(1, capacity + 1, dtype=jnp.int32))
        listed = chosen < len(near)
        chosen = jnp.where(listed, chosen, 0)
        i, j = (jnp.where(listed, jnp.asarray(index)[chosen], 0) for index in (candidates.i, candidates.j))
        expanded = at_pairs(state.params, state.configuration.species, i, j)
        return Lists(i, j, expanded, counts[-1] > capacity)

    return jax.vmap(one)(stack, position, skin)


def count_pairs(stack: Stack, position: Fields, skin: Float[Array, " b"]) -> Int[Array, " b"]:
    """Return how many pairs every member would list."""
    return jax.vmap(lambda state, x, extra: jnp.sum(_near(state, x, extra)[1]))(stack, position, skin)


def _near(state: State, x: Float[Array, "d n"], skin: Array) -> tuple[PairList, Bool[Array, " m"]]:
    candidates = all_pairs(x.shape[1])
    separation = state.configuration.box.nearest(tuple(c[candidates.i] - c[candidates.j] for c in x))
    own = _law(state).reach(state.configuration, state.params, candidates)
    return candidates, sum(c * c for c in separation) < (own + skin) ** 2


def _running_count(flags: Bool[Array, " m"]) -> Int[Array, " k"]:
    """Count the true entries up to every one, by blocks: five times faster than ``cumsum``; the end is padded."""
    blocks = jnp.pad(flags, (0, -len(flags) % _BLOCK)).reshape(-1, _BLOCK).astype(jnp.float32)
    inside = (blocks @ jnp.triu(jnp.ones((_BLOCK, _BLOCK), jnp.float32))).astype(jnp.int32)  # exact: small integers
    before = jnp.cumsum(inside[:, -1]) - inside[:, -1]
    return (inside + before[:, None]).reshape(-1)


def _law(state: State) -> PairPotential:
    assert isinstance(state.potential, PairPotential)
    return state.potential


def separations(stack: Stack, position: Fields, lists: Lists) -> tuple[Components, Values]:
    """Return the components of x_i - x_j, each (b, m), and the distances; padding lies beyond every range."""
    b, d, n = position.shape
    flat, first = position.reshape(-1), _offsets(b, d * n)
    i, j = lists.i + first, lists.j + first
    raw = tuple(_gather(flat, i + a * n) - _gather(flat, j + a * n) for a in range(d))
    nearest = jax.vmap(lambda box, parts: box.nearest(parts))(stack.configuration.box, raw)
    law = _law(stack)
    far = 2.0 * law.cutoff * jnp.broadcast_to(_rows(law.pair_length(lists.params)), lists.i.shape)
    parts = (jnp.where(lists.mask, nearest[0], far), *nearest[1:])
    return parts, jnp.sqrt(sum(c * c for c in parts))


def _rows(values: Array) -> Array:
    """Let a value per member stand for all its pairs."""
    return values[:, None] if values.ndim == 1 else values


def _offsets(b: int, size: int) -> Int[Array, "b 1"]:
    return (jnp.arange(b, dtype=jnp.int32) * size)[:, None]


def _gather(flat: Array, index: Array) -> Array:
    return flat.at[index].get(mode="promise_in_bounds", wrap_negative_indices=False)


def pair_energies(stack: Stack, distance: Values, lists: Lists) -> Float[Array, " b"]:
    """Return the energy of every member."""
    law = _law(stack)
    return jax.vmap(lambda r, p: jnp.sum(law.pair_energy(r, p)))(distance, lists.params)


def pair_slopes(stack: Stack, distance: Values, lists: Lists) -> Values:
    """Return u'(r) of every pair."""
    law = _law(stack)
    return jax.grad(lambda r: jnp.sum(jax.vmap(law.pair_energy)(r, lists.params)))(distance)


def pair_curvatures(stack: Stack, distance: Values, lists: Lists) -> tuple[Values, Values]:
    """Return u'(r) and u''(r) of every pair."""
    slopes = lambda r: pair_slopes(stack, r, lists)  # noqa: E731
    return jax.jvp(slopes, (distance,), (jnp.ones_like(distance),))


def forces(stack: Stack, position: Fields, lists: Lists) -> Fields:
    """Return the forces on all particles, shape (b, d, n)."""
    parts, distance = separations(stack, position, lists)
    return scatter_forces(parts, pair_slopes(stack, distance, lists) / distance, lists, position.shape[-1])


def scatter_forces(parts: Components, tension: Values, lists: Lists, n: int) -> Fields:
    """Return the forces of pairs that pull with u'(r)/r along their separation."""
    pulls = [tension * c for c in parts]
    return jnp.stack([pair_sum(-pull, pull, lists, n) for pull in pulls], axis=1)


def pair_sum(at_first: Array, at_second: Array, lists: Lists, n: int) -> Float[Array, "b n"]:
    """Add values of pairs to their two particles."""
    b = lists.i.shape[0]
    first = _offsets(b, n)
    start = jnp.zeros(b * n, at_first.dtype)
    return _scatter(_scatter(start, lists.i + first, at_first), lists.j + first, at_second).reshape(b, n)


def _scatter(flat: Array, index: Array, values: Array) -> Array:
    return flat.at[index.reshape(-1)].add(
        values.reshape(-1), mode="promise_in_bounds", wrap_negative_indices=False
    )


def dense_hessians(
    parts: Components, distance: Values, along: Values, across: Values, lists: Lists, n: int
) -> Float[Array, "b m m"]:
    r"""Return the matrices made of pair blocks :math:`K = k_\parallel n n^T + k_\perp (1 - n n^T)`.

    Args:
        parts: Components of the separations, each (b, m).
        distance: Their lengths, shape (b, m).
        along: :math:`k_\parallel` (u'' of a pair), zero for pairs that do not count, shape (b, m).
        across: :math:`k_\perp` (u'/r), same.
        lists: The pairs.
        n: Number of particles.

    Returns:
        The matrices, shape (b, d n, d n); component a of particle i has the number a n + i.
    """
    b, d = lists.i.shape[0], len(parts)
    normal = [c / distance for c in parts]
    row = _offsets(b, d * n)
    flat = jnp.zeros(b * d * n * d * n)
    for a in range(d):
        for c in range(d):
            block = (along - across) * normal[a] * normal[c] + (across if a == c else 0.0)
            for one, other, value in _corners(lists, block):
                flat = _scatter(flat, (row + a * n + one) * (d * n) + c * n + other, value)
    return flat.reshape(b, d * n, d * n)


def _corners(lists: Lists, block: Array) -> list[tuple[Any, Any, Array]]:
    i, j = lists.i, lists.j
    return [(i, i, block), (j, j, block), (i, j, -block), (j, i, -block)]
