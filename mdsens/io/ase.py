"""Configurations from ASE: its atoms, and the extended XYZ files that it reads."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from mdsens.errors import UserError
from mdsens.io.arrays import Start, box_of, diameters_of
from mdsens.io.exports import INSTALL
from mdsens.io.frames import last_frame
from mdsens.types import Configuration


def from_extxyz(path: Path) -> Start:
    """Read an extended XYZ file's last frame.

    Raises:
        UserError: When ASE is missing or cannot read it.
        ValueError: When it makes no configuration.
    """
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
    return from_atoms(atoms, species, names), diameters_of(None if radius is None else 2 * radius, len(atoms))


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
        box_of(box, dimension, periodic),
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
