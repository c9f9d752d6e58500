"""Pairs closer than their law is meant for: laws with a pole or a first row are continued there, and that is said."""

from __future__ import annotations

import numpy as np

from mdsens.energy.pairs import PairPotential
from mdsens.energy.parameters import at_pairs
from mdsens.energy.potential import Potential
from mdsens.energy.state import State
from mdsens.neighbors import neighbor_pairs, pair_distances


def has_inner(potential: Potential) -> bool:
    """Return whether a term of a potential is a law of pairs that is continued below some distance."""
    terms = (term for _, term in potential.terms())
    return any(isinstance(law, PairPotential) and type(law).inner is not PairPotential.inner for law in terms)


def continued_pair(state: State) -> str:
    """Return a sentence about a pair within the ``inner`` distance of its law; an empty text where there is none."""
    configuration = state.configuration
    for name, law in state.potential.terms():
        if not isinstance(law, PairPotential) or not has_inner(law):
            continue
        pairs = neighbor_pairs(state.position, configuration.box, law.list_range(configuration))
        distance = np.asarray(pair_distances(configuration, pairs))
        expanded = at_pairs(law, configuration.species, pairs.i, pairs.j)
        inner = np.broadcast_to(np.asarray(expanded.inner), distance.shape)
        inside = np.flatnonzero(np.asarray(pairs.mask) & (distance < inner))
        if len(inside):
            k = inside[0]
            return (
                f"particles {int(pairs.i[k])} and {int(pairs.j[k])} are {distance[k]:.4g} apart, where {name} is only "
                f"continued (its law begins at {inner[k]:.4g}): start with particles further apart, press less, or "
                "check the parameters."
            )
    return ""
