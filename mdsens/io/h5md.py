"""The ``/particles`` and ``/observables`` groups, laid out so that H5MD readers and OVITO open the file.

MDAnalysis takes the first particles group and wants step and time arrays beside every value; znh5md wants the species
time-dependent, too; OVITO reads AMBER NetCDF-4, which is HDF5 with dimension scales, so ``/AMBER`` holds hard links to
the H5MD datasets. A plane is stored with z = 0, not periodic along z. Reduced units: no unit attributes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from mdsens.io.hdf5 import write_attributes
from mdsens.io.reading import attributes, child, damage, numbers, read_attributes
from mdsens.types import Groups

TRAJECTORY = "particles/trajectory"
_PATH = "particles/path"
_SHIFTS, _KINDS = "_images", "_kinds"  # added to the name of a topology
_MOST_ARROWS = 64  # vector properties that a viewer's menu can hold; HDF5's back references grow with them, too


def sensitivity_name(path: str) -> str:
    """Return the name of dx/dp in the file: ``d_position_d_soft_sphere_sigma_A_B`` for ``soft_sphere.sigma[A,B]``."""
    return "d_position_d_" + re.sub(r"[^A-Za-z0-9]+", "_", path).strip("_")


def sensitivity_names(paths: tuple[str, ...]) -> tuple[str, ...]:
    """Return one name per path; names that would collide get a running number."""
    names = [sensitivity_name(path) for path in paths]
    return tuple(name if names.count(name) == 1 else f"{name}_{k}" for k, name in enumerate(names))


def write_trajectory(
    file: Any,
    position: np.ndarray,
    species: np.ndarray,
    box_matrix: np.ndarray | None,
    *,
    species_names: tuple[str, ...],
    step: int,
    periodic: tuple[bool, ...] = (),
) -> None:
    """Write one relaxed state as the only frame of ``/particles/trajectory``.

    Args:
        file: The open file.
        position: Real coordinates, shape (n, d).
        species: Species indices, shape (n,).
        box_matrix: Lattice vectors as columns, shape (d, d); None for a free system.
        species_names: One name per species.
        step: Minimiser steps up to this state; also stored as the time.
        periodic: Along which lattice vectors the box is periodic; all by default.
    """
    file.create_group("particles", track_order=True)  # MDAnalysis reads the first group
    group = file.create_group(TRAJECTORY)
    steps = {"step": np.array([step]), "time": np.array([float(step)])}
    _create_element(group, "position", _spatial(position)[None], steps)
    shared = {name: group[f"position/{name}"] for name in steps}
    _create_element(group, "species", species.astype(np.int32)[None], shared)
    write_attributes(group["species"], {"species_names": species_names})
    repeats = periodic or (box_matrix is not None,) * position.shape[1]
    box = group.create_group("box")
    write_attributes(box, {"dimension": np.int32(3), "boundary": _boundary(repeats)})
    if box_matrix is not None:
        _create_element(box, "edges", _edges(box_matrix)[None], shared)
    write_attributes(group, {"spatial_dimension": position.shape[1]})


def write_vectors(file: Any, name: str, values: np.ndarray, attributes: Mapping[str, Any]) -> None:
    """Add a vector per particle, shape (n, d), to the frame of ``/particles/trajectory``."""
    group = file[TRAJECTORY]
    shared = {key: group[f"position/{key}"] for key in ("step", "time")}
    _create_element(group, name, _spatial(values)[None], shared)
    write_attributes(group[name], attributes)


def write_path(file: Any, steps: np.ndarray, positions: np.ndarray) -> None:
    """Write the minimiser's way, positions of shape (f, n, d), as ``/particles/path``; box and species are fixed."""
    trajectory, group = file[TRAJECTORY], file.create_group(_PATH)
    times = {"step": steps, "time": steps.astype(float)}
    _create_element(group, "position", _spatial(positions), times, compressed=True)
    group.create_dataset("species", data=trajectory["species/value"][0])
    box = group.create_group("box")
    write_attributes(box, read_attributes(trajectory["box"]))
    if "edges" in trajectory["box"]:
        box.create_dataset("edges", data=trajectory["box/edges/value"][0])
    write_attributes(group, {"spatial_dimension": trajectory.attrs["spatial_dimension"]})


def write_observables(file: Any, values: Mapping[str, float]) -> None:
    """Write scalars of the state as ``/observables/<name>/value``, shape (1,)."""
    position = file[TRAJECTORY]["position"]
    shared = {name: position[name] for name in ("step", "time")}
    for name, value in values.items():
        _create_element(file.require_group("observables"), name, np.array([value]), shared)


