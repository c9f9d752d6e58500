"""The suite "large" from configuration to table: every measurement alone, stored at once, resumed when interrupted."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.large import lammps
from benchmarks.large.export import write_exports
from benchmarks.large.measure import MeasurementError, run_alone
from benchmarks.large.options import Config
from benchmarks.large.parts import Result, Spec
from benchmarks.large.registry import PARTS
from benchmarks.large.tables import part_arrays, relaxation_times, response_costs
from mdsens import __version__, io
from mdsens.config import load
from mdsens.machine.progress import counting_progress, say
from mdsens.sweep import note_manifest, run_members
from workflows.output import announce, draw, prepare_output
from workflows.rows import Row, as_arrays, print_rows


def run(arguments: argparse.Namespace) -> int:
    """Measure, print, save, draw; return 1 when a target is missed."""
    loaded = load(arguments.config, schema=Config, overrides=arguments.overrides)
    config = loaded.config
    folder = prepare_output(arguments.output)
    provenance = io.collect(loaded.text, loaded.resolved, 0, {})
    peer = lammps.version()
    members = folder / f"{config.output.name}.members"
    note_manifest(members, loaded.resolved, say)
    results, failures = measure_all(config, peer, members, provenance, redo=arguments.redo)
    rows = [row for name in config.benchmark.parts for row in PARTS[name].rows(config, results[name])]
    if failures:
        rows.append(Row("measurements without a result", len(failures), 0, "at most", "; ".join(failures)))
    print_rows(rows, title="beside LAMMPS")
    remarks = [line for name in config.benchmark.parts for line in PARTS[name].remarks(results[name])]
    remarks += [] if peer else [lammps.MISSING]
    print("\n".join(remarks))
    path = folder / f"{config.output.name}.h5"
    attributes = {"lammps": peer, "n_starts": config.benchmark.n_starts}
    io.write_tables(path, "benchmark", groups(config, rows, results), attributes, provenance, overwrite=True)
    announce(path, draw(path, folder, config.output))
    for written in write_exports(path, rows, remarks, results, provenance):
        print(f"export   {written}")
    return 0 if all(row.reached for row in rows) else 1


def measure_all(
    config: Config, peer: str, folder: Path, provenance: io.Provenance, *, redo: bool = False
) -> tuple[dict[str, list[Result]], list[str]]:
    """Do (or find) every measurement; one that fails costs itself only and is tried again next time.

    Args:
        config: What to measure.
        peer: LAMMPS's version, empty without it.
        folder: Where finished measurements are kept; they count for this configuration, version and commit.
        provenance: Written into every one of them.
        redo: Whether finished ones are done again.

    Returns:
        Results by part, and a sentence for every failure.
    """
    results: dict[str, list[Result]] = {}
    failures: list[str] = []
    for name in config.benchmark.parts:
        specs = [{"part": name, **spec} for spec in PARTS[name].specs(config, peer)]
        results[name] = []
        with counting_progress(PARTS[name].title, len(specs)) as done:
            for spec in specs:
                try:
                    results[name].append(measured(spec, folder, provenance, config.benchmark.time_limit, redo=redo))
                except MeasurementError as error:
                    failures.append(f"{name} {_label(spec)}: {error}")
                done()
    return results, failures


def measured(spec: Spec, folder: Path, provenance: io.Provenance, time_limit: float, *, redo: bool = False) -> Result:
    """Return a measurement together with its spec, from its file when it was finished before."""
    key = json.dumps({**spec, "version": __version__, "commit": provenance.commit}, sort_keys=True)

    def work(_: int) -> dict[str, np.ndarray | str]:
        found = run_alone(spec, time_limit=time_limit)
        return {name: value if isinstance(value, str) else np.array(value) for name, value in found.items()}

    return {**spec, **run_members([key], work, folder, provenance, n_workers=1, redo=redo, say=say)[0]}


def _label(spec: Spec) -> str:
    words = ("n_particles", "dimension", "start", "minimiser", "begin")
    return ", ".join(f"{word} {spec[word]}" for word in words if word in spec)


def groups(
    config: Config, rows: Sequence[Row], results: Mapping[str, Sequence[Result]]
) -> dict[str, dict[str, np.ndarray]]:
    """Return the tables of the results file: rows, every measurement, and what the figures need."""
    found: dict[str, Any] = {"benchmark": as_arrays(rows)}
    found |= {name: part_arrays(part) for name, part in results.items() if part}
    if results.get("relaxation"):
        found["relaxation_times"] = relaxation_times(results["relaxation"])
    if results.get("growth"):
        found["response_costs"] = response_costs(results["growth"], config.growth.fit_from)
    return found
