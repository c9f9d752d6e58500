"""``mdsens validity CONFIG.toml``: how far a derivative reaches, predicted and checked by stepping."""

from __future__ import annotations

import argparse

import numpy as np
from pydantic import Field
from rich.console import Console
from rich.table import Table

from mdsens import io
from mdsens.config import OutputOptions, Section, load
from mdsens.energy import State
from mdsens.energy.paths import Selection, select
from mdsens.errors import UserError
from mdsens.pressure import joint_sensitivity, pressure_response
from mdsens.pressure.sensitivity import PRESSURE
from mdsens.response import linear_response
from mdsens.results import check
from mdsens.sensitivity import position_sensitivity
from mdsens.validity import (
    Comparison,
    Follower,
    ObservedChange,
    Prediction,
    compare,
    follower,
    follower_at_pressure,
    observed_change,
    predict,
    predict_at_pressure,
    steps_around,
)
from workflows.output import announce, draw, prepare_output
from workflows.progress import counting_progress
from workflows.state import Answer, Found, StateSections, deformed_problem, nothing_asked, relaxed


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


def run(arguments: argparse.Namespace) -> int:
    """Relax, predict, step, save, draw, print."""
    loaded = load(arguments.config, schema=Config, overrides=arguments.overrides)
    config = loaded.config
    folder = prepare_output(arguments.output)
    problem = deformed_problem(config)
    unrelaxed = State.unlisted(problem.configuration, problem.potential)
    chosen(unrelaxed, config)
    found = relaxed(problem, config)
    check(found.verdict, reason=found.relaxation.reason)
    stepped = step_along(found, config)
    provenance = io.collect(loaded.text, loaded.resolved, config.seed, {"relaxation": found.seconds})
    path = folder / f"{config.output.name}.h5"
    whole = nothing_asked(found, {"validity": tables(*stepped)}).run(found, provenance)
    io.write_run(path, whole, overwrite=True)
    print_table(*stepped)
    announce(path, draw(path, folder, config.output))
    return 0


def answer(found: Found, config: Config) -> Answer:
    """Return what is predicted along the parameter, and what relaxing again there shows."""
    return nothing_asked(found, {"validity": tables(*step_along(found, config))})


def step_along(found: Found, config: Config) -> tuple[Prediction, Comparison, tuple[ObservedChange, ...]]:
    """Predict along the parameter, step there, and look for the first changes of contacts."""
    options, relaxation = config.validity, found.relaxation
    selection = chosen(relaxation.state, config)
    prediction, at = predicted(found, selection.paths, options.parameter)
    steps = steps_around(prediction, options.n_steps, options.nearest, options.farthest, options.step)
    with counting_progress("relaxing again", len(steps)) as done:
        comparison = compare(prediction, relaxation.network, at, steps, done=done)
    observed = tuple(
        observed_change(relaxation.network, at, sign * (change.step if np.isfinite(change.step) else steps.max()))
        for sign, change in ((-1, prediction.changes.down), (1, prediction.changes.up))
    )
    return prediction, comparison, observed


def chosen(state: State, config: Config) -> Selection:
    """Return the selection to respond to: the parameter's, or any one where it is the pressure.

    Raises:
        UserError: When the parameter is not a single entry, or is the pressure of a fixed box.
    """
    parameter = config.validity.parameter
    if parameter == PRESSURE:
        if config.pressure is None:
            raise UserError('validity.parameter is "pressure", which needs a [pressure] section.')
        return select(state, select(state).paths[:1])
    selection = select(state, [parameter])
    if len(selection.paths) != 1:
        raise UserError(f"validity.parameter is {parameter}; name a single entry, such as {selection.paths[0]}.")
    return selection


def predicted(found: Found, paths: tuple[str, ...], parameter: str) -> tuple[Prediction, Follower]:
    """Return what is predicted along the parameter, and how to relax again there."""
    relaxation = found.relaxation
    selection = select(relaxation.state, paths)
    if found.pressure is None:
        response = linear_response(relaxation)
        positions = position_sensitivity(response, selection)
        ahead = predict(relaxation.state, response, selection, positions)[0]
        return ahead, follower(relaxation, selection.combined(np.ones(1)), ahead)
    both = pressure_response(found.pressure)
    joint = joint_sensitivity(both, selection)
    k = int(parameter == PRESSURE)
    direction = selection.combined(np.array([1.0 - k]))
    prediction = predict_at_pressure(relaxation.state, both, selection, joint)[k]
    return prediction, follower_at_pressure(found.pressure, found.settings, direction, float(k), prediction)


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


def print_table(prediction: Prediction, comparison: Comparison, observed: tuple[ObservedChange, ...]) -> None:
    """Print the first changes and how good predictions are inside the radius."""
    table = Table(title=f"first change of a contact along {prediction.path} = {prediction.value:.9g}")
    for name in ("side", "predicted", "step", "observed", "step"):
        table.add_column(name, justify="right" if name == "step" else "left")
    sides = (("down", -1, prediction.changes.down), ("up", 1, prediction.changes.up))
    for (side, sign, change), seen in zip(sides, observed, strict=True):
        table.add_row(side, str(change), f"{sign * change.step:.4g}", seen.words, f"{seen.step:.4g}")
    console = Console()
    console.print(table)
    inside = comparison.same_contacts & np.isfinite(comparison.energy)
    if inside.any():
        energy = np.abs(comparison.predicted_energy - comparison.energy)[inside].max()
        moved = comparison.displacement[inside]
        structure = (comparison.position_error[inside] / np.where(moved > 0, moved, 1.0)).max()
        console.print(
            f"while contacts stay: energy to second order within {energy:.1e}, "
            f"positions to first order within {100 * structure:.2g} % of their displacement"
        )
