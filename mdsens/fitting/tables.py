"""From cases of fits to their records, and from the records of a study to the arrays of its results file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from mdsens.fitting.cases import Case
from mdsens.fitting.identify import Identified
from mdsens.fitting.outcomes import Iteration
from mdsens.fitting.target import parameter_errors
from mdsens.types import Box, Configuration

Record = Mapping[str, np.ndarray | str]
Table = dict[str, np.ndarray | str]
HISTORIES = ("gauss_newton", "descent")
_STRUCTURE = ("start", "backbone", "species", "species_names", "box")
_FITTED = ("fitted_position", "fitted_box", "target_box")
_NUMBERS = ("loss", "residual", "farthest", "step", "damping", "max_force", "strayed", "accepted", "at_target")


def case_record(case: Case) -> Record:
    """Return what became of one case.

    Returns:
        The numbers of its row in the table; arrays of s iterations as ``gauss_newton.NAME`` and, where it was asked
        for, ``descent.NAME``; what a picture needs besides the row's positions as ``structure.NAME``. Where the box
        relaxes the row has the boxes, too, and the picture positions that follow theirs to the target's.
    """
    fit, matched, target = case.fit, case.from_matched, case.target.configuration
    row: Table = {
        "seed": np.array(case.seed),
        "succeeded": np.array(case.succeeded),
        "n_relaxations": np.array(fit.n_relaxations),
        "residual": np.array(fit.residual),
        "worst_error": np.array(parameter_errors(fit.values, case.true, fit.identified).max()),
        "outcome": fit.outcome.value,
        "sentence": fit.outcome.sentence,
        "undetermined": "; ".join(fit.identified.words),
        "true": case.true,
        "start": case.target.selection.values,
        "fitted": fit.values,
        "estimated_error": fit.error,
        "force_start_error": np.array(parameter_errors(case.matched, case.true, matched.identified).max()),
        "force_start_relaxations": np.array(matched.n_relaxations),
        "force_start_succeeded": np.array(case.matched_succeeded),
        "descent_residual": np.array(_smallest(case.descent)),
        "target_position": case.target.position,
        "fitted_position": fit.position,
    }
    if case.target.barostat is not None:
        row |= {"target_box": box_array(target.box), "fitted_box": box_array(fit.configuration.box)}
    histories = {"gauss_newton": fit.iterations, "descent": case.descent}
    found = {name: _iterations(steps, case.true, fit.identified) for name, steps in histories.items() if steps}
    start = _within_box(np.asarray(fit.start.position), box_array(fit.start.box), box_array(target.box))
    structure: Table = {"structure.start": start, "structure.backbone": fit.backbone}
    return {**row, **_within(found), **structure, **structure_of(target)}


def structure_of(configuration: Configuration) -> Table:
    """Return what a record knows of its particles and their box beside their positions."""
    return {
        "structure.species": np.asarray(configuration.species),
        "structure.species_names": np.array(configuration.species_names),
        "structure.box": box_array(configuration.box),
    }


def case_tables(records: Sequence[Record]) -> dict[str, Table]:
    """Return the groups of a study's file from the records of its cases.

    Returns:
        ``cases``, one row each; ``gauss_newton`` and ``descent``, iterations side by side, padded with NaN to the most
        iterations of a case; ``structure``, target, start and fit of the first case, for a picture.
    """
    first = records[0]
    rows = [name for name in first if "." not in name]
    groups: dict[str, Table] = {"cases": {name: np.stack([np.asarray(one[name]) for one in records]) for name in rows}}
    for history in HISTORIES:
        columns = part(first, history)
        if columns:
            groups[history] = {name: padded([one[f"{history}.{name}"] for one in records]) for name in columns}
    ends = {"target": first["target_position"], "fitted": first["fitted_position"]}
    if "fitted_box" in first:
        ends["fitted"] = _within_box(*(np.asarray(first[name]) for name in _FITTED))
    return {**groups, "structure": {**ends, **part(first, "structure"), "seed": first["seed"]}}


def case_records(groups: Mapping[str, Mapping[str, np.ndarray | str]]) -> list[Record]:
    """Return the records of the cases from the groups of a study's file; the first one alone has a structure."""
    records: list[Record] = []
    for k in range(len(groups["cases"]["seed"])):
        parts = {}
        for history in groups.keys() & set(HISTORIES):
            made = np.asarray(groups[history]["verdict"])[k] != ""
            parts[history] = {name: np.asarray(column)[k][made] for name, column in groups[history].items()}
        if k == 0:
            parts["structure"] = {name: groups["structure"][name] for name in _STRUCTURE}
        row = {name: np.asarray(column)[k, ...] for name, column in groups["cases"].items()}
        records.append({**row, **_within(parts)})
    return records


def part(record: Record, name: str) -> Table:
    """Return the arrays of a record whose names begin with a name and a dot, without these."""
    return {key.removeprefix(f"{name}."): value for key, value in record.items() if key.startswith(f"{name}.")}


def padded(columns: Sequence[np.ndarray | str]) -> np.ndarray:
    """Stack arrays of unequal lengths, the shorter ones padded with NaN, or with empty texts."""
    arrays = [np.asarray(column) for column in columns]
    texts = arrays[0].dtype.kind in "UO"
    shape = (len(arrays), max(map(len, arrays)), *arrays[0].shape[1:])
    found = np.full(shape, "" if texts else np.nan, dtype=object if texts else float)
    for row, array in zip(found, arrays, strict=True):
        row[: len(array)] = array
    return found


def box_array(box: Box) -> np.ndarray:
    """Return the lattice vectors as columns, shape (d, d); shape (d, 0) for a free system."""
    return np.asarray(getattr(box, "matrix", np.zeros((box.dimension, 0))))


def _within_box(position: np.ndarray, own: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Return positions as they are when their own box, lattice vectors as columns, is deformed into another one."""
    return position if np.array_equal(own, box) else position @ np.linalg.solve(own.T, box.T)


def _within(parts: Mapping[str, Table]) -> Table:
    return {f"{name}.{key}": value for name, table in parts.items() for key, value in table.items()}


def _iterations(steps: Sequence[Iteration], true: np.ndarray, identified: Identified) -> Table:
    """Return the iterations of one fit, shape (s, ...), with the errors of the parameters, energy scale fixed."""
    numbers: Table = {name: np.array([getattr(step, name) for step in steps], dtype=float) for name in _NUMBERS}
    return numbers | {
        "values": np.array([step.values for step in steps]),
        "error": np.array([parameter_errors(step.values, true, identified) for step in steps]),
        "verdict": np.array([step.verdict for step in steps]),
    }


def _smallest(history: Sequence[Iteration]) -> float:
    return min((step.residual for step in history if np.isfinite(step.residual)), default=float("nan"))
