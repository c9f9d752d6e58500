"""One relaxed state with its sensitivities, read back as plain arrays."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from mdsens.errors import UserError
from mdsens.io import certified, h5md
from mdsens.io.hdf5 import kind_in, stored_file
from mdsens.io.pressure import StoredPressure, read_pressure
from mdsens.io.provenance import Provenance, read_provenance
from mdsens.io.reading import attributes, child, damage, numbers, read_attributes, texts
from mdsens.io.run import ANALYSES, KIND, LAYOUT
from mdsens.io.tables import read_groups
from mdsens.relaxation import History
from mdsens.results import Verdict
from mdsens.sensitivity.certified import ObservableSensitivity, PositionSensitivity
from mdsens.types import Box, Configuration, FreeBox, Groups, PeriodicBox


@dataclasses.dataclass(frozen=True)
class StoredTerm:
    """One term of a stored potential.

    Attributes:
        name: Its name, with which its parameters' paths begin.
        law: Name of the law.
        fields: Its static fields.
        layout: Name, type and mixing rule of every parameter, in their order.
    """

    name: str
    law: str
    fields: Mapping[str, Any]
    layout: tuple[tuple[str, str, str], ...]


@dataclasses.dataclass(frozen=True)
class StoredRun:
    """A run as its file has it: NumPy arrays, numbers and texts.

    Attributes:
        position: Relaxed real coordinates, shape (n, d), units of length.
        box_matrix: Lattice vectors as columns, shape (d, d); None for a free system.
        periodic: Along which of them the box is periodic.
        species: Species indices, shape (n,).
        species_names: One name per species.
        diameters: Length of every particle's like pair (sigma), shape (n,); NaN for potentials without one.
        backbone: True for particles that are held in place, shape (n,).
        contacts: Backbone contacts (i, j), shape (c, 2).
        contact_images: Image counts S of their second particles: the vector is x_i - x_j - B S, shape (c, d).
        one_sided: Whether a backbone contact is within a relative 1e-9 of touching.
        terms: The terms of the potential.
        parameter_paths: Name of every parameter entry: the potential's, in the order of its leaves, then the box's.
        parameter_values: Their values, same length.
        parameter_units: Their units in words, such as "length", "energy/length^2" or "none".
        topology: Groups of particles by name.
        held: Components that were held, shape (n, d); None where all were free.
        verdict: What became of the relaxation.
        energy: Potential energy, units of energy.
        max_force: Largest force, units of energy per length.
        force_unit: The unit epsilon/sigma of force tolerances.
        pressure: Pressure, units of energy per volume; NaN for a free system.
        seconds: Wall time of the relaxation.
        settings: What the relaxation was asked for; names like ``minimizer.dt_start``.
        history: The way of the relaxation.
        positions: dx/dp; no entries when none was asked for.
        observables: dO/dp, by name.
        provenance: Where it comes from.
        constant_pressure: How the box was relaxed besides and responds; None at fixed box.
        analyses: Further arrays, numbers and texts by group and name.
    """

    position: np.ndarray
    box_matrix: np.ndarray | None
    periodic: tuple[bool, ...]
    species: np.ndarray
    species_names: tuple[str, ...]
    diameters: np.ndarray
    backbone: np.ndarray
    contacts: np.ndarray
    contact_images: np.ndarray
    one_sided: bool
    terms: tuple[StoredTerm, ...]
    parameter_paths: tuple[str, ...]
    parameter_values: np.ndarray
    parameter_units: tuple[str, ...]
    topology: Mapping[str, Groups]
    held: np.ndarray | None
    verdict: Verdict
    energy: float
    max_force: float
    force_unit: float
    pressure: float
    seconds: float
    settings: Mapping[str, Any]
    history: History
    positions: PositionSensitivity
    observables: Mapping[str, ObservableSensitivity]
    provenance: Provenance
    constant_pressure: StoredPressure | None
    analyses: Mapping[str, Mapping[str, np.ndarray | str]]

    @property
    def configuration(self) -> Configuration:
        """The relaxed configuration, bit for bit."""
        box: Box = (
            FreeBox(self.position.shape[1]) if self.box_matrix is None else PeriodicBox(self.box_matrix, self.periodic)
        )
        return Configuration(
            jnp.asarray(self.position),
            jnp.asarray(self.species),
            box,
            self.species_names,
            dict(self.topology),
            None if self.held is None else jnp.asarray(self.held),
        )


def read_run(path: Path) -> StoredRun:
    """Read what ``write_run`` wrote.

    Args:
        path: The file.

    Returns:
        The run as plain arrays.

    Raises:
        UserError: When the file is missing, not HDF5, damaged, not ours, of a newer schema, or holds something else.
    """
    with stored_file(Path(path)) as file:
        kind = kind_in(file)
        if kind != KIND:
            raise UserError(
                f"{path} holds the results of {kind!r}, not one relaxed state: give a file of relax or sensitivity."
            )
        return _stored(file)


_MEASURED = dict.fromkeys(("energy", "max_force", "force_unit", "pressure", "seconds"), ("f", ()))
_STATE = {**_MEASURED, "verdict": ("U", ()), "sentence": ("U", ()), "one_sided": ("b", ())}


def _stored(file: Any) -> StoredRun:
    relaxation = child(file, "relaxation")
    position = h5md.read_position(file)
    n = len(position)
    species, species_names = h5md.read_species(file, n)
    path_step, path = h5md.read_path(file, n)
    box_matrix, periodic = h5md.read_box(file)
    state = attributes(relaxation, _STATE)
    del state["sentence"]
    names = {verdict.value for verdict in Verdict}
    if state["verdict"] not in names:
        raise damage(relaxation, "@verdict", f"none of {', '.join(sorted(names))}")
    energy = numbers(relaxation, "energy", (None,))
    contacts = numbers(relaxation, "contacts", (None, 2), "i")
    if contacts.size and not 0 <= contacts.min() <= contacts.max() < n:
        raise damage(relaxation, "contacts", "a particle that is not there")
    contact_images = numbers(relaxation, "contact_images", (len(contacts), position.shape[1]), "i")
    nothing = certified.no_entries(position.shape, state["max_force"], state["one_sided"])
    return StoredRun(
        position=position,
        box_matrix=box_matrix,
        periodic=periodic,
        species=species,
        species_names=species_names,
        backbone=numbers(relaxation, "backbone", (n,), "b"),
        contacts=contacts,
        contact_images=contact_images,
        settings=read_attributes(child(relaxation, "settings")),
        history=History(
            energy=energy,
            max_force=numbers(relaxation, "max_force", energy.shape),
            newton=numbers(relaxation, "newton", energy.shape, "b"),
            path_step=path_step,
            path=path,
        ),
        positions=certified.read_positions(file, (n, position.shape[1])) or nothing,
        observables={found.name: found for found in certified.read_observables(file)},
        provenance=read_provenance(file),
        held=numbers(relaxation, "held", position.shape, "b") if "held" in relaxation else None,
        topology=h5md.read_connectivity(file, n, position.shape[1]),
        constant_pressure=read_pressure(file, (n, position.shape[1])),
        analyses=read_groups(file[ANALYSES], file[ANALYSES]) if ANALYSES in file else {},
        **_read_parameters(child(file, "parameters"), n),
        **state | {"verdict": Verdict(state["verdict"])},
    )


def _read_parameters(group: Any, n_particles: int) -> dict[str, Any]:
    """Return the fields of ``StoredRun`` that say what the potential is."""
    paths, terms = texts(group, "paths"), child(group, "terms")
    return {
        "diameters": numbers(group, "diameters", (n_particles,)),
        "terms": tuple(_read_term(child(terms, name), name) for name in terms),
        "parameter_paths": paths,
        "parameter_values": numbers(group, "values", (len(paths),), finite=True),
        "parameter_units": texts(group, "units", len(paths)),
    }


def _read_term(group: Any, name: str) -> StoredTerm:
    fields = texts(group, LAYOUT[0])
    layout = zip(fields, *(texts(group, column, len(fields)) for column in LAYOUT[1:]), strict=True)
    settings = read_attributes(group)
    law = settings.pop("law", None)
    if not isinstance(law, str):
        raise damage(group, "@law", "there is no name")
    return StoredTerm(name, law, settings, tuple(layout))
