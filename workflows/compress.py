"""``mdsens compress CONFIG.toml``: packings followed through pressures, and the exponents of jamming."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field
from rich.console import Console
from rich.table import Table

from mdsens import io
from mdsens.config import OutputOptions, Section, load
from mdsens.errors import NumericalError, UserError
from mdsens.jamming import check_way, compression_tables, fitted_points, followed, followed_again
from mdsens.jamming.tables import HARMONIC
from mdsens.machine.progress import counting_progress, say
from mdsens.sweep import Record, note_manifest, run_members, stored_members
from mdsens.verification.checks import Check
from workflows.output import announce, draw, prepare_output
from workflows.problem import ProblemSections, build_problem

Pressure = Annotated[float, Field(gt=0)]
POINTS = {"phi - phi_J": "excess_fraction", "Z - Z_c": "excess_contacts", "G/B": "modulus_ratio"}
LAWS = ("Z - Z_c", "G/B", "P", "G", "B")


class CompressOptions(Section):
    """The ``[compress]`` section."""

    n_packings: int = Field(24, ge=3, le=100_000, description="packings, with seeds system.seed, system.seed + 1, ...")
    pressures: tuple[Pressure, ...] = Field(
        (1e-2, 6e-3, 3.5e-3, 2e-3, 1.2e-3, 7e-4, 4e-4, 2.5e-4, 1.5e-4, 3e-5),
        min_length=2,
        description="the way of every packing, falling or rising; the lowest one tells where it jams",
    )
    fit_range: tuple[Pressure, Pressure] = Field(
        (1e-4, 1e-2), description="lowest and highest pressure that the exponents are fitted to"
    )
    expected: tuple[float, float, float, float, float] = Field(
        HARMONIC, description="exponents of Z - Z_c, G/B, P, G and B to compare with"
    )
    n_resamples: int = Field(1000, ge=2, le=1_000_000, description="resampled ensembles for the errors of exponents")


class Config(ProblemSections):
    """The whole file."""

    compress: CompressOptions = CompressOptions()
    output: OutputOptions = OutputOptions(name="compress")


def run(arguments: argparse.Namespace) -> int:
    """Follow (or resume) all packings, average, fit, save, draw, print; 1 when there is no exponent to print."""
    loaded = load(arguments.config, schema=Config, overrides=arguments.overrides)
    config = loaded.config
    refuse_what_cannot_work(config)
    folder = prepare_output(arguments.output)
    provenance = io.collect(loaded.text, loaded.resolved, config.seed, {})
    members = folder / f"{config.output.name}.members"
    note_manifest(members, loaded.resolved, say)
    groups = tables(config, follow(config, members, provenance, redo=arguments.redo))
    path = folder / f"{config.output.name}.h5"
    io.write_tables(path, "compress", groups, attributes(config), provenance, overwrite=True)
    print_tables(groups)
    announce(path, draw(path, folder, config.output))
    if not np.isfinite(groups["exponents"]["exponent"]).any():
        raise NumericalError(f"no exponent could be fitted: {groups['exponents']['remark'][0]}")
    return 0


def tables(config: Config, records: Sequence[Record]) -> dict[str, dict[str, np.ndarray]]:
    """Return the groups of the results file from the members' records."""
    options = config.compress
    return compression_tables(
        records,
        dimension=config.system.dimension,
        fit_range=options.fit_range,
        expected=options.expected,
        n_resamples=options.n_resamples,
        seed=config.seed,
    )


def attributes(config: Config) -> dict[str, Any]:
    """Return what the figures and readers need to know beside the arrays."""
    sizes = {"n_particles": config.system.n_particles, "dimension": config.system.dimension}
    return {**sizes, "n_packings": config.compress.n_packings}


def expected(stored: io.Tables, config: Config, members: Path) -> tuple[io.Expectation, list[Check]]:
    """Return what the file should hold: its members' records, their numbers computed again at their states."""
    names = ("pressure", "verdict", "position", "box", "seconds")
    table = {name: np.asarray(stored.groups["packings"][name]) for name in names}
    rows = [{name: column[k] for name, column in table.items()} for k in range(config.compress.n_packings)]
    records = stored_members(member_keys(config), members) or rows
    again = []
    for record, member in zip(records, seeded(config), strict=True):
        problem = build_problem(member)
        law = (problem.potential, problem.configuration)
        way = {name: record[name] for name in names} | {"pressure": np.array(config.compress.pressures)}
        again.append(followed_again(*law, way, problem.settings.allowing_rounding(problem.potential)))
    leaves = io.tables_leaves("compress", tables(config, again), attributes(config))
    return io.Expectation(leaves, {r"packings/seconds": "times"}), []


