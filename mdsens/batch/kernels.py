r"""Pair sums of all members at once.

Arrays carry the member first: positions and forces have shape (b, d, n), pairs (b, k, n): every particle has a column
of up to k partners, so that every pair occurs twice and sums need no scatter (on a CPU scattering takes longer than
computing twice). Padding has the particle itself as partner. Gathers go through flat indices, because XLA's batched
ones take half as long again.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PyTree

from mdsens.batch.stack import Stack
from mdsens.energy import PairPotential, State
from mdsens.pairs import PairList
from mdsens.parameters import at_pairs
from mdsens.types import Components

Fields = Float[Array, "b d n"]
Values = Float[Array, "b k n"]
_BLOCK = 32  # candidates per block of a running count


class Lists(NamedTuple):
    """The partners of every particle and the law's parameters on these pairs.

    Attributes:
        j: Partner, shape (b, k, n); the particle itself in padding.
        params: The law's parameters expanded to the pairs, leaves (b, k, n) or (b,).
        overflow: Whether a particle of a member has more partners than fit, shape (b,).
    """

    j: Int[Array, "b k n"]
    params: PyTree
    overflow: Bool[Array, " b"]

    @property
    def mask(self) -> Bool[Array, "b k n"]:
        """True for real pairs."""
        return self.j != jnp.arange(self.j.shape[-1], dtype=self.j.dtype)


def list_pairs(stack: Stack, position: Fields, skin: Float[Array, " b"], capacity: int) -> Lists:
    """List for every particle the others closer than the pair's own interaction range plus a skin.

    With its own range instead of the largest one a mixture of diameters 0.6 and 1 lists a third fewer pairs.

    Args:
        stack: The systems; their own positions are not used.
        position: Where the particles are, shape (b, d, n).
        skin: Extra reach, shape (b,), units of length.
        capacity: Most partners of a particle, static.
    """

    def one(state: State, x: Array, extra: Array) -> Lists:
        n = x.shape[1]
        counts = jax.vmap(_running_count)(_near(state, x, extra))
        # the k-th partner is the first candidate up to which k particles are near
        wanted = jnp.arange(1, capacity + 1, dtype=jnp.int32)
        chosen = jax.vmap(lambda row: jnp.searchsorted(row, wanted))(counts).astype(jnp.int32).T
        own = jnp.arange(n, dtype=jnp.int32)
        j = jnp.where(chosen < n, chosen, own)
        return Lists(j, expanded(state, state.params, j), jnp.max(counts[:, -1]) > capacity)

    return jax.vmap(one)(stack, position, skin)


def expanded(state: State, params: PyTree, j: Int[Array, "k n"]) -> PyTree:
    """Return the parameters on the pairs of one member, leaves (k, n) or ()."""
    own = jnp.broadcast_to(jnp.arange(j.shape[1], dtype=j.dtype), j.shape)
    flat = at_pairs(params, state.configuration.species, own.ravel(), j.ravel())
    return jax.tree.map(lambda leaf: leaf.reshape(j.shape) if leaf.ndim else leaf, flat)


def count_pairs(stack: Stack, position: Fields, skin: Float[Array, " b"]) -> Int[Array, " b"]:
    """Return the largest number of partners that a particle of each member has."""
    most = lambda state, x, extra: jnp.max(jnp.sum(_near(state, x, extra), axis=1))  # noqa: E731
    return jax.vmap(most)(stack, position, skin)


def _near(state: State, x: Float[Array, "d n"], skin: Array) -> Bool[Array, "n n"]:
    n = x.shape[1]
    separation = state.configuration.box.nearest(tuple(c[:, None] - c[None, :] for c in x))
    i, j = (index.ravel() for index in jnp.indices((n, n), dtype=jnp.int32))
    everything = PairList(i, j, jnp.ones(i.shape, bool))
    own = law(state).reach(state.configuration, state.params, everything).reshape(n, n)
    return (sum(c * c for c in separation) < (own + skin) ** 2) & ~jnp.eye(n, dtype=bool)


def _running_count(flags: Bool[Array, " m"]) -> Int[Array, " k"]:
    """Count the true entries up to every one, by blocks: five times faster than ``cumsum``; the end is padded."""
    blocks = jnp.pad(flags, (0, -len(flags) % _BLOCK)).reshape(-1, _BLOCK).astype(jnp.float32)
    inside = (blocks @ jnp.triu(jnp.ones((_BLOCK, _BLOCK), jnp.float32))).astype(jnp.int32)  # exact: small integers
    before = jnp.cumsum(inside[:, -1]) - inside[:, -1]
    return (inside + before[:, None]).reshape(-1)


def law(stack: State) -> PairPotential:
    """Return the pair law of a stack or of one member."""
    assert isinstance(stack.potential, PairPotential)
    return stack.potential


def separations(stack: Stack, position: Fields, lists: Lists) -> tuple[Components, Values]:
    """Return the components of x_i - x_j, each (b, k, n), and the distances; padding lies beyond every range."""
    flat = tuple(x.reshape(-1) for x in jnp.moveaxis(position, 1, 0))
    index = flat_index(lists)
    raw = tuple(x.reshape(index.shape[0], 1, -1) - gather(x, index) for x in flat)
    nearest = jax.vmap(lambda box, parts: box.nearest(parts))(stack.configuration.box, raw)
    far = 2.0 * interaction_range(stack, lists)
    parts = (jnp.where(lists.mask, nearest[0], far), *nearest[1:])
    return parts, jnp.sqrt(sum(c * c for c in parts))


def flat_index(lists: Lists) -> Int[Array, "b k n"]:
    """Return where the partners stand among all particles of all members."""
    b, _, n = lists.j.shape
    return lists.j + (jnp.arange(b, dtype=jnp.int32) * n)[:, None, None]


def gather(flat: Array, index: Int[Array, "b k n"]) -> Array:
    """Return the entries of an array of all particles of all members."""
    return flat.at[index].get(mode="promise_in_bounds", wrap_negative_indices=False)


def interaction_range(stack: Stack, lists: Lists) -> Values:
    """Return the range of every pair."""
    reach = law(stack).cutoff * law(stack).pair_length(lists.params)
    return jnp.broadcast_to(reach[:, None, None] if reach.ndim == 1 else reach, lists.j.shape)


def pair_energies(stack: Stack, distance: Values, lists: Lists) -> Values:
    """Return u(r) of every pair."""
    return jax.vmap(law(stack).pair_energy)(distance, lists.params)


def pair_slopes(stack: Stack, distance: Values, lists: Lists) -> Values:
    """Return u'(r) of every pair."""
    return jax.grad(lambda r: jnp.sum(pair_energies(stack, r, lists)))(distance)


