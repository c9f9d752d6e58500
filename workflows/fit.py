"""``mdsens fit CONFIG.toml``: recover parameters from relaxed positions alone, for targets whose answer is known."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import AfterValidator, Field
from rich.console import Console
from rich.table import Table

from mdsens import io
from mdsens.config import OutputOptions, Section, distinct, load
from mdsens.energy.paths import select
from mdsens.errors import NumericalError, UserError
from mdsens.fitting import Case, FitSettings, Iteration, Target, case_arrays, history_arrays, run_case, structure_arrays
from mdsens.fitting.cases import RIGHT, box_array, perturbed, with_values
from mdsens.fitting.identify import identify
from mdsens.fitting.outcomes import Outcome
from mdsens.response import linear_response
from mdsens.sensitivity import position_sensitivity
from mdsens.verification.checks import Check
from workflows.output import announce, draw, prepare_output
from workflows.problem import Problem, ProblemSections, build_problem
from workflows.remaking import judged_at

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


class Config(ProblemSections):
    """The whole file."""

    fit: FitOptions = FitOptions()
    output: OutputOptions = OutputOptions(name="fit")


def run(arguments: argparse.Namespace) -> int:
    """Fit every case in every way, save, draw, print what became of them; 1 when none succeeded."""
    loaded = load(arguments.config, schema=Config, overrides=arguments.overrides)
    config = loaded.config
    config.fit.settings()
    paths = fitted_paths(config)
    folder = prepare_output(arguments.output)
    provenance = io.collect(loaded.text, loaded.resolved, config.seed, {})
    console = Console()
    cases = [run_seed(config, config.seed + k, reporter(console, config.seed + k)) for k in range(config.fit.n_cases)]
    groups = tables(cases)
    path = folder / f"{config.output.name}.h5"
    io.write_tables(path, "fit", groups, attributes(config, paths), provenance, overwrite=True)
    print_table(console, groups["cases"])
    announce(path, draw(path, folder, config.output))
    if not groups["cases"]["succeeded"].any():
        raise NumericalError(f"no fit succeeded; of the first one: {groups['cases']['sentence'][0]}")
    return 0


def fitted_paths(config: Config) -> tuple[str, ...]:
    """Look the fitted parameters up before anything runs.

    Raises:
        UserError: When a name is unknown or names the box, or a case would need a seed that the system lacks.
    """
    if config.fit.n_cases > 1 and not hasattr(config.system, "seed"):
        raise UserError(f'system.kind is "{config.system.kind}", which has no seed: set fit.n_cases to 1.')
    problem = build_problem(config)
    target = Target(problem.configuration, problem.potential, config.fit.parameters or None)
    return target.selection.paths


def reporter(console: Console, seed: int) -> Callable[[int, Iteration], None]:
    """Return a callback that prints one line per relaxation."""

    def report(k: int, step: Iteration) -> None:
        how = "" if step.accepted else ", rejected"
        console.print(
            f"seed {seed}, relaxation {k}: residual {step.residual:.2e}, largest relative step {step.step:.1e}{how}",
            highlight=False,
        )

    return report


def problem_of(config: Config, seed: int) -> Problem:
    """Return the problem whose relaxed state is the target of one seed."""
    system = config.system.model_copy(update={"seed": seed}) if hasattr(config.system, "seed") else config.system
    return build_problem(config.model_copy(update={"system": system}))


def expected(stored: io.Tables, config: Config, members: Path) -> tuple[io.Expectation, list[Check]]:
    """Return what the file should hold, and checks that targets and fitted structures are at rest."""
    groups = {name: dict(table) for name, table in stored.groups.items()}
    cases = {name: np.asarray(column) for name, column in groups["cases"].items()}
    checks: list[Check] = []
    true, start, undetermined = [], [], []
    for k in range(config.fit.n_cases):
        seed = config.seed + k
        problem = problem_of(config, seed)
        settings, patterns = problem.settings, config.fit.parameters or None
        exact = Target(problem.configuration, problem.potential, patterns, settings)
        begun = perturbed(exact, config.fit.perturbation, seed)
        true.append(exact.selection.values)
        start.append(begun.selection.values)
        fitted = dataclasses.replace(problem, potential=with_values(begun, cases["fitted"][k]).potential)
        checks.append(at_rest(f"target of seed {seed}", problem, cases["target_position"][k]))
        checks.append(at_rest(f"fitted structure of seed {seed}", fitted, cases["fitted_position"][k]))
        undetermined.append("; ".join(identified_at(fitted, cases["fitted_position"][k], begun)))
    outcomes = [Outcome(str(name)) for name in cases["outcome"]]
    cases |= {
        "seed": config.seed + np.arange(config.fit.n_cases),
        "true": np.stack(true),
        "start": np.stack(start),
        "undetermined": np.array(undetermined),
        "sentence": np.array([outcome.sentence for outcome in outcomes]),
        "n_relaxations": np.array([int(np.sum(row != "")) for row in np.asarray(groups["gauss_newton"]["verdict"])]),
        "succeeded": (cases["worst_error"] <= RIGHT) & np.array([outcome is Outcome.CONVERGED for outcome in outcomes]),
    }
    groups["cases"] = {**cases}
    groups["structure"] |= first_structure(config, cases)
    paths = fitted_paths(config)
    leaves = io.tables_leaves("fit", groups, attributes(config, paths))
    return io.Expectation(leaves, _UNVERIFIED), checks


_UNVERIFIED = {
    r"(gauss_newton|descent)/.*|cases/outcome|structure/start": "the way of the fit",
    r"cases/(residual|worst_error|descent_residual|estimated_error|force_start_.*)": "residuals, and as small",
}


def first_structure(config: Config, cases: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return what the picture of the first case shows, as far as the cases say it."""
    problem = problem_of(config, config.seed)
    start = Target(problem.configuration, problem.potential, config.fit.parameters or None)
    fitted = dataclasses.replace(problem, potential=with_values(start, cases["fitted"][0]).potential)
    position, configuration = cases["fitted_position"][0], problem.configuration
    return {
        "target": cases["target_position"][0],
        "fitted": position,
        "backbone": judged_at(fitted, position).network.backbone,
        "species": np.asarray(configuration.species),
        "species_names": np.array(configuration.species_names),
        "box": box_array(configuration.box),
        "seed": np.array(config.seed),
    }


