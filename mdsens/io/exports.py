"""Files for viewers: extended XYZ (text, all digits) and GSD (truly two-dimensional)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from mdsens.errors import UserError
from mdsens.io.h5md import sensitivity_names
from mdsens.io.replacing import replacing
from mdsens.io.stored import StoredRun, read_run
from mdsens.types import Configuration, PeriodicBox

_ARROWS = "disp"  # OVITO 3.17 reads it as its property Displacement; a column called Displacement it reads as zeros
INSTALL = "install it with: pip install 'mdsens[formats]'"


def export_extxyz(path: Path, output: Path, parameter: str | None = None, *, overwrite: bool = False) -> None:
    """Write one relaxed state as extended XYZ, a sensitivity as OVITO's ``Displacement``.

    OVITO prepares arrows for that property, which its reader calls ``disp``. All digits of float64 are written (ASE's
    writer rounds to 8 decimals). The column ``Z`` numbers the species from 1 for ASE, which knows only chemical
    elements.

    Args:
        path: A results file of one relaxed state.
        output: The file to write.
        parameter: The entry whose dx/dp becomes the arrows; the first one by default.
        overwrite: Whether a file of that name may be replaced.

    Raises:
        UserError: When the file cannot be read or written, or has no sensitivity in that parameter.
    """
    stored = read_run(path)
    k = _chosen(stored, parameter)
    with replacing(Path(output), overwrite=overwrite) as temporary:
        temporary.write_text("\n".join(_extxyz_lines(stored, k)) + "\n", encoding="utf-8")


def _chosen(stored: StoredRun, parameter: str | None) -> int | None:
    paths = stored.positions.paths
    if parameter is None:
        return 0 if paths else None
    wanted = parameter.replace(" ", "")
    if wanted not in paths:
        known = ", ".join(paths[:8]) + (", ..." if len(paths) > 8 else "")
        hint = f"it has {known}" if paths else "it has none: run mdsens sensitivity"
        raise UserError(f"the file has no sensitivity in {parameter!r}; {hint}.")
    return paths.index(wanted)


def _extxyz_lines(stored: StoredRun, k: int | None) -> Iterator[str]:
    names = [stored.species_names[index] for index in stored.species]
    if any(set(name) & set(" \t\"'=") or not name for name in names):
        names = [f"type{index + 1}" for index in stored.species]
    columns = [("species:S:1", names), ("Z:I:1", [str(index + 1) for index in stored.species])]
    columns.append(("pos:R:3", _rows(stored.position)))
    if np.isfinite(stored.diameters).all():
        columns.append(("radius:R:1", [repr(float(d) / 2) for d in stored.diameters]))
    facts = [f"energy={stored.energy!r}"]
    if k is not None:
        columns.append((f"{_ARROWS}:R:3", _rows(stored.positions.values[k])))
        value = float(stored.positions.parameter_values[k])
        facts += [f'parameter="{stored.positions.paths[k]}"', f"parameter_value={value!r}"]
    yield str(len(names))
    yield " ".join([*_cell(stored), "Properties=" + ":".join(name for name, _ in columns), *facts])
    yield from (" ".join(cells) for cells in zip(*(cells for _, cells in columns), strict=True))


def _rows(vectors: np.ndarray) -> list[str]:
    padding = ["0.0"] * (3 - vectors.shape[1])
    return [" ".join([*map(repr, row), *padding]) for row in vectors.tolist()]


def _cell(stored: StoredRun) -> list[str]:
    """Return lattice vectors and periodicity; a plane gets the height of its longest edge, without period."""
    if stored.box_matrix is None:
        return ['pbc="F F F"']
    d = len(stored.box_matrix)
    full = np.eye(3) * np.linalg.norm(stored.box_matrix, axis=0).max()
    full[:d, :d] = stored.box_matrix
    periodic = " ".join("T" if repeats else "F" for repeats in (*stored.periodic, False)[:3])
    return [f'Lattice="{" ".join(map(repr, full.T.ravel().tolist()))}"', f'pbc="{periodic}"']


def to_atoms(configuration: Configuration) -> Any:
    """Return a configuration as ASE's ``Atoms``.

    A plane gets z = 0 and the height of its longest edge, without period. Species whose names are no chemical symbols
    become X with numbers from 1 in the array ``Z``, which the array ``species`` names.

    Args:
        configuration: The particles.

    Raises:
        UserError: When ASE is not installed.
    """
    try:
        from ase import Atoms
        from ase.constraints import FixCartesian
        from ase.data import atomic_numbers
    except ImportError as error:
        raise UserError(f"ASE's Atoms need the package ase; {INSTALL}.") from error
    box, d = configuration.box, configuration.dimension
    names = [configuration.species_names[index] for index in np.asarray(configuration.species)]
    symbols = names if set(names) <= atomic_numbers.keys() else ["X"] * len(names)
    atoms = Atoms(symbols, positions=_padded(np.asarray(configuration.position)))
    if isinstance(box, PeriodicBox):
        cell = np.eye(3) * np.linalg.norm(np.asarray(box.matrix), axis=0).max()
        cell[:d, :d] = np.asarray(box.matrix).T
        atoms.set_cell(cell)
        atoms.set_pbc((*box.periodic, False)[:3])
    if symbols != names:
        atoms.set_array("species", np.array(names))
        atoms.set_array("Z", np.asarray(configuration.species) + 1)
    if configuration.held is not None:
        held = np.asarray(configuration.held)
        for mask in np.unique(held[held.any(axis=1)], axis=0):
            atoms.constraints.append(FixCartesian(np.flatnonzero((held == mask).all(axis=1)), (*mask, False)[:3]))
    return atoms


def export_gsd(path: Path, output: Path, *, overwrite: bool = False) -> None:
    """Write one relaxed state as GSD (HOOMD's format): two dimensions stay two, species become types.

    Positions are wrapped into the box and centred, in single precision, as the schema wants. The schema has no place
    for sensitivities: they are logged in double precision as ``particles/d_position_d_...``, beside
    ``particles/backbone``.

    Args:
        path: A results file of one relaxed state.
        output: The file to write.
        overwrite: Whether a file of that name may be replaced.

    Raises:
        UserError: When gsd is not installed, or the file cannot be read or written.
    """
    try:
        import gsd.hoomd
    except ImportError as error:
        raise UserError(f"writing GSD needs the package gsd; {INSTALL}.") from error
    stored = read_run(path)
    frame = _gsd_frame(stored, gsd.hoomd.Frame)
    with replacing(Path(output), overwrite=overwrite) as temporary, gsd.hoomd.open(temporary, "w") as file:
        file.append(frame)


def _gsd_frame(stored: StoredRun, new_frame: Callable[[], Any]) -> Any:
    frame = new_frame()
    d = stored.position.shape[1]
    position, upper, rotation = _centred(stored)
    particles, configuration = frame.particles, frame.configuration
    configuration.step = len(stored.history.energy)
    configuration.dimensions = d
    configuration.box = _gsd_box(upper)
    particles.N = len(stored.position)
    particles.types = list(stored.species_names)
    particles.typeid = stored.species
    particles.position = _padded(position)
    if np.isfinite(stored.diameters).all():
        particles.diameter = stored.diameters
    frame.log["particles/backbone"] = stored.backbone.astype(np.uint8)
    for name, values in zip(sensitivity_names(stored.positions.paths), stored.positions.values, strict=True):
        frame.log[f"particles/{name}"] = _padded(values @ rotation.T)
    frame.log["energy"] = np.array([stored.energy])
    return frame


def _centred(stored: StoredRun) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return positions about the box's centre, an upper triangular box (as GSD wants it), and the rotation to it."""
    position, d = stored.position, stored.position.shape[1]
    if stored.box_matrix is None:
        low, high = position.min(axis=0), position.max(axis=0)
        margin = float(np.nan_to_num(stored.diameters).max()) or 1.0
        return position - (low + high) / 2, np.diag(high - low + 2 * margin), np.eye(d)
    if not all(stored.periodic):
        raise UserError("GSD knows boxes that are periodic along every axis only: export extxyz instead.")
    orthogonal, upper = np.linalg.qr(stored.box_matrix)
    signs = np.sign(np.diag(upper))
    upper, rotation = signs[:, None] * upper, (orthogonal * signs).T
    fractional = position @ np.linalg.inv(stored.box_matrix).T
    return (fractional - np.floor(fractional) - 0.5) @ upper.T, upper, rotation


def _gsd_box(upper: np.ndarray) -> list[float]:
    """Return (Lx, Ly, Lz, xy, xz, yz); Lz = 0 in two dimensions."""
    full = np.zeros((3, 3))
    full[: len(upper), : len(upper)] = upper
    lengths = np.diag(full)
    depth = lengths[2] or 1.0
    return [*lengths.tolist(), full[0, 1] / lengths[1], full[0, 2] / depth, full[1, 2] / depth]


def _padded(vectors: np.ndarray) -> np.ndarray:
    return np.pad(vectors, [(0, 0), (0, 3 - vectors.shape[1])])
