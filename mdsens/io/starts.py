"""Configurations read from files: our own HDF5, NumPy's .npz, and extended XYZ through ASE."""

from __future__ import annotations

import io
import math
import os
import re
import warnings
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from numpy.lib import format as npy

from mdsens.errors import UserError
from mdsens.io.exports import INSTALL
from mdsens.io.frames import last_frame
from mdsens.io.stored import read_run
from mdsens.types import LARGEST, Box, Configuration, FreeBox, Groups, PeriodicBox

Start = tuple[Configuration, np.ndarray | None]
_ARRAYS = {"position", "box", "periodic", "species", "species_names", "diameters", "held"}
_GROUPS = re.compile(r"topology\.([A-Za-z_][A-Za-z0-9_]{0,49})\.(index|shift|kind)")
_MOST_DEFLATED = 1032  # bytes that a byte of a zip file can stand for
_FARTHEST = 1e8  # times the size of the system: beyond, half of a coordinate's digits are lost


def read_configuration(path: Path) -> Start:
    """Read where the particles are from a file, by its ending.

    ``.h5``: a results file of one relaxed state, with its groups of particles. ``.npz``: arrays ``position`` (n, d);
    ``box``, lengths (d,) or a matrix (d, d) with the lattice vectors as columns (without it the system is free);
    optionally ``species`` (n,), ``species_names``, ``diameters`` (n,) and groups of particles, such as bonds:
    ``topology.bonds.index`` (m, k), particles numbered from 0, with ``topology.bonds.kind`` (m,) and the image counts
    ``topology.bonds.shift`` (m, k - 1, d), without which further members are nearest images; ``held`` (n,) or (n, d),
    truth values, for particles or components of them that do not move. ``.extxyz`` or ``.xyz``: read by ASE; a system
    without period along z and with z = 0 everywhere is two-dimensional; a column ``radius`` gives diameters, and one
    named ``move_mask`` (ASE's FixAtoms and FixCartesian) what is held.

    Args:
        path: The file.

    Returns:
        The configuration, and the diameter of every particle, shape (n,), or None when the file has none.

    Raises:
        UserError: When the file is missing, of another kind or damaged, or its content makes no configuration.
    """
    path = Path(path)
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise UserError(f"{path} ends in {path.suffix!r}; a start is read from {', '.join(_READERS)}.")
    if not os.path.isfile(path):  # of a path that no system takes, too, this is false
        raise UserError(f"{path} does not exist: give the path of a file to start from.")
    try:
        configuration, diameters = reader(path)
        _check_resolved(configuration)
    except UserError:
        raise
    except ValueError as error:
        raise UserError(f"{path}: {error}") from error
    return configuration, diameters


def _from_hdf5(path: Path) -> Start:
    stored = read_run(path)
    return stored.configuration, stored.diameters if np.isfinite(stored.diameters).all() else None


def _from_npz(path: Path) -> Start:
    arrays = _arrays_in(path)
    position = _real(arrays["position"], "position")
    if position.ndim != 2:
        raise ValueError(f"position has shape {position.shape}; it must be (n, 2) or (n, 3).")
    n, d = position.shape
    box = _box(arrays.get("box"), d, arrays.get("periodic"))
    species = _species(arrays.get("species", np.zeros(n, dtype=int)), n)
    names = _names(arrays["species_names"]) if "species_names" in arrays else _letters(species)
    topology = _topology(arrays, position, box)
    configuration = Configuration(jnp.asarray(position), jnp.asarray(species), box, names, topology)
    if "held" in arrays:
        configuration = configuration.holding(arrays["held"])
    return configuration, _diameters(arrays.get("diameters"), n)


def _arrays_in(path: Path) -> dict[str, np.ndarray]:
    try:
        with zipfile.ZipFile(path) as file:
            members = {info.filename.removesuffix(".npy"): info for info in file.infolist()}
            if "position" in members and all(name in _ARRAYS or _GROUPS.fullmatch(name) for name in members):
                return {name: _member(file, info) for name, info in members.items()}
    except Exception as error:  # a damaged or encrypted member raises whatever zipfile or its decoder stumbles over
        reason = str(error)[:100]
        raise UserError(f"{path} is not a readable .npz file ({reason}): write it with numpy.savez.") from error
    held = ", ".join(sorted(members)[:10]) + (", ..." if len(members) > 10 else "")
    known = ", ".join(sorted(_ARRAYS))
    raise UserError(
        f"{path} holds {held or 'nothing'}; position is needed, allowed are {known} and, for groups such as bonds, "
        "topology.bonds.index, .kind and .shift."
    )


def _member(file: zipfile.ZipFile, info: zipfile.ZipInfo) -> np.ndarray:
    """Read an array after its header has been compared with the number of bytes there are: a claim costs no memory."""
    with file.open(info) as stream:
        version = npy.read_magic(stream)
        shape, _, dtype = (npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0)(stream)
        size = math.prod(shape) * dtype.itemsize
        if dtype.hasobject or size != info.file_size - stream.tell() or size > _MOST_DEFLATED * info.compress_size:
            raise ValueError(f"{info.filename} is no array of numbers or text of the size that it announces")
    with file.open(info) as stream:
        return npy.read_array(stream, allow_pickle=False)


