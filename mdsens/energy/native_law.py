"""The machine code of a pair law: energy, forces and curvatures over a list, made from its one JAX function."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import os
import sys
import threading
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from numba import types as nb
from numba.core.errors import NumbaError

from mdsens.energy.entries import is_entries
from mdsens.energy.pairs import PairPotential
from mdsens.energy.parameters import PerParticle, at_pairs
from mdsens.energy.scalar_source import NotScalarError, source_of
from mdsens.energy.state import State
from mdsens.machine.caches import code_folder
from mdsens.machine.compiling import ENERGY, FAST, FIELD, LISTED, compiled, compiled_callback
from mdsens.neighbors.listing import Listing

_MOST_KINDS = 600  # particles with parameters of their own: every pair of them is a row of the table
_MOST_REMEMBERED = 64
_ONE_AT_A_TIME = threading.Lock()


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
        own, other = self.kind[listing.first], self.kind[listing.partner]
        return listing.starts, listing.partner, listing.offset, self.reach[own, other], self.table[own, other]

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


def native_law(state: State) -> NativeLaw | None:
    """Return the machine code of a state's law; None where there is none.

    Laws that are no pair laws, whose u(r) is no arithmetic of numbers (a table's lookup), or with parameters for more
    than 600 single particles are left to XLA; so is everything where JAX computes on an accelerator.
    """
    law: NativeLaw | None = _remembered(_law, state)
    return law


def _law(state: State) -> NativeLaw | None:
    ranges = native_ranges(state)
    if ranges is None:
        return None
    leaves, structure = jax.tree.flatten(ranges.expanded)
    if any(np.asarray(leaf).dtype != float for leaf in leaves):
        return None
    n = len(ranges.reach)
    columns = [np.broadcast_to(np.asarray(leaf), n * n).reshape(n, n) for leaf in leaves]
    differs = [bool((column != column[0, 0]).any()) for column in columns]
    code = _code(structure, tuple(differs), state.configuration.dimension)
    if code is None:
        return None
    table = np.zeros((n, n, sum(differs)))
    for k, column in enumerate(column for column, unlike in zip(columns, differs, strict=True) if unlike):
        table[..., k] = column
    shared = [column[0, 0] for column, unlike in zip(columns, differs, strict=True) if not unlike]
    return NativeLaw(*code, ranges.kind, ranges.reach, table, np.array(shared))


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
    ranges: Ranges | None = _remembered(_ranges, state)
    return ranges


_REMEMBERED: dict[tuple[Any, ...], tuple[Any]] = {}  # what was made of the last laws and kinds of particles


def _remembered(make: Callable[[State], Any], state: State) -> Any:
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


def _is_plain(law: PairPotential) -> bool:
    """Whether the energy is the sum of u(r) over pairs and nothing else."""
    inherited = ("energy", "energy_and_forces", "along", "pair_ranges")
    return all(getattr(type(law), name) is getattr(PairPotential, name) for name in inherited)


def _kinds(state: State) -> tuple[np.ndarray, np.ndarray]:
    """Return every particle's kind and a particle of every kind: species, or the particles where they are unlike."""
    n = state.configuration.n_particles
    nodes = jax.tree.leaves(state.potential, is_leaf=is_entries)
    if any(isinstance(node, PerParticle) for node in nodes):
        return np.arange(n, dtype=np.int32), np.arange(n)
    _, first, kind = np.unique(np.asarray(state.configuration.species), return_index=True, return_inverse=True)
    return kind.astype(np.int32), first


@functools.lru_cache(maxsize=256)
def _code(structure: Any, differs: tuple[bool, ...], d: int) -> tuple[Any, Any] | None:
    """Return the compiled functions of a law in d dimensions."""

    def law(r: Array, leaves: tuple[Array, ...]) -> Array:
        return jax.tree.unflatten(structure, leaves).pair_energy(r)

    def value_and_slope(r: Array, *leaves: Array) -> tuple[Array, Array]:
        return jax.value_and_grad(law)(r, leaves)

    def derivatives(r: Array, *leaves: Array) -> tuple[Array, ...]:
        (value, slope), (_, curvature) = jax.jvp(lambda at: value_and_slope(at, *leaves), (r,), (jnp.ones(()),))
        return value, slope, curvature

    names = ["r", *(f"p{k}" for k in range(len(differs)))]
    try:
        first = source_of(value_and_slope, names, ["u", "du"])
        second = source_of(derivatives, names, ["u", "du", "ddu"])
        return _compiled(_source(first, second, differs, d))
    except (NotScalarError, NumbaError):
        return None


def _source(first: list[str], second: list[str], differs: tuple[bool, ...], d: int) -> str:
    """Return the loops over a half list with a law's lines inside."""
    axes = range(d)
    rows = lambda indent, lines: "\n".join(" " * indent + line for line in lines)  # noqa: E731
    own = rows(12, [f"p{k} = own[m, {sum(differs[:k])}]" for k, unlike in enumerate(differs) if unlike])
    shared = [f"p{k} = shared[{k - sum(differs[:k])}]" for k, unlike in enumerate(differs) if not unlike]
    apart = rows(12, [f"d{c} = x{c} - x[j, {c}] - offset[m, {c}]" for c in axes])
    here = rows(8, [f"x{c} = x[i, {c}]" for c in axes])
    square = " + ".join(f"d{c} * d{c}" for c in axes)
    return f'''"""Generated from a pair law by mdsens.energy.native_law with {", ".join(FAST)}; safe to delete."""
import math


def evaluate(x, starts, partner, offset, reach, own, shared, force):
    force[:] = 0.0
    energy = 0.0
{rows(4, shared)}
    for i in range(len(starts) - 1):
{here}
{rows(8, [f"f{c} = 0.0" for c in axes])}
        for m in range(starts[i], starts[i + 1]):
            j = partner[m]
{apart}
            square = {square}
            if square >= reach[m] * reach[m]:
                continue
            r = math.sqrt(square)
{own}
{rows(12, first)}
            energy += u
            push = -du / r
{rows(12, [f"f{c} += push * d{c}" for c in axes])}
{rows(12, [f"force[j, {c}] -= push * d{c}" for c in axes])}
{rows(8, [f"force[i, {c}] += f{c}" for c in axes])}
    return energy


def pairwise(x, starts, partner, offset, reach, own, shared, near, deep, terms):
{rows(4, shared)}
    for i in range(len(starts) - 1):
{here}
        for m in range(starts[i], starts[i + 1]):
            j = partner[m]
{apart}
            r = math.sqrt({square})
            if r < near * reach[m]:
                r = min(r, deep * reach[m])
            terms[0, m] = r
            if r >= reach[m]:
                continue
{own}
{rows(12, second)}
            terms[1, m] = u
            terms[2, m] = du
            terms[3, m] = ddu
'''


@functools.cache
def _compiled(source: str) -> tuple[Any, Any]:
    """Compile generated source, or take what an earlier process compiled from it."""
    with _ONE_AT_A_TIME:
        module, kept = _module(source)
        return (
            compiled_callback(ENERGY, kept=kept)(module["evaluate"]),
            compiled(nb.void(*LISTED, nb.float64, nb.float64, FIELD), kept=kept)(module["pairwise"]),
        )


def _module(source: str) -> tuple[dict[str, Any], bool]:
    """Return the names that a source defines, and whether it stands in a file beside which machine code is kept."""
    name = f"mdsens_native_{hashlib.sha256(source.encode()).hexdigest()[:24]}"
    folder = code_folder()
    if folder is None:
        space: dict[str, Any] = {"__name__": name}
        exec(compile(source, name, "exec"), space)
        return space, False
    path = folder / f"{name}.py"
    if not path.exists():
        whole = path.with_suffix(f".{os.getpid()}")
        whole.write_text(source)
        whole.replace(path)
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where numba looks for it
    spec.loader.exec_module(module)
    return vars(module), True


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