def write_connectivity(file: Any, topology: Mapping[str, Groups]) -> None:
    """Write groups of particles as H5MD's ``/connectivity/<name>``, with images of further members and kinds."""
    for name, groups in topology.items():
        members = file.require_group("connectivity").create_dataset(name, data=np.asarray(groups.index))
        members.attrs["particles_group"] = file[TRAJECTORY].ref
        file["connectivity"].create_dataset(f"{name}{_SHIFTS}", data=np.asarray(groups.shift))
        file["connectivity"].create_dataset(f"{name}{_KINDS}", data=np.asarray(groups.kind))


def read_connectivity(file: Any, n_particles: int, dimension: int) -> dict[str, Groups]:
    """Return the groups of particles by name.

    Raises:
        UserError: When an array is missing or holds something else.
    """
    if "connectivity" not in file:
        return {}
    group, found = child(file, "connectivity"), {}
    for name in [name for name in group if not name.endswith((_SHIFTS, _KINDS))]:
        index = numbers(group, name, (None, None), "i")
        m, k = index.shape
        if index.size and not 0 <= index.min() <= index.max() < n_particles:
            raise damage(group, name, "a particle that is not there")
        shift = numbers(group, f"{name}{_SHIFTS}", (m, k - 1, dimension), "i")
        kind = numbers(group, f"{name}{_KINDS}", (m,), "i")
        try:
            found[name] = Groups(index, shift, kind)
        except ValueError as error:
            raise damage(group, name, str(error)) from None
    return found


def write_amber(file: Any, radii: np.ndarray, names: tuple[str, ...]) -> None:
    """Add ``/AMBER``: hard links through which OVITO sees the frame, each sensitivity a vector property.

    OVITO's AMBER reader takes lengths and angles of the cell, so boxes whose first vector is not along x or whose
    second is not in the xy plane get no such group; ``export_extxyz`` serves them.

    Args:
        file: The open file with its trajectory written.
        radii: Radius to draw each particle with, shape (n,); NaN for none.
        names: Names of the sensitivities; OVITO gets the first 64 of them.
    """
    trajectory = file[TRAJECTORY]
    matrix = _matrix(trajectory["box/edges/value"][0]) if "edges" in trajectory["box"] else None
    if matrix is not None and not np.array_equal(matrix, np.triu(matrix)):
        return
    group = file.create_group("AMBER")
    for key, text in {"Conventions": "AMBER", "ConventionVersion": "1.0", "program": "mdsens"}.items():
        group.attrs[key] = np.bytes_(text)  # netCDF's text is of fixed length
    n = trajectory["position/value"].shape[1]
    for name, length in {"frame": 1, "atom": n, "spatial": 3, "cell_spatial": 3, "cell_angular": 3}.items():
        scale = group.create_dataset(name, shape=(length,), dtype=np.float32)
        scale.make_scale(f"This is a netCDF dimension but not a netCDF variable.{length:10d}")
    _link(group, "coordinates", trajectory["position/value"], ("frame", "atom", "spatial"))
    _link(group, "atom_types", trajectory["species/value"], ("frame", "atom"))
    _link(group, "time", trajectory["position/time"], ("frame",))
    for name in names[:_MOST_ARROWS]:
        _link(group, name, trajectory[f"{name}/value"], ("frame", "atom", "spatial"))
    if np.isfinite(radii).all():
        _link(group, "radius", group.create_dataset("radius", data=radii[None]), ("frame", "atom"))
    if matrix is not None:
        lengths = np.linalg.norm(matrix, axis=0)
        cosines = (matrix / lengths).T @ (matrix / lengths)
        angles = np.degrees(np.arccos([cosines[1, 2], cosines[0, 2], cosines[0, 1]]))
        for name, values, axis in (("cell_lengths", lengths, "cell_spatial"), ("cell_angles", angles, "cell_angular")):
            _link(group, name, group.create_dataset(name, data=values[None]), ("frame", axis))


def _link(group: Any, name: str, dataset: Any, scales: tuple[str, ...]) -> None:
    if name not in group:
        group[name] = dataset
    for axis, scale in enumerate(scales):
        dataset.dims[axis].attach_scale(group[scale])


def read_position(file: Any) -> np.ndarray:
    """Return the relaxed positions, shape (n, d)."""
    found = _spatial_vectors(child(file, TRAJECTORY), "position", None)
    if not len(found):
        raise damage(file, f"{TRAJECTORY}/position", "no particle")
    return found


