"""``mdsens ensemble CONFIG.toml``: many random starts, implicit against unrolled derivatives, a sweep of a diameter."""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import AfterValidator, Field
from rich.console import Console
from rich.table import Table

import systems
from mdsens import io
from mdsens.config import OutputOptions, Section, distinct, load
from mdsens.energy import State
from mdsens.energy.paths import entries, select
from mdsens.errors import NumericalError, UserError
from mdsens.jamming.experiment import start_member, start_state, sweep_member, sweep_state
from mdsens.machine.progress import counting_progress, say
from mdsens.relaxation import Relaxation
from mdsens.results import Verdict
from mdsens.sweep import Record, note_manifest, run_members, stored_members
from mdsens.sweep.tables import iterate_arrays, judged, recorded_steps, stacked, sweep_arrays
from mdsens.verification.checks import Check
from workflows.output import announce, draw, prepare_output
from workflows.problem import Problem, ProblemSections, build_problem
from workflows.remaking import judged_at

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
    note_manifest(members, loaded.resolved, say)
    place = Members(members, provenance, arguments.redo)
    starts = run_starts(config, steps, place)
    groups = tables(config, starts, run_sweep(config, place) if config.sweep.diameters else [])
    path = folder / f"{config.output.name}.h5"
    io.write_tables(path, "ensemble", groups, attributes(config), provenance, overwrite=True)
    print_table(groups["who_is_right"], groups["starts"])
    announce(path, draw(path, folder, config.output))
    refuse_no_answer(groups["starts"]["verdict"])
    return 0


def tables(config: Config, starts: Sequence[Record], swept: Sequence[Record]) -> dict[str, Any]:
    """Return the groups of the results file from the members' records."""
    steps = recorded_steps(config.ensemble.checkpoints, config.ensemble.n_records)
    groups: dict[str, Any] = {"starts": stacked(starts), "iterates": iterate_arrays(starts, steps)}
    groups["who_is_right"] = judged(starts, steps, config.ensemble.checkpoints)
    if swept:
        groups["sweep"] = sweep_arrays(swept, config.sweep.diameters)
    return groups


def attributes(config: Config) -> dict[str, Any]:
    """Return what the figures and readers need to know beside the arrays."""
    return {"parameter": config.ensemble.parameter, "n_particles": config.system.n_particles}


def refuse_no_answer(verdicts: np.ndarray) -> None:
    """Refuse to call an ensemble without any relaxed start a result.

    Raises:
        NumericalError: When no start converged, with the sentence of the commonest verdict.
    """
    if not np.any(verdicts == Verdict.CONVERGED.value):
        names, counts = np.unique(verdicts, return_counts=True)
        raise NumericalError(
            f"none of the {len(verdicts)} starts gave an answer; of the commonest kind: "
            f"{Verdict(str(names[np.argmax(counts)])).sentence}"
        )


def expected(stored: io.Tables, config: Config, members: Path) -> tuple[io.Expectation, list[Check]]:
    """Return what the file should hold: its members' records, their numbers computed again at their positions."""
    unverified, copied = dict(_UNVERIFIED), dict(_COPIED)
    starts = stored_members(member_keys(config, "starts"), members) or unstacked(stored.groups["starts"])
    swept = stored_members(member_keys(config, "sweep"), members) if config.sweep.diameters else []
    if swept is None:
        unverified[r"sweep/.*"] = "its members are not beside the file"
    starts = again(config, starts, with_seeds(config, config.ensemble.n_starts), start_state)
    swept = again(config, swept, swept_configs(config), sweep_state) if swept else []
    leaves = io.tables_leaves("ensemble", tables(config, starts, swept), attributes(config))
    errors = np.stack(
        [np.asarray(record["certified_error"]) * np.linalg.norm(record["sensitivity"]) for record in starts]
    )
    own = {"starts/sensitivity": errors[:, None, None]}
    return io.Expectation(leaves, unverified, copied, own), []


_UNVERIFIED = {r"starts/seconds": "times", r"starts/max_force": "residuals, which are rounding"}
_COPIED = {
    r"starts/(n_steps|.*_error|iterate_.*|.*licit_l1|unrolled_l1|difference_step)|(iterates|who_is_right)/.*": (
        "only with the members: the way of the minimiser, and errors at rounding"
    ),
}
_OF_THE_WAY = ("n_steps", "seconds", "max_force")


