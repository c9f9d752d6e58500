"""A pair law in machine code: energy and forces over a list, and u with its derivatives at every pair."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from numba import types as nb

from mdsens.energy.entries import is_entries
from mdsens.energy.kinds import native_ranges, remembered
from mdsens.energy.native_code import loops_of
from mdsens.energy.state import State
from mdsens.machine.compiling import COUNTS, ENERGY, FIELD, LISTED, NUMBERS, compiled
from mdsens.neighbors.listing import Listing


class NativeLaw(NamedTuple):
    """A law as loops of machine code take it.

    Attributes:
        evaluate: (x, *paired, shared, force) -> energy; fills the forces. A compiled function's address.
        pairwise: (x, *paired, shared, near, deep, terms): fills r, u, u' and u'' of every pair, shape (4, m).
        kind: Of every particle, shape (n,): particles of a kind have equal parameters.
        reach: Interaction range of every pair of kinds, shape (kinds, kinds), units of length.
        table: Parameters in which pairs differ, for every pair of kinds, shape (kinds, kinds, k).
        shared: The other parameters, shape (p,).
    """

    evaluate: Any
    pairwise: Any
    kind: np.ndarray
    reach: np.ndarray
    table: np.ndarray
    shared: np.ndarray

    def paired(self, listing: Listing) -> tuple[np.ndarray, ...]:
        """Return what the loops take of a list: starts, partners, B S, ranges and parameters of every pair."""
        of_pairs = _of_pairs(listing.starts, listing.partner, self.kind, self.reach, self.table)
        return listing.starts, listing.partner, listing.offset, *of_pairs

    def terms(
        self, position: np.ndarray, paired: tuple[np.ndarray, ...], near: float = 0.0, deep: float = 1.0
    ) -> np.ndarray:
        """Return r, u, u' and u'' of every pair, shape (4, m); zero energies beyond the range.

        Args:
            position: Real coordinates, shape (n, d).
            paired: What ``paired`` returned.
            near: In units of its range, the distance below which a pair is taken as if it were at most ``deep`` in it.
            deep: In units of its range.
        """
        found = np.zeros((4, len(paired[1])))
        self.pairwise(position, *paired, self.shared, near, deep, found)
        return found


@compiled(nb.Tuple((NUMBERS, FIELD))(COUNTS, COUNTS, COUNTS, FIELD, nb.float64[:, :, ::1]))
def _of_pairs(starts, partner, kind, reach, table):  # type: ignore[no-untyped-def]
    """Return range and parameters of every pair from those of kinds, shapes (m,) and (m, k)."""
    ranges, parameters = np.empty(len(partner)), np.empty((len(partner), table.shape[2]))
    for i in range(len(starts) - 1):
        own = kind[i]
        for m in range(starts[i], starts[i + 1]):
            other = kind[partner[m]]
            ranges[m] = reach[own, other]
            for k in range(table.shape[2]):
                parameters[m, k] = table[own, other, k]
    return ranges, parameters


def native_law(state: State) -> NativeLaw | None:
    """Return the machine code of a state's law; None where there is none.

    Laws that are no pair laws, whose u(r) is no arithmetic of numbers (a lookup among knots), or with parameters for
    more than 600 single particles are left to XLA; so is everything where JAX computes on an accelerator.
    """
    law: NativeLaw | None = remembered(_law, state)
    return law


def _law(state: State) -> NativeLaw | None:
    ranges = native_ranges(state)
    if ranges is None:
        return None
    leaves, structure = jax.tree.flatten(ranges.expanded)
    listed = any(is_entries(node) for node in jax.tree.leaves(ranges.expanded, is_leaf=is_entries))
    if listed or any(np.asarray(leaf).dtype != float for leaf in leaves):
        return None
    n = len(ranges.reach)
    columns = [np.broadcast_to(np.asarray(leaf), n * n).reshape(n, n) for leaf in leaves]
    differs = [bool((column != column[0, 0]).any()) for column in columns]
    code = loops_of(structure, tuple(differs), state.configuration.dimension)
    if code is None:
        return None
    table = np.zeros((n, n, sum(differs)))
    for k, column in enumerate(column for column, unlike in zip(columns, differs, strict=True) if unlike):
        table[..., k] = column
    shared = [column[0, 0] for column, unlike in zip(columns, differs, strict=True) if not unlike]
    return NativeLaw(*code, ranges.kind, ranges.reach, table, np.array(shared))


@compiled(nb.float64(nb.FunctionType(ENERGY), *LISTED, FIELD, FIELD, nb.float64))
def evaluated(law, x, starts, partner, offset, reach, own, shared, free, force, unit):  # type: ignore[no-untyped-def]
    """Return the energy and fill the forces, in a unit of energy, zero where nothing may move."""
    energy = law(x, starts, partner, offset, reach, own, shared, force)
    flat, held = force.reshape(-1), free.reshape(-1)
    if unit != 1.0:
        for k in range(len(flat)):
            flat[k] = flat[k] / unit
    for k in range(len(held)):
        if held[k] == 0.0:
            flat[k] = 0.0
    return energy / unit


def native_surface(state: State) -> Callable[[np.ndarray], tuple[float, np.ndarray]] | None:
    """Return a function from positions (n, d) to the energy and the forces, those held zero; None without code.

    Args:
        state: The law and the pairs, which are not listed anew.
    """
    code = native_law(state)
    if code is None:
        return None
    paired, free = code.paired(listing_of(state)), free_components(state)

    def surface(position: np.ndarray) -> tuple[float, np.ndarray]:
        force = np.empty_like(position)
        return evaluated(code.evaluate, position, *paired, code.shared, free, force, 1.0), force

    return surface


def listing_of(state: State) -> Listing:
    """Return a state's pairs as loops take them."""
    configuration = state.configuration
    return Listing.of(state.pairs, configuration.box, configuration.n_particles)


def free_components(state: State) -> np.ndarray:
    """Return 1 for components that may move and 0 for held ones, shape (n, d); (0, d) where all may."""
    held = state.configuration.held
    if held is None:
        return np.zeros((0, state.configuration.dimension))
    return np.array(~np.asarray(held), dtype=float, order="C")


class PairTerms(NamedTuple):
    """The real pairs of a state, in the order of its list: what their law makes of them.

    Attributes:
        i: First particles, shape (m,).
        j: Second particles, same shape.
        vector: x_i - x_j - B S, shape (m, d).
        distance: Their lengths, shape (m,).
        value: u, shape (m,).
        slope: u', shape (m,).
        curvature: u'', shape (m,).
    """

    i: np.ndarray
    j: np.ndarray
    vector: np.ndarray
    distance: np.ndarray
    value: np.ndarray
    slope: np.ndarray
    curvature: np.ndarray


def native_terms(state: State) -> PairTerms | None:
    """Return u and its derivatives at a state's pairs; None where the law has no machine code."""
    code = native_law(state)
    if code is None:
        return None
    listing, position = listing_of(state), np.array(state.position, order="C")
    distance, value, slope, curvature = code.terms(position, code.paired(listing))
    vector = position[listing.first] - position[listing.partner] - listing.offset
    return PairTerms(listing.first, listing.partner, vector, distance, value, slope, curvature)
