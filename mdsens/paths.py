"""Names of parameter entries: ``soft_sphere.sigma[A,B]``, ``soft_sphere.epsilon``, ``box.length``, ``box.matrix[0,1]``.

The same names appear in TOML, HDF5, plots and messages. A selection turns them into directions in parameter space.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mdsens.energy import State
from mdsens.errors import UserError
from mdsens.parameters import PairParameter, Parameters, is_pair_parameter
from mdsens.types import PeriodicBox


@dataclasses.dataclass(frozen=True)
class Selection:
    """Some entries of the parameters, each with its direction.

    Attributes:
        paths: Name of every entry, length k.
        values: Value of every entry, shape (k,).
        units: "length", "energy" or "none" for every entry.
        tangents: Directions dp, one per entry: a ``Parameters`` pytree whose leaves carry a leading axis of length k.
    """

    paths: tuple[str, ...]
    values: np.ndarray
    units: tuple[str, ...]
    tangents: Parameters

    def combined(self, weights: np.ndarray) -> Parameters:
        """Return the single direction sum_k weights_k dp_k."""
        return jax.tree.map(lambda leaf: jnp.tensordot(jnp.asarray(weights), leaf, axes=1), self.tangents)

    def contract(self, gradient: Parameters) -> np.ndarray:
        """Return the derivative along every direction, shape (k,), from a gradient shaped like the parameters."""
        products = jax.tree.map(
            lambda direction, slope: direction.reshape(len(self.paths), -1) @ slope.ravel(), self.tangents, gradient
        )
        return np.asarray(sum(jax.tree.leaves(products)))


@dataclasses.dataclass(frozen=True)
class Entry:
    """One number among the parameters.

    Attributes:
        path: Its name.
        value: Its value, in its own unit.
        unit: "length", "energy" or "none".
        leaf: Index of the array that holds it among the leaves of ``Parameters``.
        weights: The direction in which it changes within that array, same shape as the array.
    """

    path: str
    value: float
    unit: str
    leaf: int
    weights: np.ndarray


def select(state: State, patterns: Sequence[str] | None = None) -> Selection:
    """Pick parameter entries by name.

    Args:
        state: The state whose parameters are meant.
        patterns: Full paths, or a prefix such as ``soft_sphere.sigma`` that stands for all its entries; species in any
            order (``[B,A]`` is ``[A,B]``). By default every entry of the potential.

    Returns:
        The selection, in the order of the patterns.

    Raises:
        UserError: When a name matches nothing; the message names the nearest ones.
    """
    known = list(entries(state))
    if patterns is None:
        chosen = [entry for entry in known if not entry.path.startswith("box.")]
    else:
        chosen = [entry for pattern in patterns for entry in _matching(known, pattern)]
    if not chosen:
        raise UserError(
            "no parameter was chosen: name at least one, such as " + ", ".join(e.path for e in known[:3]) + "."
        )
    return Selection(
        tuple(entry.path for entry in chosen),
        np.array([entry.value for entry in chosen]),
        tuple(entry.unit for entry in chosen),
        _tangents(state.parameters, chosen),
    )


def scaling_direction(state: State, unit: str) -> Parameters:
    """Return the direction that scales every parameter of a unit ("length" or "energy") by itself; the box is a length.

    Used by the scale identities: along the direction of all lengths dx = x - mean(x), dP = -d P; along that of all
    energies dx = 0, dP = P.
    """
    flat, structure = jax.tree_util.tree_flatten_with_path(state.params, is_leaf=is_pair_parameter)
    scaled = [
        node if state.potential.units.get(_field_name(keys)) == unit else jax.tree.map(jnp.zeros_like, node)
        for keys, node in flat
    ]
    box = state.configuration.box
    return Parameters(
        jax.tree.unflatten(structure, scaled), box if unit == "length" else jax.tree.map(jnp.zeros_like, box)
    )


def _field_name(keys: tuple[Any, ...]) -> str:
    return ".".join(str(getattr(key, "name", getattr(key, "key", getattr(key, "idx", key)))) for key in keys)


def _matching(known: list[Entry], pattern: str) -> list[Entry]:
    wanted = _canonical(pattern)
    exact = [entry for entry in known if _canonical(entry.path) == wanted]
    found = exact or [entry for entry in known if entry.path.split("[")[0] == pattern]
    if found:
        return found
    names = sorted({entry.path for entry in known[:200]} | {entry.path.split("[")[0] for entry in known})
    near = difflib.get_close_matches(pattern, names, n=3, cutoff=0.3) or names[:5]
    raise UserError(f"there is no parameter {pattern!r}; the nearest are {', '.join(near)}.")


def _canonical(path: str) -> str:
    head, bracket, tail = path.replace(" ", "").partition("[")
    inside = tail.rstrip("]").split(",")
    if head.startswith("box."):
        return head + bracket + tail
    return head + bracket + ",".join(sorted(inside)) + ("]" if bracket else "")


def entries(state: State) -> Iterator[Entry]:
    """Yield every entry of a state's parameters: the potential's, in the order of their leaves, then the box's.

    The box has the overall ``box.length`` (scaling all lattice vectors) and its single components ``box.matrix[i,j]``;
    a free system has none.
    """
    names = state.configuration.species_names
    prefix = state.potential.name
    flat, _ = jax.tree_util.tree_flatten_with_path(state.params, is_leaf=is_pair_parameter)
    leaf = 0
    for keys, node in flat:
        field = _field_name(keys)
        values = np.asarray(node.values if isinstance(node, PairParameter) else node)
        labels = node.labels(names) if isinstance(node, PairParameter) else _index_labels(values.shape)
        unit = state.potential.units.get(field, "none")
        for k, (label, value) in enumerate(zip(labels, values.ravel(), strict=True)):
            yield Entry(f"{prefix}.{field}{label}", float(value), unit, leaf, _one_hot(values.shape, k))
        leaf += 1
    yield from _box_entries(state, leaf)


def _box_entries(state: State, leaf: int) -> Iterator[Entry]:
    box = state.configuration.box
    if not isinstance(box, PeriodicBox):
        return
    matrix = np.asarray(box.matrix)
    length = float(np.linalg.det(matrix) ** (1 / len(matrix)))
    yield Entry("box.length", length, "length", leaf, matrix / length)
    for k, label in enumerate(_index_labels(matrix.shape)):
        yield Entry(f"box.matrix{label}", float(matrix.ravel()[k]), "length", leaf, _one_hot(matrix.shape, k))


def _index_labels(shape: tuple[int, ...]) -> list[str]:
    return ["[" + ",".join(map(str, index)) + "]" if shape else "" for index in np.ndindex(*shape)]


def _one_hot(shape: tuple[int, ...], k: int) -> np.ndarray:
    direction = np.zeros(shape)
    direction.ravel()[k] = 1.0
    return direction


def _tangents(parameters: Parameters, chosen: list[Entry]) -> Parameters:
    leaves, structure = jax.tree.flatten(parameters)
    stacks = [np.zeros((len(chosen), *leaf.shape)) for leaf in leaves]
    for k, entry in enumerate(chosen):
        stacks[entry.leaf][k] = entry.weights
    return jax.tree.unflatten(structure, stacks)
