"""``mdsens sensitivity CONFIG.toml``: relax, differentiate, certify, save and draw one system."""

from __future__ import annotations

import argparse
import time

from mdsens import io
from mdsens.config import OutputOptions, SensitivityOptions, load
from mdsens.energy import State
from mdsens.observables import Workbench, check_names, made
from mdsens.pairs import all_pairs
from mdsens.paths import select
from mdsens.pressure import JointSensitivity, joint_sensitivity, observables_at_pressure, pressure_response
from mdsens.response import linear_response
from mdsens.results import Verdict, check
from mdsens.sensitivity import (
    ObservableSensitivity,
    PositionSensitivity,
    observable_sensitivities,
    position_sensitivity,
)
from workflows.output import announce, draw, prepare_output
from workflows.state import Found, StateSections, deformed_problem, relaxed


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
    refuse_unknown_names(
        State(problem.configuration, problem.potential, problem.params, all_pairs(2)), config.sensitivity
    )
    found = relaxed(problem, config)
    path = folder / f"{config.output.name}.h5"
    begun = time.perf_counter()
    positions, observables, joint = differentiate(found, config.sensitivity)
    stages = {"relaxation": found.seconds, "sensitivity": time.perf_counter() - begun}
    provenance = io.collect(loaded.text, loaded.resolved, config.seed, stages)
    whole = io.Run(found.relaxation, positions, observables, provenance, found.pressure, joint)
    io.write_run(path, whole, overwrite=True)
    print(io.summary(path))
    announce(path, draw(path, folder, config.output))
    check(found.verdict)
    return 0


def refuse_unknown_names(state: State, options: SensitivityOptions) -> None:
    """Look every name up before anything long runs."""
    select(state, options.parameters)
    check_names(options.observables)


def differentiate(
    found: Found, options: SensitivityOptions
) -> tuple[PositionSensitivity, tuple[ObservableSensitivity, ...], JointSensitivity | None]:
    """Return dx/dp, dO/dp and, at constant pressure, the joint sensitivity; nothing when the verdict is bad."""
    if found.verdict is not Verdict.CONVERGED:
        return io.no_sensitivity(found.relaxation), (), None
    if found.pressure is None:
        response = linear_response(found.relaxation)
        selection, bench = select(response.state, options.parameters), Workbench.at(response)
        wanted = {name: made(name, bench) for name in options.observables}
        positions = position_sensitivity(response, selection)
        return positions, observable_sensitivities(response, wanted, selection, positions=positions), None
    both = pressure_response(found.pressure)
    selection, bench = select(both.state, options.parameters), Workbench.at(both.fixed, found.pressure.pressure)
    wanted = {name: made(name, bench) for name in options.observables}
    joint = joint_sensitivity(both, selection)
    return joint.as_positions, observables_at_pressure(both, wanted, selection, joint=joint), joint
