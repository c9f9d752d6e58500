"""Names of parameter entries: ``soft_sphere.sigma[A,B]``, ``box.length``, ``box.strain[0,1]``, ``held.position[7,0]``.

The same names appear in TOML, HDF5, plots and messages. A selection turns them into directions in parameter space.
"""

from __future__ import annotations

import collections
import dataclasses
import difflib
import functools
from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp

from mdsens.energy import State
from mdsens.energy.entries import Entries
from mdsens.energy.parameters import Parameters, PerPair, flattened, unflattened
from mdsens.energy.strain import strain_basis, voigt_places
from mdsens.errors import UserError
from mdsens.names import OF_STATE
from mdsens.types import PeriodicBox
from mdsens.units import unit_powers, unit_text

PRESSURE = "pressure"  # the path of the pressure among parameters


@dataclasses.dataclass(frozen=True)
class Selection:
    """Some entries of the parameters, each with its direction.

    Attributes:
        paths: Name of every entry, length k.
        values: Value of every entry, shape (k,).
        units: Unit of every entry in words, as ``mdsens.units.unit_text`` has them.
        directions: Directions dp as rows over the parameters' numbers, leaf after leaf, shape (k, P), sparse.
        parameters: The parameters themselves, for their shapes.
    """

    paths: tuple[str, ...]
    values: np.ndarray
    units: tuple[str, ...]
    directions: sp.csr_array
    parameters: Parameters

    @functools.cached_property
    def tangents(self) -> Parameters:
        """The directions as a ``Parameters`` pytree whose leaves carry a leading axis of length k: k P numbers."""
        return unflattened(self.parameters, self.directions.toarray())

    def part(self, rows: slice) -> Selection:
        """Return some of the entries."""
        return Selection(self.paths[rows], self.values[rows], self.units[rows], self.directions[rows], self.parameters)

    def combined(self, weights: np.ndarray) -> Parameters:
        """Return the single direction sum_k weights_k dp_k."""
        rows = unflattened(self.parameters, np.atleast_2d(self.directions.T @ weights))
        return jax.tree.map(lambda leaf: jnp.asarray(leaf[0]), rows)

    def contract(self, gradient: Parameters) -> np.ndarray:
        """Return the derivative along every direction, shape (k,), from a gradient shaped like the parameters."""
        return np.asarray(self.directions @ flattened(jax.tree.map(lambda leaf: leaf[None], gradient))[0])


@dataclasses.dataclass(frozen=True)
class Entry:
    """One number among the parameters.

    Attributes:
        path: Its name.
        value: Its value, in its own unit.
        unit: Its unit in words.
        places: Where its direction is not zero among the parameters' numbers, leaf after leaf, shape (q,).
        weights: The direction there, shape (q,).
        symmetric: Whether its two labels may be exchanged.
    """

    path: str
    value: float
    unit: str
    places: np.ndarray
    weights: np.ndarray
    symmetric: bool = False


def select(state: State, patterns: Sequence[str] | None = None) -> Selection:
    """Pick parameter entries by name.

    Args:
        state: The state whose parameters are meant.
        patterns: Full paths, or a prefix such as ``soft_sphere.sigma`` or ``soft_sphere`` that stands for all its
            entries; pairs of species and strains in any order (``[B,A]`` is ``[A,B]``). By default every entry of the
            potential.

    Returns:
        The selection, in the order of the patterns; at constant pressure the pressure comes last, named or not.

    Raises:
        UserError: When a name matches nothing (the message names the nearest ones), or an entry is chosen twice.
    """
    known = list(entries(state))
    if patterns is None:
        chosen = [entry for entry in known if entry.path.split(".")[0] not in OF_STATE]
    else:
        named = {alias: entry for entry in known for alias in _aliases(entry)}
        chosen = [entry for pattern in patterns for entry in _matching(known, named, pattern)]
    if state.barostat is not None:
        chosen = [entry for entry in chosen if entry.path != PRESSURE] + [known[-1]]
    counts = collections.Counter(entry.path for entry in chosen)
    repeated = [path for path, count in counts.items() if count > 1]
    if repeated:
        raise UserError(
            f"the parameter {repeated[0]} is named {counts[repeated[0]]} times: name every parameter once, alone or by "
            "the prefix that stands for all entries."
        )
    if not chosen:
        raise UserError(
            "no parameter was chosen: name at least one, such as " + ", ".join(e.path for e in known[:3]) + "."
        )
    return Selection(
        tuple(entry.path for entry in chosen),
        np.array([entry.value for entry in chosen]),
        tuple(entry.unit for entry in chosen),
        _directions(state.parameters, chosen),
        state.parameters,
    )


def scaling_direction(state: State, unit: str) -> Parameters:
    """Return the direction that scales every parameter by its power of "length" or "energy"; the box is a length.

    Used by the scale identities: along the direction of all lengths dx = x - mean(x), dP = -d P; along that of all
    energies dx = 0, dP = P.
    """
    leaves, structure = jax.tree.flatten(state.potential)
    powers = [float(unit_powers(node.unit).get(unit, 0)) for node in state.potential.nodes()]
    scaled = [power * leaf for power, leaf in zip(powers, leaves, strict=True)]
    box, anchors = state.configuration.box, state.configuration.anchors
    nothing = jax.tree.map(jnp.zeros_like, anchors)
    return Parameters(
        jax.tree.unflatten(structure, scaled),
        box if unit == "length" else jax.tree.map(jnp.zeros_like, box),
        anchors if unit == "length" and not isinstance(box, PeriodicBox) else nothing,  # else they follow the box
        jax.tree.map(jnp.zeros_like, state.parameters.pressure),
    )


