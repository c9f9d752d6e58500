"""``mdsens spectrum CONFIG.toml``: the vibrations of a relaxed state, and how the softest respond to parameters."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydantic import Field
from rich.console import Console
from rich.table import Table

from mdsens import io
from mdsens.config import Names, OutputOptions, Section
from mdsens.energy import State
from mdsens.energy.paths import select
from mdsens.observables import Vibrations, eigenvalue, vibrations
from mdsens.relaxation import Relaxation
from mdsens.response import linear_response
from mdsens.sensitivity import ObservableSensitivity, observable_sensitivities
from workflows.state import Answer, StateSections, Workflow


class SpectrumOptions(Section):
    """The ``[spectrum]`` section."""

    n_modes: int | None = Field(None, ge=1, description="how many of the softest modes; all when left out")
    parameters: Names | None = Field(None, description="parameters by path in which the softest are differentiated")
    n_derivatives: int = Field(5, ge=1, le=1000, description="how many of the softest are differentiated")


class Config(StateSections):
    """The whole file."""

    spectrum: SpectrumOptions = SpectrumOptions()
    output: OutputOptions = OutputOptions(name="spectrum")


def refuse_unknown_names(state: State, config: Config) -> None:
    """Look every name up."""
    if config.spectrum.parameters is not None:
        select(state, config.spectrum.parameters)


def answer(found: Relaxation, config: Config) -> Answer:
    """Return the modes and the derivatives of the softest."""
    modes = vibrations(linear_response(found.fixed), config.spectrum.n_modes)
    derivatives = differentiate(found, modes, config.spectrum)
    return Answer(io.no_sensitivity(found), derivatives, analyses={"spectrum": tables(modes)})


def differentiate(found: Relaxation, modes: Vibrations, options: SpectrumOptions) -> tuple[ObservableSensitivity, ...]:
    """Return the derivatives of the softest eigenvalues; of degenerate ones that of their mean, once."""
    if options.parameters is None:
        return ()
    first = sorted({int(modes.cluster(k)[0]) for k in range(min(options.n_derivatives, len(modes.eigenvalues)))})
    wanted = {f"eigenvalue[{k}]": eigenvalue(modes, k) for k in first}
    response = linear_response(found)
    return observable_sensitivities(response, wanted, select(response.state, options.parameters))


def tables(modes: Vibrations) -> dict[str, np.ndarray]:
    """Return the arrays of the file."""
    return {
        "eigenvalues": modes.eigenvalues,
        "frequencies": modes.frequencies,
        "participation_ratios": modes.participation_ratios,
        "softest_mode": modes.modes[0],
        "complete": np.array(modes.complete),
    }


def print_table(path: Path, answer: Answer) -> None:
    """Print the softest modes and their derivatives."""
    modes, derivatives = answer.analyses["spectrum"], answer.observables
    table = Table(title="softest modes, unit masses")
    responses = {record.name: record for record in derivatives}
    paths = derivatives[0].paths if derivatives else ()
    for name in ("mode", "eigenvalue", "frequency", "participation ratio", *(f"d/d {path}" for path in paths)):
        table.add_column(name, justify="right")
    columns = [np.asarray(modes[name]) for name in ("eigenvalues", "frequencies", "participation_ratios")]
    for k in range(min(10, len(columns[0]))):
        record = responses.get(f"eigenvalue[{k}]")
        slopes = [""] * len(paths) if record is None else [f"{value:.6g}" for value in record.values]
        table.add_row(str(k), *(f"{column[k]:.6g}" for column in columns), *slopes)
    Console().print(table)


WORKFLOW = Workflow("spectrum", Config, answer, look_up=refuse_unknown_names, show=print_table)
run = WORKFLOW.run
