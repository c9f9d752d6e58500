"""``mdsens ensemble CONFIG.toml``: many random starts, implicit against unrolled derivatives, a sweep of a diameter."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Iterable
from typing import Annotated, Any

import numpy as np
from pydantic import AfterValidator, Field
from rich.console import Console

import systems
from mdsens.config import OutputOptions, Section, distinct
from mdsens.energy.paths import entries
from mdsens.errors import NumericalError, UserError
from mdsens.jamming.experiment import start_member, sweep_member
from mdsens.results import Verdict
from mdsens.sweep import Record
from mdsens.sweep.tables import iterate_arrays, judged, recorded_steps, stacked, sweep_arrays
from workflows.problem import ProblemSections, build_problem, single_entry
from workflows.study import Done, Findings, Records, Stage, Study
from workflows.terminal import table, tally

Step = Annotated[int, Field(ge=1, le=1_000_000)]
Diameter = Annotated[float, Field(gt=0)]
HEADERS = {"within_1_percent": "<1%", "within_0.1_percent": "<0.1%", "within_1e-9": "<1e-9"}


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


def refuse_what_cannot_work(config: Config) -> None:
    """Check system, parameter and sweep before anything long runs.

    Raises:
        UserError: With the first mistake found.
    """
    if not isinstance(config.system, systems.bidisperse.Options):
        raise UserError(f'system.kind is "{config.system.kind}"; an ensemble needs "bidisperse".')
    parameter, here = config.ensemble.parameter, build_problem(config).start
    chosen = single_entry(here, parameter, "ensemble.parameter").paths
    for diameter in config.sweep.diameters:
        there = build_problem(with_diameter(config, diameter)).start
        changed = [a.path for a, b in zip(entries(here), entries(there), strict=True) if a.value != b.value]
        moved = [path for path in changed if not path.startswith("box.")]
        if diameter != config.system.diameters[0] and moved != list(chosen):
            what = ", ".join(moved) or "the box"
            raise UserError(
                f"ensemble.parameter is {parameter}, but sweep.diameters changes {what}: choose the diameter "
                "of A as the parameter and leave potential.sigma out, or leave sweep.diameters out."
            )


def with_diameter(config: Config, diameter: float) -> Config:
    """Return the configuration with another diameter of species A."""
    return config.with_system({"diameters": (diameter, config.system.diameters[1])})


def stages(config: Config) -> dict[str, Stage]:
    """Return the starts of the comparison, and all starts of all diameters, diameter by diameter."""
    options, sweep, parameter = config.ensemble, config.sweep, config.ensemble.parameter
    steps = recorded_steps(options.checkpoints, options.n_records).tolist()

    def start(member: Config, done: Done) -> Record:
        problem = build_problem(member)
        return start_member(problem.potential, problem.configuration, problem.settings, parameter, steps)

    def swept(member: Config, done: Done) -> Record:
        problem = build_problem(member)
        return sweep_member(problem.potential, problem.configuration, problem.settings, parameter)

    def keyed(members: Iterable[Config], stage: str) -> dict[str, Config]:
        return {member.key({"stage": stage, "parameter": parameter}): member for member in members}

    starts = keyed(config.seeded(options.n_starts), f"start {json.dumps(steps)}")
    found = {"starts": Stage(f"{options.n_starts} starts: implicit, unrolled, re-relaxed", starts, start)}
    if sweep.diameters:
        title = f"{len(sweep.diameters)} diameters x {sweep.n_starts} starts"
        values = (with_diameter(config, diameter).seeded(sweep.n_starts) for diameter in sweep.diameters)
        found["sweep"] = Stage(title, keyed(itertools.chain.from_iterable(values), "sweep"), swept)
    return found


def findings(config: Config, records: Records) -> Findings:
    """Return starts, iterates, who is right, and the averages over every diameter."""
    options, starts = config.ensemble, records["starts"]
    steps = recorded_steps(options.checkpoints, options.n_records)
    groups = {
        "starts": stacked(starts),
        "iterates": iterate_arrays(starts, steps),
        "who_is_right": judged(starts, steps, options.checkpoints),
    }
    if records.get("sweep"):
        groups["sweep"] = sweep_arrays(records["sweep"], config.sweep.diameters)
    return Findings(groups, {"parameter": options.parameter, "n_particles": config.system.n_particles})


def show(found: Findings) -> None:
    """Print who is right and what became of the starts."""
    right, starts = found.groups["who_is_right"], found.groups["starts"]
    rows = [
        [_cell(name, entry) for name, entry in zip(right, row, strict=True)]
        for row in zip(*right.values(), strict=True)
    ]
    console = Console()
    console.print(table("relative error of dx/dp", [HEADERS.get(name, name) for name in right], rows, left=("method",)))
    console.print("against the dense pseudo-inverse; the difference against implicit")
    console.print(f"starts: {tally(starts['verdict'])}")
    console.print(f"packings with rattlers: {int(np.sum(starts['n_rattlers'] > 0))}")


def _cell(name: str, entry: Any) -> str:
    if name == "worst":
        return f"{entry:.1e}"
    return str(entry) if name == "method" else f"{entry:.0f}"


def refuse_no_answer(found: Findings) -> None:
    """Refuse to call an ensemble without any relaxed start a result.

    Raises:
        NumericalError: When no start converged, with the sentence of the commonest verdict.
    """
    verdicts = Counter(map(str, found.groups["starts"]["verdict"]))
    if Verdict.CONVERGED.value not in verdicts:
        raise NumericalError(
            f"none of the {verdicts.total()} starts gave an answer; of the commonest kind: "
            f"{Verdict(verdicts.most_common(1)[0][0]).sentence}"
        )


STUDY = Study("ensemble", Config, refuse_what_cannot_work, stages, findings, show, refuse_no_answer)
run = STUDY.run
