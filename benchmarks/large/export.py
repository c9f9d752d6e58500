"""The table and its measurements as CSV and Markdown, for people and for ``data/benchmarks``."""

from __future__ import annotations

import csv
import io as text
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from benchmarks.large.parts import Result
from mdsens.io import Provenance
from mdsens.io.replacing import replacing
from workflows.rows import Row


def write_exports(
    path: Path,
    rows: Sequence[Row],
    remarks: Sequence[str],
    results: Mapping[str, Sequence[Result]],
    provenance: Provenance,
) -> list[Path]:
    """Write ``NAME.md`` and ``NAME.csv`` (the table) and ``NAME_measurements.csv`` (all numbers) beside ``NAME.h5``.

    Args:
        path: The results file.
        rows: The table.
        remarks: Lines below it.
        results: Measurements by part.
        provenance: Where they come from.

    Returns:
        The files written.
    """
    contents = {
        f"{path.stem}.md": _markdown(rows, remarks, provenance),
        f"{path.stem}.csv": _csv(("what", "measured", "target", "sense", "reached", "note"), _row_lines(rows)),
        f"{path.stem}_measurements.csv": _csv(("part", "measurement", "quantity", "value"), _numbers(results)),
    }
    for name, content in contents.items():
        with replacing(path.with_name(name), overwrite=True) as temporary:
            temporary.write_text(content)
    return [path.with_name(name) for name in contents]


def _markdown(rows: Sequence[Row], remarks: Sequence[str], provenance: Provenance) -> str:
    lines = ["| what | measured | target | | note |", "| --- | --- | --- | --- | --- |"]
    for row in rows:
        sign, mark = "at most" if row.sense == "at most" else "at least", "ok" if row.reached else "**missed**"
        lines.append(f"| {row.name} | {row.measured:.3g} | {sign} {row.target:.4g} | {mark} | {row.note} |")
    versions = ", ".join(f"{name} {version}" for name, version in provenance.versions.items())
    origin = f"{provenance.created}, commit {provenance.commit}; {provenance.device}; {versions}"
    return "\n\n".join(["\n".join(lines), *remarks, origin]) + "\n"


def _row_lines(rows: Sequence[Row]) -> Iterator[tuple[object, ...]]:
    for row in rows:
        yield row.name, row.measured, row.target, row.sense, row.reached, row.note


def _numbers(results: Mapping[str, Sequence[Result]]) -> Iterator[tuple[object, ...]]:
    for part, found in results.items():
        for number, result in enumerate(found):
            for name, value in result.items():
                if name != "part":
                    yield part, number, name, value if isinstance(value, str) else np.asarray(value).tolist()


def _csv(header: Sequence[str], lines: Iterator[tuple[object, ...]]) -> str:
    buffer = text.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(lines)
    return buffer.getvalue()
