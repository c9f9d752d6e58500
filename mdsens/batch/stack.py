"""Systems of one size stacked along a first axis: one ``State`` whose every array carries the members."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree

from mdsens.energy import PairPotential, Potential, State
from mdsens.errors import UserError
from mdsens.neighbors import no_pairs, on_device
from mdsens.types import Box, Configuration, require_x64

Stack = State  # every array leaf has a leading axis, one entry per member


def stack_arrays(
    potential: Potential,
    position: Float[Array | np.ndarray, "b n d"],
    species: Int[Array | np.ndarray, "b n"],
    box: Box,
    species_names: tuple[str, ...] = ("A",),
) -> Stack:
    """Stack systems given as arrays; positions are not checked here, a member that holds a NaN gets its own verdict.

    Args:
        potential: The law, every leaf with a leading axis of length b.
        position: Real coordinates, shape (b, n, d), units of length.
        species: Species index of every particle, shape (b, n).
        box: The boxes, every leaf with a leading axis of length b (``jax.vmap(PeriodicBox)(matrices)``).
        species_names: One name per species.

    Raises:
        UserError: When the law is not a pair law.
    """
    require_x64()
    if not isinstance(potential, PairPotential):
        raise UserError(f"{potential.name} is not a pair law: batches relax pair laws only; take mdsens.relaxation.")
    pairs = on_device(no_pairs(box.dimension))

    def one(x: Array, kinds: Array, space: Box, law: Potential) -> State:
        return State(Configuration(x, kinds, space, species_names), law, pairs)

    return jax.jit(jax.vmap(one))(jnp.asarray(position), jnp.asarray(species), box, potential)


def stack_systems(potential: Potential | Sequence[Potential], configurations: Sequence[Configuration]) -> Stack:
    """Stack configurations of one size.

    Args:
        potential: The law, shared by all members; or one per member, alike but for the parameters' values.
        configurations: One per member, with equal numbers of particles and species names and one kind of box.

    Raises:
        UserError: When there is none, sizes or boxes differ, the list of parameters has another length, or particles
            are held.
    """
    first = _alike(configurations)
    each = [potential] * len(configurations) if isinstance(potential, Potential) else list(potential)
    if len(each) != len(configurations):
        raise UserError(f"{len(each)} potentials for {len(configurations)} configurations: give one per member.")
    if len({jax.tree.structure(law) for law in each}) > 1:
        raise UserError("the potentials of a batch differ in more than their values: make one batch per law.")
    fields: list[Any] = [(c.position, c.species, c.box, law) for c, law in zip(configurations, each, strict=True)]
    position, species, box, stacked = jax.tree.map(_stacked, *fields)
    return stack_arrays(stacked, position, species, box, first.species_names)


def _stacked(*leaves: Array) -> Array:
    return jnp.asarray(np.stack([np.asarray(leaf) for leaf in leaves]))


def _alike(configurations: Sequence[Configuration]) -> Configuration:
    if not configurations:
        raise UserError("a batch needs at least one configuration.")
    first = configurations[0]
    if any(other.held is not None for other in configurations):
        raise UserError("batches do not know held particles: relax such systems one at a time (mdsens.relaxation).")
    for k, other in enumerate(configurations):
        same = (
            other.position.shape == first.position.shape
            and type(other.box) is type(first.box)
            and other.species_names == first.species_names
        )
        if not same:
            raise UserError(
                f"configuration {k} differs from the first in size, kind of box or species names: "
                "a batch holds systems of one size; make one batch per kind."
            )
    return first


def positions(stack: Stack) -> Float[Array | np.ndarray, "b n d"]:
    """Return the positions of all members."""
    return stack.configuration.position


def taken(tree: PyTree, index: Int[Array | np.ndarray, " *k"]) -> Any:
    """Return the members with the given numbers, in that order."""
    return jax.tree.map(lambda leaf: leaf[index], tree)


def member(stack: Stack, k: int) -> State:
    """Return one member as a state of its own (without pairs)."""
    return taken(stack, np.asarray(k))
