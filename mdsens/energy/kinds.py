"""Kinds of particles that a pair law tells apart, how far they see each other, and what is remembered of them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mdsens.energy.entries import is_entries
from mdsens.energy.pairs import PairPotential
from mdsens.energy.parameters import PerParticle, at_pairs
from mdsens.energy.state import State

_MOST_KINDS = 600  # particles with parameters of their own: every pair of them is a row of the table
_MOST_REMEMBERED = 64
_REMEMBERED: dict[tuple[Any, ...], tuple[Any]] = {}  # what was made of the last laws and kinds of particles


class Ranges(NamedTuple):
    """How far particles of a pair law see each other.

    Attributes:
        kind: Of every particle, shape (n,).
        reach: Interaction range of every pair of kinds, shape (kinds, kinds), units of length.
        expanded: The law with the parameters of those pairs, row by row.
    """

    kind: np.ndarray
    reach: np.ndarray
    expanded: PairPotential


def native_ranges(state: State) -> Ranges | None:
    """Return the ranges of a state's pairs, where they can be listed by machine code; None elsewhere."""
    ranges: Ranges | None = remembered(_ranges, state)
    return ranges


def _ranges(state: State) -> Ranges | None:
    law, configuration = state.potential, state.configuration
    assert isinstance(law, PairPotential)
    kind, first = _kinds(state)
    if len(first) > _MOST_KINDS:
        return None
    low, high = (index.ravel() for index in np.meshgrid(first, first, indexing="ij"))
    expanded = at_pairs(law, configuration.species, jnp.asarray(low), jnp.asarray(high))
    shape = (len(first), len(first))
    reach = np.broadcast_to(np.asarray(expanded.cutoff * expanded.pair_length), len(low)).reshape(shape)
    return Ranges(kind, np.array(reach, order="C"), expanded) if np.isfinite(reach).all() else None


def _kinds(state: State) -> tuple[np.ndarray, np.ndarray]:
    """Return every particle's kind and a particle of every kind: species, or the particles where they are unlike."""
    n = state.configuration.n_particles
    nodes = jax.tree.leaves(state.potential, is_leaf=is_entries)
    if any(isinstance(node, PerParticle) for node in nodes):
        return np.arange(n, dtype=np.int32), np.arange(n)
    _, first, kind = np.unique(np.asarray(state.configuration.species), return_index=True, return_inverse=True)
    return kind.astype(np.int32), first


def remembered(make: Callable[[State], Any], state: State) -> Any:
    """Return what is made of a state's law and species; what was made of equal ones before, if anything."""
    law, species = state.potential, np.asarray(state.configuration.species)
    if not isinstance(law, PairPotential) or not _is_plain(law) or jax.default_backend() != "cpu":
        return None
    leaves, structure = jax.tree.flatten(law)
    digest = hashlib.blake2b(species.tobytes())
    for leaf in map(np.asarray, leaves):
        digest.update(f"{leaf.shape}{leaf.dtype}".encode() + leaf.tobytes())
    key = (make, structure, state.configuration.dimension, digest.digest())
    try:
        found = _REMEMBERED.get(key)
    except TypeError:  # a setting of the law that cannot be compared
        return None
    if found is None:
        found = (make(state),)
        if len(_REMEMBERED) >= _MOST_REMEMBERED:  # members of an ensemble come in threads: what is found is held here
            _REMEMBERED.clear()
        _REMEMBERED[key] = found
    return found[0]


def _is_plain(law: PairPotential) -> bool:
    """Whether the energy is the sum of u(r) over pairs and nothing else."""
    inherited = ("energy", "energy_and_forces", "along", "pair_ranges")
    return all(getattr(type(law), name) is getattr(PairPotential, name) for name in inherited)
