"""The suite "accuracy", on the seed experiment, from configuration to table."""

from __future__ import annotations

import argparse
from typing import Annotated, Literal

from pydantic import Field

import potentials
import systems
from benchmarks.accuracy import accuracy_rows, answers, certificate_row
from benchmarks.elasticity import elasticity_rows
from benchmarks.module import cost_rows, two_by_two_rows
from benchmarks.peers import require_jaxopt
from benchmarks.speed import everything_rows, first_call, jacobian_row, memory_row
from mdsens import io
from mdsens.config import OutputOptions, Section, load
from mdsens.errors import UserError
from mdsens.machine.progress import counting_progress
from workflows.output import announce, draw, prepare_output
from workflows.problem import Problem, ProblemSections, build_problem
from workflows.rows import Row, as_arrays, print_rows


class BenchmarkOptions(Section):
    """The ``[benchmark]`` section."""

    suite: Literal["accuracy"] = Field("accuracy", description="this suite")
    n_starts: int = Field(40, ge=2, le=1000, description="random starts per packing fraction")
    packing_fractions: tuple[Annotated[float, Field(gt=0, le=5)], ...] = Field(
        (0.98, 0.90, 0.86, 0.84), min_length=1, description="the first one is timed"
    )
    parameter: str = Field("soft_sphere.sigma[A]", description="the parameter to differentiate in")


class Config(ProblemSections):
    """The whole file."""

    benchmark: BenchmarkOptions = BenchmarkOptions()
    output: OutputOptions = OutputOptions(name="benchmark")


def run(arguments: argparse.Namespace) -> int:
    """Measure, print, save, draw; return 1 when a target is missed."""
    loaded = load(arguments.config, schema=Config, overrides=arguments.overrides)
    config, options = loaded.config, loaded.config.benchmark
    refuse_what_the_peer_lacks(config)
    require_jaxopt()
    folder = prepare_output(arguments.output)
    timed = problems(config, options.packing_fractions[0])
    cold = first_call(timed[0], options.parameter)
    rows: list[Row] = []
    first = None
    for fraction in options.packing_fractions:
        with counting_progress(f"packing fraction {fraction}", options.n_starts) as done:
            found, unjammed, failed = answers(problems(config, fraction), options.parameter, done)
        rows += accuracy_rows(f"phi = {fraction}", found, unjammed, failed) if found else []
        with counting_progress("implicit module", len(found)) as done:
            rows += two_by_two_rows(f"phi = {fraction}", found, done)
        first = first or found
    with counting_progress("certificates", len(first or [])) as done:
        row, certificates = certificate_row(first or [], done)
    rows += [row, *everything_rows(timed, options.parameter, config.system.diameters[0], cold_ours=cold)]
    rows += [jacobian_row((first or [])[0]), memory_row(timed[0]), *cost_rows((first or [])[0])]
    rows += elasticity_rows(large_problem(config))
    print_rows(rows)
    path = folder / f"{config.output.name}.h5"
    provenance = io.collect(loaded.text, loaded.resolved, config.seed, {})
    groups = {"benchmark": as_arrays(rows), "certificates": certificates}
    io.write_tables(path, "benchmark", groups, {"n_starts": options.n_starts}, provenance, overwrite=True)
    announce(path, draw(path, folder, config.output))
    return 0 if all(row.reached for row in rows) else 1


def refuse_what_the_peer_lacks(config: Config) -> None:
    """Refuse systems and laws that the peer does not know.

    Raises:
        UserError: With what is needed.
    """
    system, law = config.system, config.potential
    alike = isinstance(system, systems.bidisperse.Options) and isinstance(law, potentials.soft_sphere.Options)
    plain = alike and (law.alpha, law.mixing, law.sigma, law.epsilon) == (2.0, "additive", None, 1.0)
    if not (plain and system.diameters[1] == 1.0 and config.benchmark.parameter == "soft_sphere.sigma[A]"):
        raise UserError(
            "the benchmark's peer knows bidisperse, harmonic, additive discs of epsilon 1 whose species B has diameter "
            "1, and soft_sphere.sigma[A]: start from benchmarks/accuracy.toml."
        )


def large_problem(config: Config) -> Problem:
    """Return the packing whose moduli are timed: eight times the particles, at the first packing fraction."""
    changes = {"n_particles": 8 * config.system.n_particles, "packing_fraction": config.benchmark.packing_fractions[0]}
    return build_problem(config.with_system(changes))


def problems(config: Config, fraction: float) -> list[Problem]:
    """Return the random starts at one packing fraction."""
    members = config.with_system({"packing_fraction": fraction}).seeded(config.benchmark.n_starts)
    return [build_problem(member) for member in members]
