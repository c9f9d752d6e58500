"""Configurations read from files: our own HDF5, NumPy's .npz, and extended XYZ through ASE."""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from mdsens.errors import UserError
from mdsens.io.exports import INSTALL
from mdsens.io.stored import read_run
from mdsens.types import Box, Configuration, FreeBox, PeriodicBox

Start = tuple[Configuration, np.ndarray | None]
_ARRAYS = {"position", "box", "species", "species_names", "diameters"}


def read_configuration(path: Path) -> Start:
    """Read where the particles are from a file, by its ending.

    ``.h5``: a results file of one relaxed state. ``.npz``: arrays ``position`` (n, d); ``box``, lengths (d,) or a
    matrix (d, d) with the lattice vectors as columns (without it the system is free); optionally ``species`` (n,),
    ``species_names`` and ``diameters`` (n,). ``.extxyz`` or ``.xyz``: read by ASE; a system without period along z and
    with z = 0 everywhere is two-dimensional; a column ``radius`` gives diameters.

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
    if not path.is_file():
        raise UserError(f"{path} does not exist: give the path of a file to start from.")
    try:
        return reader(path)
    except UserError:
        raise
    except ValueError as error:
        raise UserError(f"{path}: {error}") from error


def _from_hdf5(path: Path) -> Start:
    stored = read_run(path)
    return stored.configuration, stored.diameters if np.isfinite(stored.diameters).all() else None


def _from_npz(path: Path) -> Start:
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = dict(file)
    except (OSError, EOFError, zipfile.BadZipFile, ValueError) as error:
        raise UserError(f"{path} is not a readable .npz file ({error}): write it with numpy.savez.") from error
    if "position" not in arrays or not arrays.keys() <= _ARRAYS:
        raise UserError(f"{path} has the arrays {sorted(arrays)}; position is needed, allowed are {sorted(_ARRAYS)}.")
    position = _real(arrays["position"], "position")
    if position.ndim != 2:
        raise UserError(f"{path}: position has shape {position.shape}; it must be (n, 2) or (n, 3).")
    n, d = position.shape
    species = arrays.get("species", np.zeros(n, dtype=int))
    if species.dtype.kind not in "iu":
        raise UserError(f"{path}: species has type {species.dtype}; it must be integers from 0.")
    names = tuple(map(str, arrays["species_names"])) if "species_names" in arrays else _letters(species)
    configuration = Configuration(jnp.asarray(position), jnp.asarray(species), _box(arrays.get("box"), d), names)
    return configuration, _diameters(arrays.get("diameters"), n)


def _box(box: np.ndarray | None, dimension: int) -> Box:
    if dimension not in (2, 3):
        raise ValueError(f"positions have {dimension} components; there must be 2 or 3.")
    if box is None:
        return FreeBox(dimension)
    matrix = _real(box, "box")
    if matrix.shape not in ((dimension,), (dimension, dimension)):
        raise ValueError(
            f"box has shape {matrix.shape}; it must be lengths ({dimension},) or a matrix ({dimension}, {dimension})."
        )
    return PeriodicBox(np.diag(matrix) if matrix.ndim == 1 else matrix)


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


def _letters(species: np.ndarray) -> tuple[str, ...]:
    count = int(species.max(initial=0)) + 1
    return tuple(chr(ord("A") + k) if count <= 26 else f"S{k}" for k in range(count))


def _from_extxyz(path: Path) -> Start:
    try:
        import ase.io
    except ImportError as error:
        raise UserError(f"reading {path} needs the package ase; {INSTALL}.") from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", DeprecationWarning
            )  # ASE 3.29 sets array shapes, which NumPy 2.5 deprecates
            atoms: Any = ase.io.read(path, format="extxyz")
    except Exception as error:  # ASE raises whatever its parser stumbles over
        raise UserError(
            f"{path} is not a readable extended XYZ file ({error}): species must be chemical elements, or a column "
            "Z:I:1 must number them."
        ) from error
    dimension = _atoms_dimension(atoms)
    periodic = bool(atoms.pbc[0])
    box = np.asarray(atoms.cell[:])[:dimension, :dimension].T if periodic else None
    species, names = _atoms_species(atoms, path)
    radius = atoms.arrays.get("radius")
    configuration = Configuration(
        jnp.asarray(atoms.positions[:, :dimension], dtype=float), jnp.asarray(species), _box(box, dimension), names
    )
    return configuration, _diameters(None if radius is None else 2 * radius, len(atoms))


def _atoms_dimension(atoms: Any) -> int:
    flat = not atoms.pbc[2] and bool(np.all(atoms.positions[:, 2] == 0)) and bool(np.all(atoms.cell[:2, 2] == 0))
    dimension = 2 if flat else 3
    if len(set(atoms.pbc[:dimension].tolist())) > 1:
        raise ValueError(
            f'pbc is "{atoms.pbc}"; the system must be periodic along every one of its directions or along none.'
        )
    return dimension


def _atoms_species(atoms: Any, path: Path) -> tuple[np.ndarray, tuple[str, ...]]:
    """Number the species as the column ``Z`` orders them; their names are those of the text file's species column."""
    _, first, species = np.unique(atoms.numbers, return_index=True, return_inverse=True)
    written = _species_column(path, len(atoms))
    names = written[first] if written is not None else np.array(atoms.get_chemical_symbols())[first]
    return species, tuple(map(str, names))


def _species_column(path: Path, n: int) -> np.ndarray | None:
    """Return the first column where it is the species: ASE replaces names that are no chemical symbols."""
    lines = path.read_text(encoding="utf-8").splitlines()
    if "Properties=species:S:1:" not in lines[1]:
        return None
    return np.array([line.split()[0] for line in lines[2 : 2 + n]])


_READERS: dict[str, Callable[[Path], Start]] = {
    ".h5": _from_hdf5,
    ".npz": _from_npz,
    ".extxyz": _from_extxyz,
    ".xyz": _from_extxyz,
}