def at_rest(label: str, problem: Problem, position: np.ndarray) -> Check:
    """Check that the largest force of a structure is within the tolerance."""
    allowed = problem.settings.allowing_rounding(problem.potential).max_force
    if not np.isfinite(position).all():
        return Check(f"{label}: it never relaxed", 0.0, 0.0, "nothing to verify")
    found = judged_at(problem, position)
    return Check(f"{label}: largest force, epsilon/sigma", found.max_force / found.force_unit, allowed)


def identified_at(problem: Problem, position: np.ndarray, target: Target) -> tuple[str, ...]:
    """Return in words what the positions of a fitted structure do not determine."""
    found = judged_at(problem, position)
    selection = select(found.state, target.selection.paths)
    rates = position_sensitivity(linear_response(found), selection).values
    jacobian = (rates * selection.values[:, None, None]).reshape(len(rates), -1).T
    return identify(jacobian, selection.paths, rank=FitSettings().rank).words


def run_seed(config: Config, seed: int, report: Callable[[int, Iteration], Any]) -> Case:
    """Run the case of one seed."""
    problem = problem_of(config, seed)
    options = config.fit
    return run_case(
        problem.potential,
        problem.configuration,
        problem.settings,
        options.settings(),
        seed=seed,
        patterns=options.parameters or None,
        perturbation=options.perturbation,
        force_perturbation=options.force_perturbation,
        descent_relaxations=options.descent_relaxations,
        progress=report,
    )


def tables(cases: Sequence[Case]) -> dict[str, dict[str, Any]]:
    """Return the groups of the results file."""
    true, known = [case.true for case in cases], [case.fit.identified for case in cases]
    groups: dict[str, dict[str, Any]] = {
        "cases": case_arrays(cases),
        "gauss_newton": history_arrays([case.fit.iterations for case in cases], true, known),
        "structure": structure_arrays(cases[0]),
    }
    if cases[0].descent:
        groups["descent"] = history_arrays([case.descent for case in cases], true, known)
    return groups


def attributes(config: Config, paths: tuple[str, ...]) -> dict[str, Any]:
    """Return what the figures and readers need to know beside the arrays."""
    return {
        "parameters": ", ".join(paths),
        "residual": config.fit.residual,
        "perturbation": config.fit.perturbation,
        "n_particles": getattr(config.system, "n_particles", 0),
    }


def print_table(console: Console, cases: dict[str, np.ndarray]) -> None:
    """Print one line per case and what could not be determined."""
    table = Table(title="parameters from relaxed positions", caption=CAPTION)
    for name in ("seed", "relaxed", "residual", "error", "descent", "forces", "outcome"):
        table.add_column(name, justify="left" if name == "outcome" else "right", no_wrap=True)
    for k in range(len(cases["seed"])):
        force = f"{cases['force_start_relaxations'][k]}" if cases["force_start_succeeded"][k] else "failed"
        table.add_row(
            f"{cases['seed'][k]}",
            f"{cases['n_relaxations'][k]}",
            f"{cases['residual'][k]:.1e}",
            f"{cases['worst_error'][k]:.1e}",
            f"{cases['descent_residual'][k]:.1e}",
            force,
            str(cases["outcome"][k]),
        )
    console.print(table)
    n, good = len(cases["seed"]), int(cases["succeeded"].sum())
    print(f"{good} of {n} succeeded; from matched forces {int(cases['force_start_succeeded'].sum())} of {n}")
    for words in sorted(set(cases["undetermined"]) - {""}):
        print(f"not determined by the positions, held at its start: {words}")
    for k in np.flatnonzero(~cases["succeeded"]).tolist():
        print(f"seed {cases['seed'][k]}: {cases['sentence'][k]}")
