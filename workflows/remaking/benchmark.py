"""A benchmark's table: its verdicts, made again from what was measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mdsens import io
from mdsens.verification.checks import Check


def expected(stored: io.Tables, config: None, members: Path) -> tuple[io.Expectation, list[Check]]:
    """Return what the file should hold: its verdicts, made again from what was measured; the rest was measured."""
    groups = {name: dict(table) for name, table in stored.groups.items()}
    rows = groups["benchmark"]
    measured, target = (np.asarray(rows[name]) for name in ("measured", "target"))
    at_most = np.asarray(rows["sense"]) == "at most"
    rows["reached"] = np.where(at_most, measured <= target, measured >= target)
    leaves = io.tables_leaves("benchmark", groups, stored.attributes)
    return io.Expectation(leaves, {r"(?!benchmark/reached|@).*": "measured, once"}), []
