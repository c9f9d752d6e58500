"""``mdsens ensemble CONFIG.toml``: many random starts, implicit against unrolled derivatives, a sweep of a diameter."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import AfterValidator, Field
from rich.console import Console
from rich.table import Table

import systems
from mdsens import __version__, io
from mdsens.config import OutputOptions, Section, distinct, load
from mdsens.energy import State
from mdsens.errors import UserError
from mdsens.pairs import all_pairs
from mdsens.paths import entries, select
from mdsens.sweep import Record, run_members
from mdsens.sweep.experiment import start_member, sweep_member
from mdsens.sweep.tables import iterate_arrays, judged, recorded_steps, stacked, sweep_arrays
from workflows.output import announce, draw, prepare_output
from workflows.problem import Problem, ProblemSections, build_problem
from workflows.progress import counting_progress

Step = Annotated[int, Field(ge=1, le=1_000_000)]
Diameter = Annotated[float, Field(gt=0)]
HEADERS = {
    "method": "method",
    "within_1_percent": "<1%",
    "within_0.1_percent": "<0.1%",
    "within_1e-9": "<1e-9",
    "worst": "worst",
    "answered": "answered",
}


class EnsembleOptions(Section):
    """The ``[ensemble]`` section."""

    n_starts: int = Field(
        40, ge=1, le=100_000, description="random starts, with seeds system.seed, system.seed + 1, ..."
    )
    parameter: str = Field("soft_sphere.sigma[A]", description="the parameter to differentiate in, by path")
    checkpoints: Annotated[tuple[Step, ...], AfterValidator(distinct)] = Field(
        (300, 1000, 3000), min_length=1, description="FIRE steps of the table's columns"
    )
    n_records: int = Field(
        40, ge=2, le=1000, description="iterates per start, evenly spaced in the logarithm of the step"
    )


class SweepOptions(Section):
    """The ``[sweep]`` section; leave the diameters empty for none."""

    diameters: Annotated[tuple[Diameter, ...], AfterValidator(distinct)] = Field(
        (), description="values of the diameter of species A"
    )
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
    refuse_what_cannot_work(config)
    folder = prepare_output(arguments.output)
    provenance = io.collect(loaded.text, loaded.resolved, config.seed, {})
    members = folder / f"{config.output.name}.members"
    steps = recorded_steps(config.ensemble.checkpoints, config.ensemble.n_records)
    starts = run_starts(config, steps, members, provenance)
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


def refuse_what_cannot_work(config: Config) -> None:
    """Check system, parameter and sweep before anything long runs.

    Raises:
        UserError: With the first mistake found.
    """
    if not isinstance(config.system, systems.bidisperse.Options):
        raise UserError(f'system.kind is "{config.system.kind}"; an ensemble needs "bidisperse".')
    parameter, here = config.ensemble.parameter, unrelaxed(config)
    chosen = select(here, [parameter]).paths
    if len(chosen) != 1:
        raise UserError(f"ensemble.parameter is {parameter}; name a single entry, such as {chosen[0]}.")
    for diameter in config.sweep.diameters:
        there = unrelaxed(with_diameter(config, diameter))
        changed = [a.path for a, b in zip(entries(here), entries(there), strict=True) if a.value != b.value]
        moved = [path for path in changed if not path.startswith("box.")]
        if diameter != config.system.diameters[0] and moved != list(chosen):
            what = ", ".join(moved) or "the box"
            raise UserError(
                f"ensemble.parameter is {parameter}, but sweep.diameters changes {what}: choose the diameter "
                "of A as the parameter and leave potential.sigma out, or leave sweep.diameters out."
            )


def unrelaxed(config: Config) -> State:
    """Return the first start as a state without pairs: enough to look names up."""
    problem = build_problem(config)
    return State(problem.configuration, problem.potential, problem.params, all_pairs(2))


def with_diameter(config: Config, diameter: float) -> Config:
    """Return the configuration with another diameter of species A."""
    diameters = (diameter, config.system.diameters[1])
    return config.model_copy(update={"system": config.system.model_copy(update={"diameters": diameters})})


def with_seeds(config: Config, n_starts: int) -> list[Config]:
    """Return the configurations of that many starts: the same with seeds counting up."""
    seeds = range(config.seed, config.seed + n_starts)
    return [config.model_copy(update={"system": config.system.model_copy(update={"seed": seed})}) for seed in seeds]


def run_starts(config: Config, steps: np.ndarray, members: Path, provenance: io.Provenance) -> list[Record]:
    """Do the starts of the comparison."""
    parameter, recorded = config.ensemble.parameter, steps.tolist()

    def work(problem: Problem) -> Record:
        law, start = (problem.potential, problem.params), problem.configuration
        return start_member(*law, start, problem.settings, parameter, recorded)

    configs = with_seeds(config, config.ensemble.n_starts)
    title = f"{len(configs)} starts: implicit, unrolled, re-relaxed"
    return run_configs(configs, work, "start " + json.dumps(recorded), title, members, provenance)


def run_sweep(config: Config, members: Path, provenance: io.Provenance) -> list[Record]:
    """Do all starts of all diameters, diameter by diameter."""
    parameter, options = config.ensemble.parameter, config.sweep

    def work(problem: Problem) -> Record:
        law, start = (problem.potential, problem.params), problem.configuration
        return sweep_member(*law, start, problem.settings, parameter)

    configs = [
        member
        for diameter in options.diameters
        for member in with_seeds(with_diameter(config, diameter), options.n_starts)
    ]
    title = f"{len(options.diameters)} diameters x {options.n_starts} starts"
    return run_configs(configs, work, "sweep", title, members, provenance)


def run_configs(
    configs: list[Config],
    work: Callable[[Problem], Record],
    stage: str,
    title: str,
    members: Path,
    provenance: io.Provenance,
) -> list[Record]:
    """Run one stage's members with a progress bar; a member is known by everything that decides its numbers."""
    keys = [member_key(config, stage) for config in configs]
    with counting_progress(title, len(keys)) as done:
        return run_members(keys, lambda k: work(build_problem(configs[k])), members, provenance, done=done)


def member_key(config: Config, stage: str) -> str:
    """Return what identifies a member: its sections with its seed, the parameter, the stage and the version."""
    common = {"stage": stage, "version": __version__, "parameter": config.ensemble.parameter}
    sections = config.model_dump(mode="json", include={"system", "potential", "relaxation"}, serialize_as_any=True)
    return json.dumps(common | sections, sort_keys=True)


def print_table(right: dict[str, np.ndarray], starts: dict[str, np.ndarray]) -> None:
    """Print who is right and what became of the starts."""
    table = Table(title="relative error of dx/dp")
    for name in right:
        table.add_column(HEADERS[name], justify="left" if name == "method" else "right", no_wrap=True)
    for row in zip(*right.values(), strict=True):
        table.add_row(*(_cell(name, entry) for name, entry in zip(right, row, strict=True)))
    console = Console()
    console.print(table)
    console.print("against the dense pseudo-inverse; the difference against implicit")
    verdicts, counts = np.unique(starts["verdict"], return_counts=True)
    console.print("starts: " + ", ".join(f"{count} {verdict}" for verdict, count in zip(verdicts, counts, strict=True)))
    console.print(f"packings with rattlers: {int(np.sum(starts['n_rattlers'] > 0))}")


def _cell(name: str, entry: Any) -> str:
    if name == "worst":
        return f"{entry:.1e}"
    return str(entry) if name == "method" else f"{entry:.0f}"
