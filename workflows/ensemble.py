"""``mdsens ensemble CONFIG.toml``: many random starts, implicit against unrolled derivatives, and a sweep of a diameter."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field
from rich.console import Console
from rich.table import Table

import systems
from mdsens import __version__, io
from mdsens.config import OutputOptions, Section, load
from mdsens.energy import State
from mdsens.errors import UserError
from mdsens.pairs import all_pairs
from mdsens.paths import select
from mdsens.sweep import mean_and_error, run_members
from mdsens.sweep.experiment import count_right, start_member, sweep_member
from mdsens.sweep.members import Record
from workflows.output import announce, draw, prepare_output
from workflows.problem import Problem, ProblemSections, build_problem
from workflows.progress import counting_progress


class EnsembleOptions(Section):
    """The ``[ensemble]`` section."""

    n_starts: int = Field(
        40, ge=1, le=100_000, description="random starts, with seeds system.seed, system.seed + 1, ..."
    )
    parameter: str = Field("soft_sphere.sigma[A]", description="the parameter to differentiate in, by path")
    checkpoints: tuple[int, ...] = Field(
        (300, 1000, 3000), min_length=1, description="FIRE steps of the table's columns"
    )
    n_records: int = Field(
        40, ge=2, le=1000, description="iterates per start, evenly spaced in the logarithm of the step"
    )


class SweepOptions(Section):
    """The ``[sweep]`` section; leave the values empty for none."""

    diameters: tuple[float, ...] = Field((), description="values of the diameter of species A")
    n_starts: int = Field(40, ge=2, le=100_000, description="random starts per value")


class Config(ProblemSections):
    """The whole file."""

    ensemble: EnsembleOptions = EnsembleOptions()
    sweep: SweepOptions = SweepOptions()
    output: OutputOptions = OutputOptions(name="ensemble")


def run(arguments: argparse.Namespace) -> int:
    """Run (or resume) all members, average, save, draw, print who is right."""
    loaded = load(arguments.config, schema=Config, overrides=arguments.overrides)
    config = loaded.config
    if not isinstance(config.system, systems.bidisperse.Options):
        raise UserError(f'system.kind is "{config.system.kind}"; an ensemble needs "bidisperse".')
    folder = prepare_output(arguments.output)
    refuse_unknown_parameter(config)
    provenance = io.collect(loaded.text, loaded.resolved, config.seed, {})
    members = folder / f"{config.output.name}.members"
    starts, steps = run_starts(config, members, provenance)
    groups: dict[str, Any] = {"starts": stacked(starts), "iterates": iterate_arrays(starts, steps)}
    groups["who_is_right"] = judged(starts, steps, config.ensemble.checkpoints)
    if config.sweep.diameters:
        groups["sweep"] = sweep_arrays(run_sweep(config, members, provenance), config.sweep.diameters)
    path = folder / f"{config.output.name}.h5"
    attributes = {"parameter": config.ensemble.parameter, "n_particles": config.system.n_particles}
    io.write_tables(path, "ensemble", groups, attributes, provenance, overwrite=True)
    print_table(groups["who_is_right"], groups["starts"])
    announce(path, draw(path, folder, config.output))
    return 0


def refuse_unknown_parameter(config: Config) -> None:
    """Look the parameter up before anything long runs."""
    problem = build_problem(config)
    state = State(problem.configuration, problem.potential, problem.params, all_pairs(2))
    if len(select(state, [config.ensemble.parameter]).paths) != 1:
        raise UserError(
            f"ensemble.parameter is {config.ensemble.parameter}; name a single entry, such as soft_sphere.sigma[A]."
        )


def run_starts(config: Config, members: Path, provenance: io.Provenance) -> tuple[list[Record], np.ndarray]:
    """Do the starts of the comparison; return their records and the recorded FIRE steps."""
    options = config.ensemble
    grid = np.geomspace(1, max(options.checkpoints), options.n_records).round().astype(int)
    steps = np.union1d(grid, np.array(options.checkpoints))
    tasks = [(config.system, config.seed + k) for k in range(options.n_starts)]
    work = lambda problem: start_member(*as_arguments(problem), options.parameter, steps.tolist())  # noqa: E731
    title = f"{options.n_starts} starts: implicit, unrolled, re-relaxed"
    return do_members(config, tasks, work, "start " + json.dumps(steps.tolist()), title, members, provenance), steps


def run_sweep(config: Config, members: Path, provenance: io.Provenance) -> list[Record]:
    """Do all starts of all diameters, diameter by diameter."""
    options = config.sweep
    systems_ = [
        config.system.model_copy(update={"diameters": (diameter, config.system.diameters[1])})
        for diameter in options.diameters
    ]
    tasks = [(system, config.seed + k) for system in systems_ for k in range(options.n_starts)]
    work = lambda problem: sweep_member(*as_arguments(problem), config.ensemble.parameter)  # noqa: E731
    title = f"{len(options.diameters)} diameters x {options.n_starts} starts"
    return do_members(config, tasks, work, "sweep", title, members, provenance)


def do_members(
    config: Config, tasks: list[Any], work: Any, stage: str, title: str, members: Path, provenance: io.Provenance
) -> list[Record]:
    """Run one stage's members with a progress bar; a member is known by everything that decides its numbers."""
    problems = [
        config.model_copy(update={"system": system.model_copy(update={"seed": seed})}) for system, seed in tasks
    ]
    common = {"stage": stage, "version": __version__, "parameter": config.ensemble.parameter}
    keys = [
        json.dumps(
            common
            | problem.model_dump(mode="json", include={"system", "potential", "relaxation"}, serialize_as_any=True),
            sort_keys=True,
        )
        for problem in problems
    ]
    with counting_progress(title, len(keys)) as done:
        return run_members(keys, lambda k: work(build_problem(problems[k])), members, provenance, done=done)


