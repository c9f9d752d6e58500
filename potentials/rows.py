"""Rows of numbers from a text file: a table of a law, with the line that is wrong in every message."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from scipy.interpolate import CubicSpline

from mdsens.errors import UserError

_GAP = 1.5  # a step is a gap when it is larger than both beside it by this factor
_CONTRADICTION = 0.1  # of the root mean square force


def read_rows(path: str | Path) -> dict[str, np.ndarray]:
    """Return distances and energies of a table's file.

    Every line has r and u, and -du/dr where there is a third column, set apart by blanks or commas; what follows ``#``
    is a comment.

    Args:
        path: The file.

    Returns:
        ``r`` and ``u``, shape (k,): arguments of ``Table``.

    Raises:
        UserError: With file and line, when a line has another number of columns than the first or something else than
            finite numbers, distances do not increase, a row is missing, or forces contradict the energies.
    """
    lines, rows = [], []
    for number, fields in _fields(Path(path)):
        rows.append(_numbers(fields, f"{path}, line {number}"))
        lines.append(number)
        if len(fields) not in (2, 3) or len(fields) != len(rows[0]):
            wanted = f"{len(rows[0])}, as line {lines[0]}" if len(rows) > 1 else "two or three: r, u and, maybe, -du/dr"
            raise UserError(f"{path}, line {number} has {len(fields)} columns; it must have {wanted}.")
    if len(rows) < 4:
        raise UserError(f"{path} has {len(rows)} rows of numbers; a table must have at least 4.")
    table = np.array(rows)
    _check_distances(table[:, 0], lines, path)
    if table.shape[1] == 3:
        _check_forces(table, lines, path)
    return {"r": table[:, 0], "u": table[:, 1]}


def _fields(path: Path) -> Iterator[tuple[int, list[str]]]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read as a table: {getattr(error, 'strerror', None) or error}.") from None
    for number, line in enumerate(text.splitlines(), start=1):
        fields = line.split("#")[0].replace(",", " ").split()
        if fields:
            yield number, fields


def _numbers(fields: list[str], place: str) -> list[float]:
    try:
        values = [float(field) for field in fields]
    except ValueError:
        raise UserError(f"{place} is {' '.join(fields)[:60]!r}; it must be of numbers.") from None
    if not np.isfinite(values).all():
        raise UserError(f"{place} is {' '.join(fields)[:60]!r}; every number must be finite.")
    return values


def _check_distances(r: np.ndarray, lines: list[int], path: str | Path) -> None:
    steps = np.diff(r)
    if r[0] <= 0:
        raise UserError(f"{path}, line {lines[0]}: the distance is {r[0]}; it must be greater than 0.")
    if not (steps > 0).all():
        k = int(np.argmin(steps > 0)) + 1
        raise UserError(f"{path}, line {lines[k]}: the distance is {r[k]} after {r[k - 1]}; distances must increase.")
    gaps = (steps[1:-1] > _GAP * steps[:-2]) & (steps[1:-1] > _GAP * steps[2:])
    if gaps.any():
        k = int(np.argmax(gaps)) + 1
        raise UserError(
            f"{path} has a gap between lines {lines[k]} and {lines[k + 1]}: distances go from {r[k]} to {r[k + 1]}, "
            f"steps beside are {steps[k - 1]:.3g} and {steps[k + 1]:.3g}; put the missing rows in."
        )


def _check_forces(table: np.ndarray, lines: list[int], path: str | Path) -> None:
    r, u, force = table.T
    expected = -CubicSpline(r, u)(r, 1)
    off = np.abs(force - expected)
    if np.sqrt(np.mean(off**2)) > _CONTRADICTION * np.sqrt(np.mean(force**2)):
        k = int(np.argmax(off))
        raise UserError(
            f"{path}, line {lines[k]}: the third column is {force[k]} where -du/dr is {expected[k]:.6g}; it "
            "must be the force, or leave the column out."
        )