def again(
    config: Config, records: Sequence[Record], configs: Sequence[Config], at: Callable[[Relaxation, str], Record]
) -> list[Record]:
    """Return records with everything computed again at their positions that does not belong to the way there."""
    found: list[Record] = []
    for record, member in zip(records, configs, strict=True):
        now = at(judged_at(build_problem(member), np.asarray(record["position"])), config.ensemble.parameter)
        found.append({**record, **now, **{name: record[name] for name in _OF_THE_WAY}})
    return found


def unstacked(table: Mapping[str, Any]) -> list[Record]:
    """Return one record per row of a table."""
    return [
        {name: column[k] if column.dtype.kind != "U" else str(column[k]) for name, column in table.items()}
        for k in range(len(table["verdict"]))
    ]


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
    return State.unlisted(problem.configuration, problem.potential)


def with_diameter(config: Config, diameter: float) -> Config:
    """Return the configuration with another diameter of species A."""
    diameters = (diameter, config.system.diameters[1])
    return config.model_copy(update={"system": config.system.model_copy(update={"diameters": diameters})})


def with_seeds(config: Config, n_starts: int) -> list[Config]:
    """Return the configurations of that many starts: the same with seeds counting up."""
    seeds = range(config.seed, config.seed + n_starts)
    return [config.model_copy(update={"system": config.system.model_copy(update={"seed": seed})}) for seed in seeds]


@dataclasses.dataclass(frozen=True)
class Members:
    """Where members are kept, what made them, and whether they are done again."""

    folder: Path
    provenance: io.Provenance
    redo: bool


def run_starts(config: Config, steps: np.ndarray, place: Members) -> list[Record]:
    """Do the starts of the comparison."""
    parameter, recorded = config.ensemble.parameter, steps.tolist()

    def work(problem: Problem) -> Record:
        law, start = (problem.potential,), problem.configuration
        return start_member(*law, start, problem.settings, parameter, recorded)

    configs = with_seeds(config, config.ensemble.n_starts)
    title = f"{len(configs)} starts: implicit, unrolled, re-relaxed"
    return run_configs(configs, work, member_keys(config, "starts"), title, place)


def run_sweep(config: Config, place: Members) -> list[Record]:
    """Do all starts of all diameters, diameter by diameter."""
    parameter, options = config.ensemble.parameter, config.sweep

    def work(problem: Problem) -> Record:
        law, start = (problem.potential,), problem.configuration
        return sweep_member(*law, start, problem.settings, parameter)

    title = f"{len(options.diameters)} diameters x {options.n_starts} starts"
    return run_configs(swept_configs(config), work, member_keys(config, "sweep"), title, place)


def swept_configs(config: Config) -> list[Config]:
    """Return the configurations of all starts of all diameters, diameter by diameter."""
    return [
        member
        for diameter in config.sweep.diameters
        for member in with_seeds(with_diameter(config, diameter), config.sweep.n_starts)
    ]


def run_configs(
    configs: list[Config], work: Callable[[Problem], Record], keys: list[str], title: str, place: Members
) -> list[Record]:
    """Run one stage's members with a progress bar."""
    with counting_progress(title, len(keys)) as done:
        return run_members(
            keys,
            lambda k: work(build_problem(configs[k])),
            place.folder,
            place.provenance,
            redo=place.redo,
            done=done,
            say=say,
        )


def member_keys(config: Config, stage: Literal["starts", "sweep"]) -> list[str]:
    """Return what identifies every member of a stage."""
    if stage == "sweep":
        return [member_key(member, "sweep") for member in swept_configs(config)]
    steps = recorded_steps(config.ensemble.checkpoints, config.ensemble.n_records)
    configs = with_seeds(config, config.ensemble.n_starts)
    return [member_key(member, "start " + json.dumps(steps.tolist())) for member in configs]


def member_key(config: Config, stage: str) -> str:
    """Return what identifies a member: its sections with its seed, the parameter and the stage."""
    common = {"stage": stage, "parameter": config.ensemble.parameter}
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
