"""Arrays that make a configuration, each checked and refused by name: box, species, diameters, groups of particles."""

from __future__ import annotations

import re
from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np

from mdsens.types import Box, Configuration, FreeBox, Groups, PeriodicBox

Start = tuple[Configuration, np.ndarray | None]
NAMES = {"position", "box", "periodic", "species", "species_names", "diameters", "held"}
_GROUPS = re.compile(r"topology\.([A-Za-z_][A-Za-z0-9_]{0,49})\.(index|shift|kind)")


def is_name(name: str) -> bool:
    """Return whether an array of a configuration has that name."""
    return name in NAMES or _GROUPS.fullmatch(name) is not None


def configuration_from(arrays: Mapping[str, np.ndarray]) -> Start:
    """Return the configuration that arrays by name make, and the diameters among them; ``read_configuration`` says how.

    Raises:
        ValueError: When they make none, with the name of the array.
    """
    position = _real(arrays["position"], "position")
    if position.ndim != 2:
        raise ValueError(f"position has shape {position.shape}; it must be (n, 2) or (n, 3).")
    n, d = position.shape
    box = box_of(arrays.get("box"), d, arrays.get("periodic"))
    species = _species(arrays.get("species", np.zeros(n, dtype=int)), n)
    names = _names(arrays["species_names"]) if "species_names" in arrays else _letters(species)
    topology = _topology(arrays, position, box)
    configuration = Configuration(jnp.asarray(position), jnp.asarray(species), box, names, topology)
    if "held" in arrays:
        configuration = configuration.holding(arrays["held"])
    return configuration, diameters_of(arrays.get("diameters"), n)


def box_of(box: np.ndarray | None, dimension: int, periodic: np.ndarray | None = None) -> Box:
    """Return the box of lengths (d,) or a matrix (d, d) and its periodic axes (d,), all by default; free without any.

    Raises:
        ValueError: When they make none.
    """
    if dimension not in (2, 3):
        raise ValueError(f"positions have {dimension} components; there must be 2 or 3.")
    if box is None:
        return FreeBox(dimension)
    matrix = _real(box, "box")
    if matrix.shape not in ((dimension,), (dimension, dimension)):
        raise ValueError(
            f"box has shape {matrix.shape}; it must be lengths ({dimension},) or a matrix ({dimension}, {dimension})."
        )
    repeats = np.ones(dimension, bool) if periodic is None else np.asarray(periodic)
    if repeats.shape != (dimension,) or repeats.dtype.kind not in "biu":
        raise ValueError(f"periodic has shape {repeats.shape}; it must hold {dimension} truth values.")
    if not repeats.any():
        return FreeBox(dimension)
    return PeriodicBox(np.diag(matrix) if matrix.ndim == 1 else matrix, tuple(repeats.astype(bool).tolist()))


def _topology(arrays: Mapping[str, np.ndarray], position: np.ndarray, box: Box) -> dict[str, Groups]:
    names = dict.fromkeys(found[1] for found in map(_GROUPS.fullmatch, arrays) if found)
    return {name: _groups(arrays, f"topology.{name}", position, box) for name in names}


def _groups(arrays: Mapping[str, np.ndarray], name: str, position: np.ndarray, box: Box) -> Groups:
    """Return the groups of one name from ``name.index`` and, where they are given, ``.shift`` and ``.kind``."""
    if f"{name}.index" not in arrays:
        raise ValueError(f"{name}.index is missing: it must hold the particles of every group, shape (m, k).")
    index, shift, kind = (arrays.get(f"{name}.{part}") for part in ("index", "shift", "kind"))
    assert index is not None
    if index.ndim != 2 or index.shape[1] < 2 or index.dtype.kind not in "iu":
        raise ValueError(
            f"{name}.index has shape {index.shape} and type {index.dtype}; it must be integers, (m, k) with k >= 2."
        )
    try:
        return Groups.nearest(index, position, box, kind) if shift is None else Groups(index, shift, kind)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def _real(array: np.ndarray, name: str) -> np.ndarray:
    if array.dtype.kind not in "fiu":
        raise ValueError(f"{name} has type {array.dtype}; it must be real numbers.")
    return array.astype(float)


def diameters_of(diameters: np.ndarray | None, n: int) -> np.ndarray | None:
    """Return the diameters of n particles, where there are any.

    Raises:
        ValueError: When they are no n positive numbers.
    """
    if diameters is None:
        return None
    values = _real(diameters, "diameters")
    if values.shape != (n,):
        raise ValueError(f"diameters have shape {values.shape}; it must be ({n},), one per particle.")
    wrong = np.flatnonzero(~(np.isfinite(values) & (values > 0)))
    if wrong.size:
        raise ValueError(
            f"diameter of particle {wrong[0]} is {values[wrong[0]]}; it must be finite and greater than 0."
        )
    return values


def _species(species: np.ndarray, n: int) -> np.ndarray:
    if species.dtype.kind not in "iu":
        raise ValueError(f"species has type {species.dtype}; it must be integers from 0.")
    if species.shape != (n,):
        raise ValueError(f"species has shape {species.shape}; it must be ({n},), one number per particle.")
    return species.astype(int)


def _names(names: np.ndarray) -> tuple[str, ...]:
    if names.dtype.kind != "U" or names.ndim != 1:
        raise ValueError(
            f"species_names has type {names.dtype} and shape {names.shape}; it must be text, one name per species."
        )
    return tuple(map(str, names))


def _letters(species: np.ndarray) -> tuple[str, ...]:
    count = int(species.max(initial=0)) + 1
    if count > len(species):
        raise ValueError(
            f"species indices go up to {count - 1}; {len(species)} particles are of at most {len(species)} species, "
            "numbered from 0: give species_names for species without particles."
        )
    return tuple(chr(ord("A") + k) if count <= 26 else f"S{k}" for k in range(count))