def pair_curvatures(stack: Stack, distance: Values, lists: Lists) -> tuple[Values, Values]:
    """Return u'(r) and u''(r) of every pair."""
    slopes = lambda r: pair_slopes(stack, r, lists)  # noqa: E731
    return jax.jvp(slopes, (distance,), (jnp.ones_like(distance),))


def forces(stack: Stack, position: Fields, lists: Lists) -> Fields:
    """Return the forces on all particles, shape (b, d, n)."""
    parts, distance = separations(stack, position, lists)
    return pull(parts, pair_slopes(stack, distance, lists) / distance)


def pull(parts: Components, tension: Values) -> Fields:
    """Return the forces of pairs that pull with u'(r)/r along their separation."""
    return jnp.stack([-jnp.sum(tension * c, axis=1) for c in parts], axis=1)


def dense_hessians(
    parts: Components, distance: Values, along: Values, across: Values, lists: Lists
) -> Float[Array, "b m m"]:
    r"""Return the matrices made of pair blocks :math:`K = k_\parallel n n^T + k_\perp (1 - n n^T)`.

    Args:
        parts: Components of the separations, each (b, k, n).
        distance: Their lengths, shape (b, k, n).
        along: :math:`k_\parallel` (u'' of a pair), zero for pairs that do not count, shape (b, k, n).
        across: :math:`k_\perp` (u'/r), same.
        lists: The pairs.

    Returns:
        The matrices, shape (b, d n, d n); component a of particle i has the number a n + i.
    """
    b, _, n = lists.j.shape
    size = len(parts) * n
    normal = [c / distance for c in parts]
    own = jnp.arange(n)
    row = (jnp.arange(b) * size)[:, None, None]
    flat, diagonal = jnp.zeros(b * size * size), []
    for a in range(len(parts)):
        for c in range(len(parts)):
            block = (along - across) * normal[a] * normal[c] + (across if a == c else 0.0)
            flat = _added(flat, (row + a * n + own) * size + c * n + lists.j, -block)
            diagonal.append(((row[:, 0] + a * n + own) * size + c * n + own, jnp.sum(block, axis=1)))
    for index, value in diagonal:
        flat = _added(flat, index, value)
    return flat.reshape(b, size, size)


def _added(flat: Array, index: Array, values: Array) -> Array:
    return flat.at[index.reshape(-1)].add(values.reshape(-1), mode="promise_in_bounds", wrap_negative_indices=False)