def read_vectors(file: Any, name: str, n_particles: int) -> np.ndarray:
    """Return a vector per particle, shape (n, d)."""
    return _spatial_vectors(child(file, TRAJECTORY), name, n_particles)


def _spatial_vectors(group: Any, name: str, n: int | None) -> np.ndarray:
    return numbers(group, f"{name}/value", (1, n, 3), finite=True)[0, :, : _dimension(group)]


def read_path(file: Any, n_particles: int) -> tuple[np.ndarray, np.ndarray]:
    """Return step counts, shape (f,), and positions, shape (f, n, d), of the minimiser's way."""
    group = child(file, _PATH)
    steps = numbers(group, "position/step", (None,), "i")
    frames = numbers(group, "position/value", (len(steps), n_particles, 3))
    dimension = _dimension(group)
    if dimension != _dimension(child(file, TRAJECTORY)):
        raise damage(group, "@spatial_dimension", "not that of the state")
    return steps, frames[:, :, :dimension]


def read_species(file: Any, n_particles: int) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return species indices, shape (n,), and their names."""
    group = child(file, f"{TRAJECTORY}/species")
    names = attributes(group, {"species_names": ("U", (None,))})["species_names"]
    species = numbers(group, "value", (1, n_particles), "i")[0].astype(np.int64)
    if len(set(names)) < len(names):
        raise damage(group, "@species_names", "two species of one name")
    if not ((species >= 0) & (species < len(names))).all():
        raise damage(group, "value", "a species without a name")
    return species, names


def read_box(file: Any) -> tuple[np.ndarray | None, tuple[bool, ...]]:
    """Return the lattice vectors as columns, shape (d, d), and which are periods; None for a free system."""
    group = child(file, TRAJECTORY)
    box, d = child(group, "box"), _dimension(group)
    boundary = attributes(box, {"dimension": ("i", ()), "boundary": ("U", (3,))})["boundary"]
    if boundary == ("none",) * 3 and "edges" not in box:
        return None, (False,) * d
    periodic = tuple(word == "periodic" for word in boundary[:d])
    if boundary != _boundary(periodic) or not any(periodic):
        raise damage(box, "@boundary", f"periodic along {boundary.count('periodic')} of {d} axes")
    edges = child(box, "edges").get("value")
    flat = edges is not None and edges.shape == (1, 3)
    matrix = _matrix(numbers(box, "edges/value", (1, 3) if flat else (1, 3, 3), finite=True)[0])[:d, :d]
    if not np.linalg.det(matrix) > 0:
        raise damage(box, "edges/value", "a box without volume")
    return matrix, periodic


def _dimension(group: Any) -> int:
    found = attributes(group, {"spatial_dimension": ("i", ())})["spatial_dimension"]
    if found not in (2, 3):
        raise damage(group, "@spatial_dimension", f"{found} where 2 or 3 belongs")
    return int(found)


def _boundary(periodic: tuple[bool, ...]) -> tuple[str, ...]:
    return tuple("periodic" if repeats else "none" for repeats in (*periodic, False)[:3])


def _create_element(
    group: Any, name: str, value: np.ndarray, steps: Mapping[str, Any], *, compressed: bool = False
) -> None:
    """Write an H5MD element; ``steps`` holds arrays, or datasets of another element to share by hard links."""
    element = group.create_group(name)
    for key, entry in steps.items():
        element[key] = entry
    options = {"compression": "gzip", "compression_opts": 1, "shuffle": True} if compressed and value.size else {}
    element.create_dataset("value", data=value, **options)


def _spatial(vectors: np.ndarray) -> np.ndarray:
    """Return vectors with three components, the missing ones zero."""
    padding = [(0, 0)] * (vectors.ndim - 1) + [(0, 3 - vectors.shape[-1])]
    return np.pad(vectors, padding)


def _edges(box_matrix: np.ndarray) -> np.ndarray:
    """Return H5MD's edges: three lengths of a cuboid, or edge vectors as rows.

    A plane gets the height of its longest edge: OVITO and MDAnalysis take every direction for periodic, and images
    above and below must not touch.
    """
    full = np.eye(3) * np.linalg.norm(box_matrix, axis=0).max()
    full[: len(box_matrix), : len(box_matrix)] = box_matrix
    diagonal = np.diag(full)
    return diagonal.copy() if np.array_equal(full, np.diag(diagonal)) else full.T


def _matrix(edges: np.ndarray) -> np.ndarray:
    return np.diag(edges) if edges.ndim == 1 else edges.T
