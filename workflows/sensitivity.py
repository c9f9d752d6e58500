"""``mdsens sensitivity CONFIG.toml``: relax, differentiate, certify, save and draw one system."""

from __future__ import annotations

import argparse
import time

from mdsens import io
from mdsens.config import OutputOptions, SensitivityOptions, load
from mdsens.energy import State
from mdsens.observables import named_observable
from mdsens.pairs import all_pairs
from mdsens.paths import select
from mdsens.relax import Relaxation, relax
from mdsens.response import linear_response
from mdsens.results import Verdict, check
from mdsens.sensitivity import ObservableSensitivity, PositionSensitivity, observable_sensitivity, position_sensitivity
from workflows.output import announce, draw, prepare_output
from workflows.problem import ProblemSections, build_problem
from workflows.progress import relaxation_progress


class Config(ProblemSections):
    """The whole file."""

    sensitivity: SensitivityOptions
    output: OutputOptions = OutputOptions(name="sensitivity")


def run(arguments: argparse.Namespace) -> int:
    """Relax, differentiate, save, draw, summarise."""
    loaded = load(arguments.config, schema=Config, overrides=arguments.overrides)
    config = loaded.config
    folder = prepare_output(arguments.output)
    problem = build_problem(config)
    refuse_unknown_names(
        State(problem.configuration, problem.potential, problem.params, all_pairs(2)), config.sensitivity
    )
    with relaxation_progress() as progress:
        relaxation = relax(
            problem.potential, problem.params, problem.configuration, problem.settings, progress=progress
        )
    path = folder / f"{config.output.name}.h5"
    positions, observables, seconds = differentiate(relaxation, config.sensitivity)
    stages = {"relaxation": relaxation.seconds, "sensitivity": seconds}
    provenance = io.collect(loaded.text, loaded.resolved, config.seed, stages)
    io.write_run(path, io.Run(relaxation, positions, observables, provenance), overwrite=True)
    print(io.summary(path))
    announce(path, draw(path, folder, config.output))
    check(relaxation.verdict)
    return 0


def refuse_unknown_names(state: State, options: SensitivityOptions) -> None:
    """Look every name up before anything long runs."""
    select(state, options.parameters)
    for name in options.observables:
        named_observable(name)


def differentiate(
    relaxation: Relaxation, options: SensitivityOptions
) -> tuple[PositionSensitivity, tuple[ObservableSensitivity, ...], float]:
    """Return dx/dp and dO/dp of everything asked for, and the wall time; nothing when the verdict is bad."""
    if relaxation.verdict is not Verdict.CONVERGED:
        return io.no_sensitivity(relaxation), (), 0.0
    begun = time.perf_counter()
    selection = select(relaxation.state, options.parameters)
    response = linear_response(relaxation)
    positions = position_sensitivity(response, selection)
    observables = tuple(
        observable_sensitivity(response, named_observable(name), selection, name=name, positions=positions)
        for name in options.observables
    )
    return positions, observables, time.perf_counter() - begun
