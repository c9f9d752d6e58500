"""``mdsens fit CONFIG.toml``: recover parameters from relaxed positions alone, for targets whose answer is known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import numpy as np
from pydantic import AfterValidator, Field
from rich.console import Console

from mdsens.config import OutputOptions, Section, distinct
from mdsens.errors import NumericalError, UserError
from mdsens.fitting import FitSettings, Iteration, Target, case_record, case_tables, run_case
from mdsens.sweep import Record
from workflows.state import StateSections, deformed_problem, pressure_settings
from workflows.study import Done, Findings, Records, Stage, Study
from workflows.terminal import table

CAPTION = (
    "relaxed: relaxations of Gauss-Newton; error: worst relative\n"
    "error of a parameter, energy scale fixed; descent: smallest\n"
    "residual of gradient descent; forces: relaxations from a start\n"
    "by force matching"
)
Name = Annotated[str, Field(min_length=1)]


class FitOptions(Section):
    """The ``[fit]`` section."""

    n_cases: int = Field(10, ge=1, le=100_000, description="targets, with seeds system.seed, system.seed + 1, ...")
    parameters: Annotated[tuple[Name, ...], AfterValidator(distinct)] = Field(
        (), description="what to fit, by path; empty: every parameter of the potential"
    )
    perturbation: float = Field(0.01, gt=0, le=0.5, description="largest relative error of the starting parameters")
    force_perturbation: float = Field(0.05, gt=0, le=0.5, description="the same for the start by force matching")
    max_relaxations: int = Field(10, ge=1, le=10_000, description="most relaxations of Gauss-Newton")
    residual: float = Field(1e-10, gt=0, le=1, description="norm of all displacements at success, units of length")
    largest_step: float = Field(0.1, gt=0, le=1, description="trust region: largest relative change in a step")
    bounds: tuple[float, float] = Field((0.5, 2.0), description="factors of the start within which parameters stay")
    descent_relaxations: int = Field(50, ge=0, le=100_000, description="relaxations of gradient descent, 0 for none")
    learning_rate: float = Field(1e-3, gt=0, le=1, description="its first relative step")

    def settings(self) -> FitSettings:
        """Return the engine's settings."""
        return FitSettings(
            residual=self.residual,
            max_relaxations=self.max_relaxations,
            largest_step=self.largest_step,
            bounds=self.bounds,
            learning_rate=self.learning_rate,
        )


class Config(StateSections):
    """The whole file."""

    fit: FitOptions = FitOptions()
    output: OutputOptions = OutputOptions(name="fit")

    def target(self) -> Target:
        """Return the start of the target, with the true parameters.

        Raises:
            UserError: When a name is unknown or names the box.
        """
        problem, options = deformed_problem(self), self.pressure
        what = (problem.configuration, problem.potential, self.fit.parameters or None)
        if options is None:
            return Target(*what, problem.settings)
        return Target(*what, pressure_settings(options, problem.settings), options.value)


def refuse_what_cannot_work(config: Config) -> None:
    """Look settings and names up before anything runs.

    Raises:
        UserError: With the first mistake found; also when a case would need a seed that the system lacks.
    """
    config.fit.settings()
    if config.fit.n_cases > 1 and not hasattr(config.system, "seed"):
        raise UserError(f'system.kind is "{config.system.kind}", which has no seed: set fit.n_cases to 1.')
    config.target()


def stages(config: Config) -> dict[str, Stage]:
    """Return the cases, each with its target."""
    what = {"stage": "fit", "fit": config.fit.model_dump(mode="json", exclude={"n_cases"})}
    members = {member.key(what): member for member in config.seeded(config.fit.n_cases)}
    return {"cases": Stage("cases, each fitted in every way", members, fitted)}


def fitted(member: Config, done: Done) -> Record:
    """Make the target of one seed and fit it in every way."""
    options = member.fit
    case = run_case(
        member.target(),
        options.settings(),
        seed=member.seed,
        perturbation=options.perturbation,
        force_perturbation=options.force_perturbation,
        descent_relaxations=options.descent_relaxations,
        progress=reporter(member.seed),
    )
    return case_record(case)


def reporter(seed: int) -> Callable[[int, Iteration], None]:
    """Return a callback that prints one line per relaxation."""

    def report(k: int, step: Iteration) -> None:
        numbers = f"residual {step.residual:.2e}, largest relative step {step.step:.1e}"
        how = "" if step.accepted else ", rejected"
        print(f"seed {seed}, relaxation {k}: {numbers}{how}\n", end="")  # whole lines: several cases report at a time

    return report


def findings(config: Config, records: Records) -> Findings:
    """Return the cases, their iterations, and the structure of the first."""
    attributes = {
        "parameters": ", ".join(config.target().selection.paths),
        "residual": config.fit.residual,
        "perturbation": config.fit.perturbation,
        "n_particles": getattr(config.system, "n_particles", 0),
    }
    return Findings(case_tables(records["cases"]), attributes)


def show(found: Findings) -> None:
    """Print one line per case and what could not be determined."""
    cases = found.groups["cases"]
    matched = np.where(cases["force_start_succeeded"], cases["force_start_relaxations"].astype(str), "failed")
    small = [[f"{value:.1e}" for value in cases[name]] for name in ("residual", "worst_error", "descent_residual")]
    rows = zip(
        map(str, cases["seed"]), map(str, cases["n_relaxations"]), *small, matched, cases["outcome"], strict=True
    )
    headers = ("seed", "relaxed", "residual", "error", "descent", "forces", "outcome")
    Console().print(table("parameters from relaxed positions", headers, rows, left=("outcome",), caption=CAPTION))
    n, good = len(cases["seed"]), int(cases["succeeded"].sum())
    print(f"{good} of {n} succeeded; from matched forces {int(cases['force_start_succeeded'].sum())} of {n}")
    for words in sorted(set(cases["undetermined"]) - {""}):
        print(f"not determined by the positions, held at its start: {words}")
    for k in np.flatnonzero(~cases["succeeded"]).tolist():
        print(f"seed {cases['seed'][k]}: {cases['sentence'][k]}")


def refuse_no_success(found: Findings) -> None:
    """Refuse to call a study without any right fit a result.

    Raises:
        NumericalError: When no fit succeeded, with the sentence of the first one.
    """
    cases = found.groups["cases"]
    if not cases["succeeded"].any():
        raise NumericalError(f"no fit succeeded; of the first one: {cases['sentence'][0]}")


STUDY = Study("fit", Config, refuse_what_cannot_work, stages, findings, show, refuse_no_success)
run = STUDY.run
