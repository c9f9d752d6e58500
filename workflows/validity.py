"""``mdsens validity CONFIG.toml``: how far a derivative reaches, predicted and checked by stepping."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field
from rich.console import Console
from rich.table import Table

from mdsens.config import OutputOptions, Section
from mdsens.energy import State
from mdsens.energy.paths import PRESSURE, Selection, select
from mdsens.errors import UserError
from mdsens.machine.progress import counting_progress
from mdsens.relaxation import Relaxation
from mdsens.response import linear_response
from mdsens.sensitivity import position_sensitivity
from mdsens.validity import (
    Comparison,
    ObservedChange,
    Prediction,
    compare,
    follower,
    observed_change,
    predict,
    steps_around,
)
from workflows.state import Answer, StateSections, Workflow, nothing_asked


class ValidityOptions(Section):
    """The ``[validity]`` section."""

    parameter: str = Field(min_length=1, description='the parameter by path, or "pressure" at constant pressure')
    n_steps: int = Field(12, ge=2, le=1000, description="steps on each side, evenly spaced in their logarithm")
    nearest: float = Field(0.01, gt=0, lt=1, description="smallest step, units of the predicted radius")
    farthest: float = Field(10.0, gt=1, le=1e6, description="largest step, units of the predicted radius")
    step: float | None = Field(
        None,
        gt=0,
        description="unit of the steps instead of the radius, for laws without kinks",
    )


class Config(StateSections):
    """The whole file."""

    validity: ValidityOptions
    output: OutputOptions = OutputOptions(name="validity")


def answer(found: Relaxation, config: Config) -> Answer:
    """Return what is predicted along the parameter, and what relaxing again there shows."""
    return nothing_asked(found, {"validity": tables(*step_along(found, config))})


def step_along(found: Relaxation, config: Config) -> tuple[Prediction, Comparison, tuple[ObservedChange, ...]]:
    """Predict along the parameter, step there, and look for the first changes of contacts."""
    options, response = config.validity, linear_response(found)
    selection = chosen(found.state, config)
    k = selection.paths.index(options.parameter) if options.parameter in selection.paths else 0
    positions = position_sensitivity(response, selection)
    prediction = predict(found.state, response, selection, positions)[k]
    at = follower(found, selection.combined(np.eye(len(selection.paths))[k]), prediction)
    steps = steps_around(prediction, options.n_steps, options.nearest, options.farthest, options.step)
    with counting_progress("relaxing again", len(steps)) as done:
        comparison = compare(prediction, found.network, at, steps, done=done)
    observed = tuple(
        observed_change(found.network, at, sign * (change.step if np.isfinite(change.step) else steps.max()))
        for sign, change in ((-1, prediction.changes.down), (1, prediction.changes.up))
    )
    return prediction, comparison, observed


def chosen(state: State, config: Config) -> Selection:
    """Return the selection to respond to: the parameter, and at constant pressure the pressure besides.

    Raises:
        UserError: When the parameter is not a single entry, or is the pressure of a fixed box.
    """
    parameter = config.validity.parameter
    if parameter == PRESSURE and config.pressure is None:
        raise UserError('validity.parameter is "pressure", which needs a [pressure] section.')
    if parameter == PRESSURE:
        return select(state, select(state).paths[:1])
    selection = select(state, [parameter])
    named = [path for path in selection.paths if path != PRESSURE]
    if len(named) != 1:
        raise UserError(f"validity.parameter is {parameter}; name a single entry, such as {named[0]}.")
    return selection


def tables(
    prediction: Prediction, comparison: Comparison, observed: tuple[ObservedChange, ...]
) -> dict[str, np.ndarray | str]:
    """Return the arrays of the file."""
    sides = (prediction.changes.down, prediction.changes.up)
    return {
        "parameter": prediction.path,
        "value": np.array(prediction.value),
        "energy": np.array(prediction.energy),
        "slope": np.array(prediction.slope),
        "curvature": np.array(prediction.curvature),
        "predicted_words": np.array([str(side) for side in sides]),
        "predicted_change": np.array([-sides[0].step, sides[1].step]),
        "observed_change": np.array([change.step for change in observed]),
        "observed_words": np.array([change.words for change in observed]),
        "changing_pair": np.array([side.pair for side in sides]),
        "closes": np.array([side.closes for side in sides]),
        "step": comparison.step,
        "predicted_energy": comparison.predicted_energy,
        "relaxed_energy": comparison.energy,
        "displacement": comparison.displacement,
        "position_error": comparison.position_error,
        "same_contacts": comparison.same_contacts,
    }


def print_table(path: Path, answer: Answer) -> None:
    """Print the first changes and how good predictions are inside the radius."""
    found: dict[str, Any] = dict(answer.analyses["validity"])
    table = Table(title=f"first change of a contact along {found['parameter']} = {float(found['value']):.9g}")
    for name in ("side", "predicted", "step", "observed", "step"):
        table.add_column(name, justify="right" if name == "step" else "left")
    names = ("predicted_words", "predicted_change", "observed_words", "observed_change")
    for side, *row in zip(("down", "up"), *(found[name] for name in names), strict=True):
        table.add_row(side, str(row[0]), f"{row[1]:.4g}", str(row[2]), f"{row[3]:.4g}")
    console = Console()
    console.print(table)
    inside = found["same_contacts"] & np.isfinite(found["relaxed_energy"])
    if inside.any():
        energy = np.abs(found["predicted_energy"] - found["relaxed_energy"])[inside].max()
        moved = found["displacement"][inside]
        structure = (found["position_error"][inside] / np.where(moved > 0, moved, 1.0)).max()
        console.print(
            f"while contacts stay: energy to second order within {energy:.1e}, "
            f"positions to first order within {100 * structure:.2g} % of their displacement"
        )


WORKFLOW = Workflow("validity", Config, answer, look_up=chosen, show=print_table)
run = WORKFLOW.run
