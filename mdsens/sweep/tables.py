"""From the records of an ensemble's members to the arrays of its results file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from mdsens.errors import UserError
from mdsens.sweep.members import Record
from mdsens.sweep.statistics import mean_and_error

_ITERATES = ("unrolled_l1", "implicit_l1", "reference_l1", "unrolled_error", "implicit_error", "iterate_max_force")
_AVERAGED = ("energy", "slope_total", "slope_fixed_box", "magnitude", "l1")


def recorded_steps(checkpoints: Sequence[int], n_records: int) -> np.ndarray:
    """Return the minimiser's steps to record: about ``n_records``, evenly spaced in the logarithm, and the checkpoints.

    Args:
        checkpoints: Steps that must be among them, >= 1; the largest ends the series.
        n_records: Steps besides them, before equal ones are merged.

    Returns:
        Increasing steps, shape (s,), the first is 1.
    """
    grid = np.geomspace(1, max(checkpoints), n_records).round().astype(int)
    return np.union1d(grid, np.asarray(checkpoints, dtype=int))


def stacked(records: Sequence[Record]) -> dict[str, np.ndarray]:
    """Stack every entry of the records along a new first axis, one per member.

    Raises:
        UserError: When the records do not fit together.
    """
    shapes = [{name: np.shape(value) for name, value in record.items()} for record in records]
    unlike = [k for k, shape in enumerate(shapes) if shape != shapes[0]]
    if unlike:
        raise UserError(f"member {unlike[0]} holds other arrays than the first one: do them again with --redo.")
    return {name: np.stack([np.asarray(record[name]) for record in records]) for name in records[0]}


def unstacked(table: Mapping[str, np.ndarray | str]) -> list[Record]:
    """Return the records that ``stacked`` made a table of, one per row."""
    columns = {name: np.asarray(column) for name, column in table.items()}
    return [
        {name: column[k, ...] for name, column in columns.items()} for k in range(len(min(columns.values(), key=len)))
    ]


def iterate_arrays(records: Sequence[Record], steps: np.ndarray) -> dict[str, np.ndarray]:
    """Return what the figure of norms over steps needs.

    Args:
        records: From ``start_member``, k of them.
        steps: The recorded steps, shape (s,).

    Returns:
        ``step`` (s,); norms, errors and forces (k, s), ``reference_l1`` (k,); ``n_refused``, the number of members
        without an answer.
    """
    everything = stacked(records)
    refused = np.sum(~np.isfinite(everything["reference_l1"]))
    return {"step": steps, "n_refused": np.array(refused)} | {name: everything[name] for name in _ITERATES}


def sweep_arrays(records: Sequence[Record], values: Sequence[float]) -> dict[str, np.ndarray]:
    """Average a sweep over the starts of every value.

    Args:
        records: From ``sweep_member``, value by value, equally many for each.
        values: Values of the parameter theta, shape (t,).

    Returns:
        ``theta`` (t,); for energy, slopes, magnitude and L1 norm ``_mean`` and ``_sem`` (t,) and the members' ``_all``
        (t, k); ``n_used`` and ``n_refused`` (t,); ``verdict_all`` (t, k).
    """
    shaped = {name: array.reshape(len(values), -1, *array.shape[1:]) for name, array in stacked(records).items()}
    arrays: dict[str, np.ndarray] = {"theta": np.array(values)}
    for name in _AVERAGED:
        arrays[f"{name}_mean"], arrays[f"{name}_sem"], arrays["n_used"] = mean_and_error(shaped[name])
        arrays[f"{name}_all"] = shaped[name]
    arrays["n_refused"] = shaped["energy"].shape[1] - arrays["n_used"]
    arrays["verdict_all"] = shaped["verdict"]
    return arrays


def judged(records: Sequence[Record], steps: np.ndarray, checkpoints: Sequence[int]) -> dict[str, np.ndarray]:
    """Return the table of who is right, one row per method.

    Args:
        records: From ``start_member``.
        steps: The recorded steps, shape (s,).
        checkpoints: Those at which the unrolled derivative is judged.

    Returns:
        ``method``, and the columns of ``count_right``, all of the same length.
    """
    everything = stacked(records)
    errors = {"implicit": everything["implicit_final_error"], "re-relaxed difference": everything["difference_error"]}
    for checkpoint in sorted(set(checkpoints)):
        column = int(np.searchsorted(steps, checkpoint))
        errors[f"unrolled, {checkpoint} steps"] = everything["unrolled_error"][:, column]
    rows = [count_right(error) for error in errors.values()]
    return {"method": np.array(list(errors))} | {name: np.array([row[name] for row in rows]) for name in rows[0]}


def count_right(errors: np.ndarray) -> dict[str, float]:
    """Count the answered members (error not NaN) within 1 %, 0.1 % and 1e-9 of the reference.

    Args:
        errors: Relative errors, shape (k,); NaN where a member gave no answer.

    Returns:
        The counts, the worst error (NaN when nobody answered), and how many answered.
    """
    answered = errors[~np.isnan(errors)]
    return {
        "within_1_percent": float(np.sum(answered <= 1e-2)),
        "within_0.1_percent": float(np.sum(answered <= 1e-3)),
        "within_1e-9": float(np.sum(answered <= 1e-9)),
        "worst": float(answered.max()) if answered.size else float("nan"),
        "answered": float(answered.size),
    }
