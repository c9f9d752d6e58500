"""The paper's claims from configuration to table."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from pydantic import Field
from rich.console import Console

from mdsens import io
from mdsens.config import OutputOptions, Section, load
from mdsens.errors import UserError
from mdsens.verification.checks import Check
from workflows.output import announce, draw, prepare_output
from workflows.paper import packing, ridge
from workflows.paper.data import require_datasets
from workflows.paper.distillation import DistillationOptions, distil, distillation_rows
from workflows.paper.ridge import RidgeOptions
from workflows.paper.selection import SelectionOptions, make_machine, select_theta, selection_rows
from workflows.problem import ProblemSections, build_problem, single_entry
from workflows.rows import Row, as_arrays, print_rows

Table = dict[str, np.ndarray]


class PaperOptions(Section):
    """The ``[paper]`` section."""

    parameter: str = Field("soft_sphere.sigma[A]", description="what the packing is differentiated in, by path")
    last_step: int = Field(950, ge=2, le=1_000_000, description="FIRE steps that are differentiated through")
    n_records: int = Field(60, ge=2, le=1000, description="iterates looked at, evenly spaced")


class Config(ProblemSections):
    """The whole file."""

    paper: PaperOptions = PaperOptions()
    ridge: RidgeOptions = RidgeOptions()
    selection: SelectionOptions = SelectionOptions()
    distillation: DistillationOptions = DistillationOptions()
    output: OutputOptions = OutputOptions(name="paper")


def run(arguments: argparse.Namespace) -> int:
    """Measure part by part, print, save, draw; return 1 when a claim does not hold."""
    loaded = load(arguments.config, schema=Config, overrides=arguments.overrides)
    config = loaded.config
    refuse_what_cannot_work(config)
    folder = prepare_output(arguments.output)
    groups: dict[str, Table] = {}
    seconds: dict[str, float] = {}
    for name, part in parts(config).items():
        begun = time.perf_counter()
        with Console().status(name):
            groups[name] = part()
        seconds[name] = time.perf_counter() - begun
    rows = claims(groups)
    print_rows(rows, title="Blondel et al., Efficient and Modular Implicit Differentiation")
    print("wall time: " + ", ".join(f"{name} {spent:.1f} s" for name, spent in seconds.items()))
    path = folder / f"{config.output.name}.h5"
    provenance = io.collect(loaded.text, loaded.resolved, config.seed, seconds)
    groups["claims"] = as_arrays(rows)
    io.write_tables(path, "paper", groups, attributes(config), provenance, overwrite=True)
    announce(path, draw(path, folder, config.output))
    return 0 if all(row.reached for row in rows) else 1


def attributes(config: Config) -> dict[str, str | int]:
    """Return what the figures and readers need to know beside the arrays."""
    return {"parameter": config.paper.parameter, "n_particles": config.system.n_particles}


def expected(stored: io.Tables, config: Config, members: Path) -> tuple[io.Expectation, list[Check]]:
    """Return what the file should hold: its claims, made again from what was measured."""
    groups = {name: {key: np.asarray(value) for key, value in table.items()} for name, table in stored.groups.items()}
    groups["claims"] = as_arrays(claims(groups))
    measured = {r"(ridge_shared|ridge_separate|packing|selection|distillation)/.*": "measured along iterations"}
    return io.Expectation(io.tables_leaves("paper", groups, attributes(config)), measured), []


def refuse_what_cannot_work(config: Config) -> None:
    """Look for the data sets and the parameter's name before anything long runs.

    Raises:
        UserError: With what is missing.
    """
    require_datasets()
    single_entry(build_problem(config).start, config.paper.parameter, "paper.parameter")
    if not config.selection.log_theta[0] < config.selection.log_theta[1]:
        raise UserError(f"selection.log_theta = {list(config.selection.log_theta)} must be a lower and an upper end.")
    if config.selection.n_features < config.selection.n_training:
        raise UserError(
            f"selection.n_features = {config.selection.n_features} must be at least selection.n_training = "
            f"{config.selection.n_training}, or the inner solution is not unique."
        )


def parts(config: Config) -> dict[str, Callable[[], Table]]:
    """Return what is to be measured, by the name of its group in the file."""
    regression, theta = ridge.make_ridge(config.ridge), config.ridge.theta
    n, steps = config.ridge.n_features, config.ridge.n_steps
    recorded = np.unique(np.linspace(1, config.paper.last_step, config.paper.n_records).round().astype(int))
    return {
        "ridge_shared": lambda: ridge.precision(regression, jnp.asarray(theta), steps),
        "ridge_separate": lambda: ridge.precision(regression, jnp.full(n, theta), steps),
        "packing": lambda: packing.precision(build_problem(config), config.paper.parameter, recorded),
        "selection": lambda: select_theta(make_machine(config.selection), config.selection),
        "distillation": lambda: distil(config.distillation),
    }


def claims(groups: dict[str, Table]) -> list[Row]:
    """Return the claims, each beside what was measured."""
    return [
        *ridge.precision_rows("ridge, one theta", groups["ridge_shared"], 1e-10),
        *ridge.precision_rows("ridge, theta per unknown", groups["ridge_separate"], 1e-10),
        *ridge.precision_rows("packing", groups["packing"], 1e-9),
        *selection_rows(groups["selection"]),
        *distillation_rows(groups["distillation"]),
    ]
