"""Rows of the benchmark's table."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from rich.console import Console
from rich.table import Table


@dataclasses.dataclass(frozen=True)
class Row:
    """One measured number beside its target.

    Attributes:
        name: What was measured.
        measured: The number.
        target: What it must reach.
        sense: "at most" or "at least".
        note: Counts, absolute times, circumstances.
    """

    name: str
    measured: float
    target: float
    sense: str
    note: str = ""

    @property
    def reached(self) -> bool:
        """Whether the target is reached; NaN never is."""
        return bool(self.measured <= self.target if self.sense == "at most" else self.measured >= self.target)


def as_arrays(rows: Sequence[Row]) -> dict[str, np.ndarray]:
    """Return the rows as columns for a results file."""
    return {
        "names": np.array([row.name for row in rows]),
        "measured": np.array([row.measured for row in rows]),
        "target": np.array([row.target for row in rows]),
        "sense": np.array([row.sense for row in rows]),
        "reached": np.array([row.reached for row in rows]),
        "note": np.array([row.note for row in rows]),
    }


def print_rows(rows: Sequence[Row], *, title: str = "accuracy and speed") -> None:
    """Print the table."""
    table = Table(title=title)
    for column in ("what", "measured", "target", "", "note"):
        table.add_column(column, justify="right" if column in ("measured", "target") else "left")
    for row in rows:
        target = f"{'<=' if row.sense == 'at most' else '>='} {row.target:.4g}"
        table.add_row(row.name, f"{row.measured:.3g}", target, "ok" if row.reached else "MISSED", row.note)
    Console(width=160).print(table)
