"""``mdsens sensitivity CONFIG.toml``: relax, differentiate, certify, save and draw one system."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

from mdsens import io
from mdsens.config import OutputOptions, SensitivityOptions, load
from mdsens.energy import State
from mdsens.energy.paths import select
from mdsens.observables import Workbench, check_names, made
from mdsens.relaxation import Relaxation
from mdsens.response import linear_response
from mdsens.results import Verdict, check
from mdsens.sensitivity import observable_sensitivities, position_sensitivity
from workflows.output import announce, draw, prepare_output
from workflows.state import Answer, StateSections, deformed_problem, nothing_asked, relaxed


class Config(StateSections):
    """The whole file."""

    sensitivity: SensitivityOptions
    output: OutputOptions = OutputOptions(name="sensitivity")


def run(arguments: argparse.Namespace) -> int:
    """Relax, differentiate, save, draw, summarise."""
    loaded = load(arguments.config, schema=Config, overrides=arguments.overrides)
    config = loaded.config
    folder = prepare_output(arguments.output)
    problem = deformed_problem(config)
    refuse_unknown_names(State.unlisted(problem.configuration, problem.potential), config.sensitivity)
    found = relaxed(problem, config)
    path = folder / f"{config.output.name}.h5"
    begun = time.perf_counter()
    found_out = answer(found, config)
    stages = {"relaxation": found.seconds, "sensitivity": time.perf_counter() - begun}
    provenance = io.collect(loaded.text, loaded.resolved, config.seed, stages)
    io.write_run(path, found_out.run(found, provenance), overwrite=True)
    print(io.summary(path))
    announce(path, draw(path, folder, config.output))
    check(found.verdict, reason=found.reason)
    return 0


def refuse_unknown_names(state: State, options: SensitivityOptions) -> None:
    """Look every name up before anything long runs."""
    select(state, options.parameters)
    check_names(options.observables)


def answer(found: Relaxation, config: Config) -> Answer:
    """Return dx/dp and dO/dp; nothing when the verdict is bad."""
    if found.verdict is not Verdict.CONVERGED:
        return nothing_asked(found)
    return differentiate(found, config.sensitivity.parameters, config.sensitivity.observables)


def differentiate(found: Relaxation, parameters: Sequence[str], observables: Sequence[str]) -> Answer:
    """Return the derivatives of positions and observables, by name, in the parameters of these paths."""
    response = linear_response(found)
    selection, bench = select(response.state, parameters), Workbench.at(response)
    wanted = {name: made(name, bench) for name in observables}
    positions = position_sensitivity(response, selection)
    return Answer(positions, observable_sensitivities(response, wanted, selection, positions=positions))