def _box(box: np.ndarray | None, dimension: int, periodic: np.ndarray | None = None) -> Box:
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


def _diameters(diameters: np.ndarray | None, n: int) -> np.ndarray | None:
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


def _from_extxyz(path: Path) -> Start:
    try:
        import ase.io
    except ImportError as error:
        raise UserError(f"reading {path} needs the package ase; {INSTALL}.") from error
    try:
        frame = last_frame(path.read_text(encoding="utf-8").rstrip().split("\n"))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read as text ({error}).") from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # ASE 3.29 sets array shapes, which NumPy 2.5 deprecates
            atoms: Any = ase.io.read(io.StringIO("\n".join(frame)), format="extxyz")
    except Exception as error:  # ASE raises whatever its parser stumbles over
        raise UserError(f"{path} is not a readable extended XYZ file ({error}).") from error
    species, names = _atoms_species(atoms, frame)
    radius = atoms.arrays.get("radius")
    return from_atoms(atoms, species, names), _diameters(None if radius is None else 2 * radius, len(atoms))


def from_atoms(atoms: Any, species: np.ndarray | None = None, names: tuple[str, ...] | None = None) -> Configuration:
    """Return the configuration that ASE's ``Atoms`` are.

    Without period along z, and with z = 0 everywhere, they are two-dimensional. FixAtoms and FixCartesian hold.

    Args:
        atoms: The atoms.
        species: Species index of every particle; by default elements in the order of their atomic numbers.
        names: One name per species; by default chemical symbols.

    Raises:
        ValueError: When they make no configuration, or have other constraints.
    """
    if species is None or names is None:
        species, names = _elements(atoms)
    dimension = _atoms_dimension(atoms)
    periodic = np.asarray(atoms.pbc)[:dimension]
    box = np.asarray(atoms.cell[:])[:dimension, :dimension].T if periodic.any() else None
    configuration = Configuration(
        jnp.asarray(atoms.positions[:, :dimension], dtype=float),
        jnp.asarray(species),
        _box(box, dimension, periodic),
        names,
    )
    held = _held(atoms, dimension)
    return configuration.holding(held) if held.any() else configuration


def _held(atoms: Any, dimension: int) -> np.ndarray:
    """Return the components that ASE's constraints fix (a column ``move_mask`` of the file), shape (n, d)."""
    held = np.zeros((len(atoms), 3), bool)
    for constraint in atoms.constraints:
        kind = type(constraint).__name__
        if kind not in ("FixAtoms", "FixCartesian"):
            raise ValueError(f"it has the constraint {kind}; particles can be held (FixAtoms) or components of them.")
        fixed = np.ones(3, bool) if kind == "FixAtoms" else np.asarray(constraint.mask, bool)
        held[np.asarray(constraint.index)] |= fixed
    return held[:, :dimension]


def _atoms_dimension(atoms: Any) -> int:
    flat = not atoms.pbc[2] and bool(np.all(atoms.positions[:, 2] == 0)) and bool(np.all(atoms.cell[:2, 2] == 0))
    return 2 if flat else 3


def _atoms_species(atoms: Any, frame: Sequence[str]) -> tuple[np.ndarray, tuple[str, ...]]:
    """Number the species as the column ``Z`` orders them; their names are those of the text file's species column."""
    species, names = _elements(atoms)
    if "Properties=species:S:1:" in frame[1]:  # ASE replaces names that are no chemical symbols
        first = np.unique(atoms.numbers, return_index=True)[1]
        return species, tuple(frame[2 + k].split()[0] for k in first)
    return species, names


def _elements(atoms: Any) -> tuple[np.ndarray, tuple[str, ...]]:
    """Number the species by their elements, or as ``to_atoms`` has named them."""
    if {"species", "Z"} <= atoms.arrays.keys():
        _, first, species = np.unique(atoms.arrays["Z"], return_index=True, return_inverse=True)
        return species, tuple(map(str, atoms.arrays["species"][first]))
    _, first, species = np.unique(atoms.numbers, return_index=True, return_inverse=True)
    return species, tuple(np.array(atoms.get_chemical_symbols())[first].tolist())


def _check_resolved(configuration: Configuration) -> None:
    """Refuse positions so far away that float64 numbers say little about distances between them."""
    position, box = np.asarray(configuration.position), configuration.box
    size = float(np.abs(box.matrix).max() if isinstance(box, PeriodicBox) else np.ptp(position, axis=0).max())
    farthest = float(np.abs(position).max())
    if farthest > LARGEST or farthest > _FARTHEST * size > 0:
        raise ValueError(
            f"a coordinate is {farthest:.3g}; for a system of size {size:.3g} it may be at most "
            f"{min(_FARTHEST * size, LARGEST):.3g}: shift or wrap the positions."
        )


_READERS: dict[str, Callable[[Path], Start]] = {
    ".h5": _from_hdf5,
    ".npz": _from_npz,
    ".extxyz": _from_extxyz,
    ".xyz": _from_extxyz,
}
