"""``mdsens sensitivity CONFIG.toml``: relax, differentiate, certify, save and draw one system."""

from __future__ import annotations

from collections.abc import Sequence

from mdsens import io
from mdsens.config import OutputOptions, SensitivityOptions
from mdsens.energy import State
from mdsens.energy.paths import select
from mdsens.observables import Workbench, check_names, made
from mdsens.relaxation import Relaxation
from mdsens.response import linear_response
from mdsens.sensitivity import observable_sensitivities, position_sensitivity
from workflows.state import Answer, StateSections, Workflow


class Config(StateSections):
    """The whole file."""

    sensitivity: SensitivityOptions
    output: OutputOptions = OutputOptions(name="sensitivity")


def refuse_unknown_names(state: State, config: Config) -> None:
    """Look every name up."""
    select(state, config.sensitivity.parameters)
    check_names(config.sensitivity.observables)


def answer(found: Relaxation, config: Config) -> Answer:
    """Return dx/dp and dO/dp."""
    return differentiate(found, config.sensitivity.parameters, config.sensitivity.observables)


def differentiate(found: Relaxation, parameters: Sequence[str], observables: Sequence[str]) -> Answer:
    """Return the derivatives of positions and observables, by name, in the parameters of these paths."""
    response = linear_response(found)
    selection, bench = select(response.state, parameters), Workbench.at(response)
    wanted = {name: made(name, bench) for name in observables}
    positions = position_sensitivity(response, selection)
    return Answer(positions, observable_sensitivities(response, wanted, selection, positions=positions))


WORKFLOW = Workflow(
    "sensitivity", Config, answer, look_up=refuse_unknown_names, show=lambda path, answer: print(io.summary(path))
)
run = WORKFLOW.run
