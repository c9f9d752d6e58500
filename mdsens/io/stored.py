"""One relaxed state with its sensitivities, read back as plain arrays."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from mdsens.errors import UserError
from mdsens.io import certified, h5md
from mdsens.io.hdf5 import read_attributes, read_texts, stored_file
from mdsens.io.pressure import StoredPressure, read_pressure
from mdsens.io.provenance import Provenance, read_provenance
from mdsens.io.run import ANALYSES, KIND
from mdsens.io.tables import read_groups
from mdsens.relax import History
from mdsens.results import Verdict
from mdsens.sensitivity.records import ObservableSensitivity, PositionSensitivity
from mdsens.types import Box, Configuration, FreeBox, PeriodicBox


@dataclasses.dataclass(frozen=True)
class StoredRun:
    """A run as its file has it: NumPy arrays, numbers and texts.

    Attributes:
        position: Relaxed real coordinates, shape (n, d), units of length.
        box_matrix: Lattice vectors as columns, shape (d, d); None for a free system.
        species: Species indices, shape (n,).
        species_names: One name per species.
        diameters: Length of every particle's like pair (sigma), shape (n,); NaN for potentials without one.
        backbone: True for particles that are held in place, shape (n,).
        contacts: Backbone contacts (i, j), shape (c, 2).
        one_sided: Whether a backbone contact is within a relative 1e-9 of touching.
        potential: Name of the potential.
        potential_fields: Its static fields.
        parameter_paths: Name of every parameter entry: the potential's, in the order of its leaves, then the box's.
        parameter_values: Their values, same length.
        parameter_units: Their units: "length", "energy" or "none".
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
    species: np.ndarray
    species_names: tuple[str, ...]
    diameters: np.ndarray
    backbone: np.ndarray
    contacts: np.ndarray
    one_sided: bool
    potential: str
    potential_fields: Mapping[str, Any]
    parameter_paths: tuple[str, ...]
    parameter_values: np.ndarray
    parameter_units: tuple[str, ...]
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
        box: Box = FreeBox(self.position.shape[1]) if self.box_matrix is None else PeriodicBox(self.box_matrix)
        return Configuration(jnp.asarray(self.position), jnp.asarray(self.species), box, self.species_names)


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
        kind = str(file.attrs["kind"])
        if kind != KIND:
            raise UserError(
                f"{path} holds the results of {kind!r}, not one relaxed state: give a file of relax or sensitivity."
            )
        return _stored(file)


def restored_params(stored: StoredRun, template: PyTree) -> PyTree:
    """Return the parameters of a stored run in the shape of ``template``.

    Args:
        stored: The run.
        template: Parameters of the same potential, with any values.

    Returns:
        ``template`` with the stored values in its leaves, bit for bit.

    Raises:
        UserError: When the template has another number of entries.
    """
    leaves, structure = jax.tree.flatten(template)
    values = stored.parameter_values[[not path.startswith("box.") for path in stored.parameter_paths]]
    if sum(leaf.size for leaf in leaves) != len(values):
        raise UserError(
            f"the file has {len(values)} potential parameters, but the configuration makes another number of them."
        )
    parts = np.split(values, np.cumsum([leaf.size for leaf in leaves])[:-1])
    filled = [jnp.asarray(part.reshape(leaf.shape)) for part, leaf in zip(parts, leaves, strict=True)]
    return jax.tree.unflatten(structure, filled)


def _stored(file: Any) -> StoredRun:
    relaxation, parameters = file["relaxation"], file["parameters"]
    position = h5md.read_position(file)
    species, species_names = h5md.read_species(file)
    path_step, path = h5md.read_path(file)
    state = read_attributes(relaxation)
    verdict = Verdict(state.pop("verdict"))
    del state["sentence"]
    nothing = certified.no_entries(position.shape, state["max_force"], state["one_sided"])
    return StoredRun(
        position=position,
        box_matrix=h5md.read_box_matrix(file),
        species=species,
        species_names=species_names,
        diameters=np.asarray(parameters["diameters"]),
        backbone=np.asarray(relaxation["backbone"]),
        contacts=np.asarray(relaxation["contacts"]),
        potential=read_attributes(parameters)["potential"],
        potential_fields=read_attributes(parameters["potential_fields"]),
        parameter_paths=read_texts(parameters["paths"]),
        parameter_values=np.asarray(parameters["values"]),
        parameter_units=read_texts(parameters["units"]),
        verdict=verdict,
        settings=read_attributes(relaxation["settings"]),
        history=History(
            energy=np.asarray(relaxation["energy"]),
            max_force=np.asarray(relaxation["max_force"]),
            newton=np.asarray(relaxation["newton"]),
            path_step=path_step,
            path=path,
        ),
        positions=certified.read_positions(file, position.shape) or nothing,
        observables={found.name: found for found in certified.read_observables(file)},
        provenance=read_provenance(file),
        constant_pressure=read_pressure(file, position.shape),
        analyses=read_groups(file[ANALYSES]) if ANALYSES in file else {},
        **state,
    )
