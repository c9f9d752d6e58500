"""``mdsens relax CONFIG.toml``: relax one system and save it."""

from __future__ import annotations

import argparse

from mdsens import io
from mdsens.config import OutputOptions, load
from mdsens.relaxation import Relaxation
from mdsens.results import check
from workflows.output import announce, draw, prepare_output
from workflows.state import Answer, StateSections, deformed_problem, nothing_asked, relaxed


class Config(StateSections):
    """The whole file."""

    output: OutputOptions = OutputOptions(name="relax")


def run(arguments: argparse.Namespace) -> int:
    """Relax, save, draw; the state is saved even when its verdict is bad, and the exit code then says so."""
    loaded = load(arguments.config, schema=Config, overrides=arguments.overrides)
    folder = prepare_output(arguments.output)
    found = relaxed(deformed_problem(loaded.config), loaded.config)
    provenance = io.collect(loaded.text, loaded.resolved, loaded.config.seed, {"relaxation": found.seconds})
    path = folder / f"{loaded.config.output.name}.h5"
    io.write_run(path, answer(found, loaded.config).run(found, provenance), overwrite=True)
    announce(path, draw(path, folder, loaded.config.output))
    check(found.verdict, reason=found.reason)
    return 0


def answer(found: Relaxation, config: Config) -> Answer:
    """Return that nothing beside the state was asked for."""
    return nothing_asked(found)
