"""What pictures take of a stored run: its packing, and the arrows of a derivative."""

from __future__ import annotations

import re

import numpy as np

from mdsens.io import StoredRun
from mdsens.plotting.geometry import mean_spacing
from mdsens.plotting.state import Arrows, Packing

_DOT = 0.15  # diameter of particles without one, in mean spacings


def packing_of(run: StoredRun) -> Packing:
    """Return what a picture of a run needs."""
    dimension = run.position.shape[1]
    repeats = _repeats(run)
    box = np.zeros((dimension, 0)) if run.box_matrix is None else run.box_matrix[:, repeats]
    held = np.zeros(run.position.shape, bool) if run.held is None else run.held
    immobile: np.ndarray = np.all(held, axis=1)
    shown = ~immobile[run.contacts.reshape(-1, 2)].all(axis=1)
    contacts = run.contacts.reshape(-1, 2)[shown]
    i, j = contacts.T
    images = run.contact_images[shown][:, repeats] @ box.T
    bonds = run.position[j] + images - run.position[i]
    sized = np.isfinite(run.diameters)
    return Packing(
        position=run.position,
        diameter=np.where(sized, run.diameters, _DOT * mean_spacing(run.position)),
        species=run.species,
        species_names=run.species_names,
        box=box,
        contacts=contacts,
        bonds=bonds,
        overlap=1.0 - np.linalg.norm(bonds, axis=1) / _contact_lengths(run, i, j),
        rattlers=~run.backbone,
        held=np.asarray(held.any(axis=1)),
        dots=not sized.all(),
    )


def _repeats(run: StoredRun) -> np.ndarray:
    """Return the numbers of the axes along which the box repeats."""
    return np.flatnonzero(run.periodic) if run.box_matrix is not None else np.zeros(0, int)


def arrows_of(run: StoredRun, k: int) -> Arrows:
    """Return dx/dp of the k-th parameter of a run."""
    sensitivity, certificate = run.positions, run.positions.certificate
    note = "one-sided: a contact is about to open" if certificate.one_sided else ""
    return Arrows(
        parameter=sensitivity.paths[k],
        unit=sensitivity.units[k],
        values=sensitivity.values[k],
        relative_error=float(certificate.relative_error[k]),
        box_rate=_box_rate(run, k)[:, _repeats(run)],
        note="not a relaxed state" if certificate.at_any_point else note,
    )


def _box_rate(run: StoredRun, k: int) -> np.ndarray:
    """Return the derivative of the box matrix in the k-th parameter: what it does itself, and how the box responds."""
    dimension, path, matrix = run.position.shape[1], run.positions.paths[k], run.box_matrix
    rate = np.zeros((dimension, dimension))
    if matrix is None:
        return rate
    entry = re.fullmatch(r"box\.(matrix|strain)\[(\d),(\d)\]", path)
    if entry:
        rate[int(entry[2]), int(entry[3])] = 1.0
        if entry[1] == "strain":
            rate = 0.5 * (rate + rate.T) @ matrix
    elif path == "box.length":
        rate = matrix / abs(np.linalg.det(matrix)) ** (1 / dimension)
    held = run.constant_pressure
    return rate if held is None or k >= len(held.strain_rates) else rate + held.strain_rates[k] @ matrix


def _contact_lengths(run: StoredRun, i: np.ndarray, j: np.ndarray) -> np.ndarray:
    """Return sigma of every contact, shape (c,): an entry of its own for independent pairs, else the mean diameter."""
    lengths = 0.5 * (run.diameters[i] + run.diameters[j])
    values = dict(zip(run.parameter_paths, run.parameter_values, strict=True))
    names, term = run.species_names, run.terms[0].name
    for a, first in enumerate(names):
        for b, second in enumerate(names):
            value = values.get(f"{term}.sigma[{first},{second}]", np.nan)
            pairs = ((run.species[i] == a) & (run.species[j] == b)) | ((run.species[i] == b) & (run.species[j] == a))
            lengths = np.where(pairs & np.isfinite(value), value, lengths)
    return np.asarray(lengths)
