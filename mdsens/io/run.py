"""One relaxed state with its sensitivities, written to HDF5."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from mdsens.energy import PairPotential, Potential, State
from mdsens.energy.entries import Entries
from mdsens.energy.paths import entries
from mdsens.io import certified, h5md
from mdsens.io.hdf5 import new_file, write_attributes, write_texts
from mdsens.io.pressure import write_pressure
from mdsens.io.provenance import Provenance, write_provenance
from mdsens.io.tables import Groups, write_groups
from mdsens.neighbors import numbered_pairs
from mdsens.relaxation import Relaxation
from mdsens.sensitivity.certified import ObservableSensitivity, PositionSensitivity
from mdsens.types import PeriodicBox

KIND = "run"
ANALYSES = "analyses"
LAYOUT = ("fields", "types", "mixing_rules")


@dataclasses.dataclass(frozen=True)
class Run:
    """What one run of ``relax`` or ``sensitivity`` found.

    Attributes:
        relaxation: The relaxed state.
        positions: dx/dp; ``no_sensitivity(relaxation)`` when none was asked for.
        observables: dO/dp of every observable.
        provenance: Where it comes from.
        analyses: Further arrays, numbers and texts by group and name, such as a comparison or a spectrum.
    """

    relaxation: Relaxation
    positions: PositionSensitivity
    observables: tuple[ObservableSensitivity, ...]
    provenance: Provenance
    analyses: Groups = dataclasses.field(default_factory=dict)


def no_sensitivity(relaxation: Relaxation) -> PositionSensitivity:
    """Return the sensitivity with no entries, for a run that only relaxed."""
    return certified.no_entries(
        relaxation.state.configuration.position.shape, relaxation.max_force, relaxation.network.one_sided
    )


def write_run(path: Path, run: Run, *, overwrite: bool = False) -> None:
    """Write one relaxed state with its sensitivities to HDF5.

    Args:
        path: The file, usually ``NAME.h5``.
        run: What to write.
        overwrite: Whether a file of that name may be replaced.

    Raises:
        UserError: When the file cannot be written, or exists and must not be replaced; nothing is left under the name.
    """
    with new_file(Path(path), KIND, overwrite=overwrite) as file:
        fill(file, run)


def fill(file: Any, run: Run) -> None:
    """Write a run into an open file."""
    relaxation = run.relaxation
    configuration = relaxation.state.configuration
    position, backbone = np.asarray(configuration.position), relaxation.network.backbone
    box = configuration.box
    box_matrix, periodic = (np.asarray(box.matrix), box.periodic) if isinstance(box, PeriodicBox) else (None, ())
    diameters = particle_diameters(relaxation.state)
    results = {"relaxation": relaxation.verdict.value, **run.provenance.results}
    h5md.write_trajectory(
        file,
        position,
        np.asarray(configuration.species),
        box_matrix,
        species_names=configuration.species_names,
        step=len(relaxation.history.energy),
        periodic=periodic,
    )
    h5md.write_connectivity(file, configuration.topology)
    file.create_group("sensitivity", track_order=True)
    names = certified.write_positions(file, run.positions, backbone)
    for observable in run.observables:
        certified.write_observable(file, observable)
    h5md.write_path(file, relaxation.history.path_step, relaxation.history.path)
    h5md.write_amber(file, diameters / 2, names)
    _write_relaxation(file, relaxation)
    if relaxation.state.barostat is not None and relaxation.box is not None:
        asked, strains = float(relaxation.state.barostat.pressure), np.asarray(relaxation.state.barostat.strains)
        write_pressure(file, asked, strains, relaxation.box, run.positions.box)
    write_groups(file.create_group(ANALYSES), run.analyses)
    _write_parameters(file, relaxation.state, diameters)
    write_provenance(file, dataclasses.replace(run.provenance, results=results))


def particle_diameters(state: State) -> np.ndarray:
    """Return the length (sigma) of every particle's pair with its like, shape (n,); NaN where no term has one."""
    n = state.configuration.n_particles
    law = next((term for _, term in state.potential.terms() if isinstance(term, PairPotential)), None)
    if law is None:
        return np.full(n, np.nan)
    everyone = jnp.arange(n)
    like = numbered_pairs(everyone, everyone, state.configuration.dimension)
    return np.asarray(law.reach(state.configuration, like)) / law.cutoff


def _write_relaxation(file: Any, relaxation: Relaxation) -> None:
    """Store the verdict, the numbers of the state, its network and the minimiser's history as ``/relaxation``."""
    group = file.create_group("relaxation")
    network, history = relaxation.network, relaxation.history
    for name in ("energy", "max_force", "newton"):
        group[name] = getattr(history, name)
    group["backbone"] = network.backbone
    if relaxation.state.configuration.held is not None:
        group["held"] = np.asarray(relaxation.state.configuration.held)
    group["contacts"] = np.stack([network.i, network.j], axis=1)
    group["contact_images"] = network.shift.T
    scalars = {name: getattr(relaxation, name) for name in ("energy", "max_force", "force_unit", "pressure", "seconds")}
    labels = {"verdict": relaxation.verdict.value, "sentence": relaxation.verdict.sentence}
    write_attributes(group, {**labels, **scalars, "one_sided": network.one_sided})
    rule = relaxation.settings.rule(relaxation.state.configuration.n_particles)
    settings = dataclasses.asdict(dataclasses.replace(relaxation.settings, minimizer=rule))
    write_attributes(group.create_group("settings"), {"minimizer": rule.words, **_flat(settings)})
    measured = {name: scalars[name] for name in ("energy", "max_force", "pressure")}
    h5md.write_observables(file, {name: value for name, value in measured.items() if np.isfinite(value)})


def _write_parameters(file: Any, state: State, diameters: np.ndarray) -> None:
    """Store the potential's terms, every parameter entry and the diameters as ``/parameters``."""
    group = file.create_group("parameters")
    known = list(entries(state.under(None)))
    write_texts(group, "paths", [entry.path for entry in known])
    write_texts(group, "units", [entry.unit for entry in known])
    group["values"] = np.array([entry.value for entry in known])
    group["diameters"] = diameters
    terms = group.create_group("terms", track_order=True)
    for name, term in state.potential.terms():
        held = terms.create_group(name)
        write_attributes(held, {"law": term.name, **_static_fields(term)})
        layout = list(stored_layout(term))
        for column, texts in zip(LAYOUT, zip(*layout, strict=True) if layout else ((),) * 3, strict=True):
            write_texts(held, column, texts)


def stored_layout(term: Potential) -> Iterator[tuple[str, str, str]]:
    """Yield name, type and mixing rule of every parameter of a term, in the order of their entries."""
    for path, _, node in term.nodes():
        rule = getattr(node, "mixing", None)
        words = "" if rule is None else getattr(rule, "__name__", repr(rule))
        yield path.removeprefix(f"{term.name}."), type(node).__name__ if isinstance(node, Entries) else "array", words


def _static_fields(potential: Potential) -> dict[str, Any]:
    fields = {field.name: getattr(potential, field.name) for field in dataclasses.fields(potential)}
    return {name: value for name, value in fields.items() if isinstance(value, bool | int | float | str)}


def _flat(fields: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in fields.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return flat
