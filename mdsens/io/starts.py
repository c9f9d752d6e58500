"""Configurations read from files: our own HDF5, NumPy's .npz, and extended XYZ through ASE."""

from __future__ import annotations

import math
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.lib import format as npy

from mdsens.errors import UserError
from mdsens.io.arrays import NAMES, Start, configuration_from, is_name
from mdsens.io.ase import from_extxyz
from mdsens.io.stored import read_run
from mdsens.types import LARGEST, Configuration, PeriodicBox

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
    return configuration_from(_arrays_in(path))


def _arrays_in(path: Path) -> dict[str, np.ndarray]:
    try:
        with zipfile.ZipFile(path) as file:
            members = {info.filename.removesuffix(".npy"): info for info in file.infolist()}
            if "position" in members and all(map(is_name, members)):
                return {name: _member(file, info) for name, info in members.items()}
    except Exception as error:  # a damaged or encrypted member raises whatever zipfile or its decoder stumbles over
        reason = str(error)[:100]
        raise UserError(f"{path} is not a readable .npz file ({reason}): write it with numpy.savez.") from error
    held = ", ".join(sorted(members)[:10]) + (", ..." if len(members) > 10 else "")
    known = ", ".join(sorted(NAMES))
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
    ".extxyz": from_extxyz,
    ".xyz": from_extxyz,
}