def refuse_what_cannot_work(config: Config) -> None:
    """Check system, law, pressures and range before anything long runs.

    Raises:
        UserError: With the first mistake found.
    """
    if not {"seed", "n_particles"} <= set(type(config.system).model_fields):
        raise UserError(
            f'system.kind is "{config.system.kind}"; packings start at random: choose "bidisperse" or "polydisperse".'
        )
    problem = build_problem(config)
    check_way(problem.potential, problem.configuration, config.compress.pressures)
    fitted_points(config.compress.pressures, config.compress.fit_range)


def seeded(config: Config) -> list[Config]:
    """Return the configuration of every packing."""
    seeds = range(config.seed, config.seed + config.compress.n_packings)
    return [config.model_copy(update={"system": config.system.model_copy(update={"seed": seed})}) for seed in seeds]


def follow(config: Config, members: Path, provenance: io.Provenance, *, redo: bool = False) -> list[Record]:
    """Follow every packing, with a progress bar; what an interrupted run had finished is not done again."""
    configs = seeded(config)

    def work(k: int) -> Record:
        problem = build_problem(configs[k])
        law, start = (problem.potential,), problem.configuration
        return followed(*law, start, config.compress.pressures, problem.settings)

    title = f"{len(configs)} packings through {len(config.compress.pressures)} pressures"
    with counting_progress(title, len(configs)) as done:
        return run_members(member_keys(config), work, members, provenance, redo=redo, done=done, say=say)


def member_keys(config: Config) -> list[str]:
    """Return what identifies every packing."""
    return [member_key(member) for member in seeded(config)]


def member_key(config: Config) -> str:
    """Return what identifies a packing: its sections with its seed, and the pressures."""
    common = {"stage": "compress", "pressures": config.compress.pressures}
    sections = config.model_dump(mode="json", include={"system", "potential", "relaxation"}, serialize_as_any=True)
    return json.dumps(common | sections, sort_keys=True)


def print_tables(groups: dict[str, dict[str, np.ndarray]]) -> None:
    """Print the means at every pressure, the exponents, where packings jam, and what became of the states."""
    points, laws, packings = (groups[name] for name in ("compression", "exponents", "packings"))
    table = Table(title="means over packings (standard error in the last digit)")
    for header in ("P", *POINTS, "used", "fitted"):
        table.add_column(header, justify="right", no_wrap=True)
    for k, pressure in enumerate(points["pressure"]):
        cells = [_with_error(points[f"{name}_mean"][k], points[f"{name}_sem"][k]) for name in POINTS.values()]
        table.add_row(f"{pressure:.1e}", *cells, str(points["n_used"][k]), "yes" if points["fitted"][k] else "no")
    console = Console()
    console.print(table)
    columns = [laws[name] for name in ("exponent", "exponent_error", "expected", "chi_squared", "remark")]
    for law, exponent, error, expected, squares, remark in zip(LAWS, *columns, strict=True):
        found = f"b = {exponent:.3f} +- {error:.3f} (expected {expected:g}; chi2 {squares:.1f})"
        console.print(f"{law:7} ~ (phi - phi_J)^b: {remark or found}", highlight=False)
    answered = np.isfinite(packings["jamming_fraction"])
    if answered.any():
        values, error = packings["jamming_fraction"][answered], np.nanmax(packings["jamming_fraction_error"])
        console.print(f"phi_J = {values.mean():.5f}, standard deviation {values.std():.5f}, each within {error:.1e}")
    verdicts, counts = np.unique(packings["verdict"], return_counts=True)
    console.print("states: " + ", ".join(f"{n} {verdict}" for verdict, n in zip(verdicts, counts, strict=True)))


def _with_error(mean: float, error: float) -> str:
    """Write a mean with its error in units of its last digit: 0.071(2)."""
    if not (np.isfinite(error) and error > 0):
        return f"{mean:.3g}"
    digits = max(0, -int(f"{error:.0e}".split("e")[1]))
    return f"{mean:.{digits}f}({error * 10**digits:.0f})"