def as_arguments(problem: Problem) -> tuple[Any, ...]:
    """Return the problem as the engine's first four arguments."""
    return problem.potential, problem.params, problem.configuration, problem.settings


def stacked(records: list[Record]) -> dict[str, np.ndarray]:
    """Stack every array of the records along a new first axis."""
    return {name: np.stack([np.asarray(record[name]) for record in records]) for name in records[0]}


def iterate_arrays(records: list[Record], steps: np.ndarray) -> dict[str, np.ndarray]:
    """Return the arrays of the figure of norms over optimiser steps."""
    names = ("unrolled_l1", "implicit_l1", "reference_l1", "unrolled_error", "implicit_error", "iterate_max_force")
    everything = stacked(records)
    refused = np.sum(~np.isfinite(everything["reference_l1"]))
    return {"step": steps, "n_refused": np.array(refused)} | {name: everything[name] for name in names}


def sweep_arrays(records: list[Record], diameters: tuple[float, ...]) -> dict[str, np.ndarray]:
    """Average the sweep over the starts of every diameter."""
    arrays: dict[str, np.ndarray] = {"theta": np.array(diameters)}
    shaped = {name: array.reshape(len(diameters), -1, *array.shape[1:]) for name, array in stacked(records).items()}
    for name in ("energy", "slope_total", "slope_fixed_box", "magnitude", "l1"):
        arrays[f"{name}_mean"], arrays[f"{name}_sem"], arrays["n_used"] = mean_and_error(shaped[name])
        arrays[f"{name}_all"] = shaped[name]
    arrays["n_refused"] = shaped["energy"].shape[1] - arrays["n_used"]
    arrays["verdict_all"] = shaped["verdict"]
    return arrays


def judged(records: list[Record], steps: np.ndarray, checkpoints: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Return the table of who is right: one row per method."""
    everything = stacked(records)
    errors = {"implicit": everything["implicit_final_error"], "re-relaxed difference": everything["difference_error"]}
    for checkpoint in sorted(checkpoints):
        errors[f"unrolled, {checkpoint} steps"] = everything["unrolled_error"][
            :, int(np.searchsorted(steps, checkpoint))
        ]
    rows = {method: count_right(error) for method, error in errors.items()}
    columns = next(iter(rows.values()))
    return {"method": np.array(list(rows))} | {name: np.array([row[name] for row in rows.values()]) for name in columns}


def print_table(right: dict[str, np.ndarray], starts: dict[str, np.ndarray]) -> None:
    """Print who is right and what became of the starts."""
    table = Table(
        title="relative error of dx/dp against the dense pseudo-inverse (difference: against the implicit answer)"
    )
    for name in right:
        table.add_column(name.replace("_", " "), justify="left" if name == "method" else "right")
    for row in zip(*right.values(), strict=True):
        table.add_row(
            *(
                f"{entry:.2e}" if name == "worst" else str(entry).removesuffix(".0")
                for name, entry in zip(right, row, strict=True)
            )
        )
    console = Console()
    console.print(table)
    verdicts, counts = np.unique(starts["verdict"], return_counts=True)
    console.print("starts: " + ", ".join(f"{count} {verdict}" for verdict, count in zip(verdicts, counts, strict=True)))
    console.print(f"packings with rattlers: {int(np.sum(starts['n_rattlers'] > 0))}")
