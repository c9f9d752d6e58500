"""``mdsens compress CONFIG.toml``: packings followed through pressures, and the exponents of jamming."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field
from rich.console import Console

from mdsens.config import OutputOptions, Section
from mdsens.errors import NumericalError, UserError
from mdsens.jamming import check_way, compression_tables, fitted_points, followed
from mdsens.jamming.tables import HARMONIC
from mdsens.sweep import Record
from workflows.problem import ProblemSections, build_problem
from workflows.study import Done, Findings, Records, Stage, Study
from workflows.terminal import table, tally, with_last_digit

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


def stages(config: Config) -> dict[str, Stage]:
    """Return the packings, each followed through all pressures."""
    pressures, n = config.compress.pressures, config.compress.n_packings

    def follow(member: Config, done: Done) -> Record:
        problem = build_problem(member)
        return followed(problem.potential, problem.configuration, pressures, problem.settings)

    members = {member.key({"stage": "compress", "pressures": pressures}): member for member in config.seeded(n)}
    return {"packings": Stage(f"{n} packings through {len(pressures)} pressures", members, follow)}


def findings(config: Config, records: Records) -> Findings:
    """Return the packings, the means at every pressure, and the exponents."""
    options, dimension = config.compress, config.system.dimension
    groups = compression_tables(
        records["packings"],
        dimension=dimension,
        fit_range=options.fit_range,
        expected=options.expected,
        n_resamples=options.n_resamples,
        seed=config.seed,
    )
    sizes = {"n_particles": config.system.n_particles, "dimension": dimension, "n_packings": options.n_packings}
    return Findings(groups, sizes)


def show(found: Findings) -> None:
    """Print the means at every pressure, the exponents, where packings jam, and what became of the states."""
    points, laws, packings = (found.groups[name] for name in ("compression", "exponents", "packings"))
    rows = []
    for k, pressure in enumerate(points["pressure"]):
        means = [with_last_digit(points[f"{name}_mean"][k], points[f"{name}_sem"][k]) for name in POINTS.values()]
        rows.append([f"{pressure:.1e}", *means, str(points["n_used"][k]), "yes" if points["fitted"][k] else "no"])
    console, headers = Console(), ("P", *POINTS, "used", "fitted")
    console.print(table("means over packings (standard error in the last digit)", headers, rows))
    columns = [laws[name] for name in ("exponent", "exponent_error", "expected", "chi_squared", "remark")]
    for law, exponent, error, expected, squares, remark in zip(LAWS, *columns, strict=True):
        words = f"b = {exponent:.3f} +- {error:.3f} (expected {expected:g}; chi2 {squares:.1f})"
        console.print(f"{law:7} ~ (phi - phi_J)^b: {remark or words}", highlight=False)
    answered = np.isfinite(packings["jamming_fraction"])
    if answered.any():
        values, error = packings["jamming_fraction"][answered], np.nanmax(packings["jamming_fraction_error"])
        console.print(f"phi_J = {values.mean():.5f}, standard deviation {values.std():.5f}, each within {error:.1e}")
    console.print(f"states: {tally(packings['verdict'].flat)}")


def refuse_no_exponent(found: Findings) -> None:
    """Refuse to call an ensemble without any exponent a result.

    Raises:
        NumericalError: When no exponent could be fitted, with the reason.
    """
    laws = found.groups["exponents"]
    if not np.isfinite(laws["exponent"]).any():
        raise NumericalError(f"no exponent could be fitted: {laws['remark'][0]}")


STUDY = Study("compress", Config, refuse_what_cannot_work, stages, findings, show, refuse_no_exponent)
run = STUDY.run
