"""``mdsens relax CONFIG.toml``: relax one system and save it."""

from __future__ import annotations

import argparse

from mdsens import io
from mdsens.config import OutputOptions, load
from mdsens.relax import relax
from mdsens.results import check
from workflows.output import announce, draw, prepare_output
from workflows.problem import ProblemSections, build_problem
from workflows.progress import relaxation_progress


class Config(ProblemSections):
    """The whole file."""

    output: OutputOptions = OutputOptions(name="relax")


def run(arguments: argparse.Namespace) -> int:
    """Relax, save, draw; the state is saved even when its verdict is bad, and the exit code then says so."""
    loaded = load(arguments.config, schema=Config, overrides=arguments.overrides)
    folder = prepare_output(arguments.output)
    problem = build_problem(loaded.config)
    with relaxation_progress() as progress:
        relaxation = relax(
            problem.potential, problem.params, problem.configuration, problem.settings, progress=progress
        )
    provenance = io.collect(loaded.text, loaded.resolved, loaded.config.seed, {"relaxation": relaxation.seconds})
    path = folder / f"{loaded.config.output.name}.h5"
    io.write_run(path, io.Run(relaxation, io.no_sensitivity(relaxation), (), provenance), overwrite=True)
    announce(path, draw(path, folder, loaded.config.output))
    check(relaxation.verdict)
    return 0
