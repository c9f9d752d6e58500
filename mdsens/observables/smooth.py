"""What structural observables share: their own pairs, distances in units of a pair's length, a smooth switch."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

from mdsens.energy import PairPotential, State, max_reach
from mdsens.errors import UserError
from mdsens.neighbors import PairList, neighbor_pairs, on_device, pair_distances

SKIN = 1.1  # pairs are listed this much farther than needed, so that an observable holds at states nearby


def switch(x: Float[Array, " m"], begin: float, end: float) -> Float[Array, " m"]:
    r"""Return :math:`s^3(10 - 15 s + 6 s^2)`, s falling from 1 at ``begin`` to 0 at ``end``: two smooth derivatives."""
    rest = jnp.clip((end - x) / (end - begin), 0.0, 1.0)
    return rest**3 * (10.0 - 15.0 * rest + 6.0 * rest**2)


def check_switch(begin: float, end: float, what: str) -> None:
    """Refuse a switch that is out of order.

    Raises:
        UserError: Unless 0 < begin < end.
    """
    if not 0 < begin < end < float("inf"):
        raise UserError(f"{what} switches between {begin:g} and {end:g}; 0 < begin < end must hold.")


def pair_lengths(state: State, pairs: PairList) -> Float[Array, " m"]:
    """Return the length sigma of every pair, shape (m,); 1 for energies that are no pair laws."""
    potential = state.potential
    if not isinstance(potential, PairPotential):
        return jnp.ones(len(pairs.i))
    return potential.reach(state.configuration, pairs) / potential.cutoff


def scaled_distances(state: State, pairs: PairList) -> Float[Array, " m"]:
    """Return the distance of every pair in units of its length sigma, shape (m,); padding gets some number."""
    return pair_distances(state.configuration, pairs) / pair_lengths(state, pairs)


def longest_length(state: State) -> float:
    """Return the largest length sigma of a pair; 1 for energies that are no pair laws."""
    potential = state.potential
    if not isinstance(potential, PairPotential):
        return 1.0
    return max_reach(potential, state.configuration) / potential.cutoff


def pairs_within(state: State, reach: float) -> PairList:
    """List every pair, of particles and of images, closer than a distance (units of length), with a skin."""
    return on_device(neighbor_pairs(state.position, state.configuration.box, SKIN * reach))