def _matching(known: list[Entry], named: dict[str, Entry], pattern: str) -> list[Entry]:
    name = pattern.replace(" ", "")
    exact = named.get(name)
    found = [exact] if exact else [entry for entry in known if name in _prefixes(entry)]
    if found:
        return found
    names = sorted({entry.path for entry in known[:200]} | {entry.path.split("[")[0] for entry in known})
    near = difflib.get_close_matches(pattern, names, n=3, cutoff=0.3) or names[:5]
    raise UserError(f"there is no parameter {pattern!r}; the nearest are {', '.join(near)}.")


def _prefixes(entry: Entry) -> tuple[str, ...]:
    """Return the names that stand for an entry and its like: the parameter's, and the term's."""
    term = entry.path.split(".")[0]
    return (entry.path.split("[")[0],) if term == "box" else (entry.path.split("[")[0], term)


def _aliases(entry: Entry) -> Iterator[str]:
    """Yield an entry's names without blanks: of a symmetric pair of labels either one may come first."""
    name = entry.path.replace(" ", "")
    yield name
    if entry.symmetric:
        head, _, tail = name.partition("[")
        yield f"{head}[{','.join(reversed(tail.removesuffix(']').split(',')))}]"


def entries(state: State) -> Iterator[Entry]:
    """Yield every entry of a state's parameters: the potential's, in the order of their leaves, and the state's.

    The box has the overall ``box.length`` (scaling all lattice vectors), its single components ``box.matrix[i,j]``, and
    the symmetric strains ``box.strain[i,j]`` from where it is (engineering shears); a free system has none, nor has an
    energy that does not follow the box. Where some axes are not periodic, those along the others are left. Positions
    that are held are ``held.position[i,a]``; at constant pressure the last one is ``pressure``.
    """
    names, before = state.configuration.species_names, 0
    for path, unit, node in state.potential.nodes():
        values = np.asarray(node.values if isinstance(node, Entries) else node)
        labels = node.labels(names) if isinstance(node, Entries) else _index_labels(values.shape)
        pairs = isinstance(node, PerPair)
        for k, (label, value) in enumerate(zip(labels, values.ravel(), strict=True)):
            yield Entry(path + label, float(value), unit, np.array([before + k]), np.ones(1), pairs)
        before += values.size
    yield from _box_entries(state, before)
    yield from _held_entries(state, before + sum(leaf.size for leaf in jax.tree.leaves(state.configuration.box)))
    if state.barostat is not None:
        last = sum(leaf.size for leaf in jax.tree.leaves(state.parameters)) - 1
        unit = unit_text({"energy": 1, "length": -state.configuration.dimension})
        yield Entry(PRESSURE, float(state.barostat.pressure), unit, np.array([last]), np.ones(1))


def _box_entries(state: State, before: int) -> Iterator[Entry]:
    box = state.configuration.box
    if not isinstance(box, PeriodicBox):
        return
    if not state.potential.follows_box(state.configuration, state.pairs):
        return
    matrix = np.asarray(box.matrix)
    if box.is_periodic:
        length = float(np.linalg.det(matrix) ** (1 / len(matrix)))
        yield Entry("box.length", length, "length", before + np.arange(matrix.size), matrix.ravel() / length)
    for k, (_, column) in enumerate(np.ndindex(*matrix.shape)):
        if box.periodic[column]:
            label = _index_labels(matrix.shape)[k]
            yield Entry(f"box.matrix{label}", float(matrix.ravel()[k]), "length", np.array([before + k]), np.ones(1))
    plane = matrix[:, list(box.periodic)]
    for (i, j), strain in zip(voigt_places(len(matrix)), strain_basis(len(matrix)), strict=True):
        if not (plane[i].any() and plane[j].any()):
            continue  # nothing repeats along one of the directions
        places = before + np.arange(matrix.size)
        yield Entry(f"box.strain[{min(i, j)},{max(i, j)}]", 0.0, "none", places, (strain @ matrix).ravel(), i != j)


def _held_entries(state: State, before: int) -> Iterator[Entry]:
    held, box = state.configuration.held, state.configuration.box
    if held is None:
        return
    position = np.asarray(state.position)
    d = position.shape[1]
    inverse = np.asarray(box.inverse) if isinstance(box, PeriodicBox) else np.eye(d)
    for i, a in np.argwhere(np.asarray(held)):
        places = before + i * d + np.arange(d)
        yield Entry(f"held.position[{i},{a}]", float(position[i, a]), "length", places, inverse[:, a])


def _index_labels(shape: tuple[int, ...]) -> list[str]:
    return ["[" + ",".join(map(str, index)) + "]" if shape else "" for index in np.ndindex(*shape)]


def _directions(parameters: Parameters, chosen: list[Entry]) -> sp.csr_array:
    total = sum(leaf.size for leaf in jax.tree.leaves(parameters))
    starts = np.cumsum([0, *(len(entry.places) for entry in chosen)])
    weights, places = (np.concatenate([getattr(entry, name) for entry in chosen]) for name in ("weights", "places"))
    return sp.csr_array((weights, places, starts), shape=(len(chosen), total))
