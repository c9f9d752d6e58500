"""Predictions beside re-relaxed states over the step of a parameter, and where the first contact changes."""

from __future__ import annotations

import dataclasses

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mdsens.plotting.style import BLUE, DOUBLE_COLUMN, GREY, INK, VERMILION, label_panel, new_figure, style


@dataclasses.dataclass(frozen=True)
class Validity:
    """Predictions along one parameter.

    Attributes:
        parameter: Its name.
        energy: Energy (or enthalpy) of the state.
        slope: Its first derivative.
        step: Steps, ascending, shape (m,).
        predicted_energy: Predicted to second order, shape (m,).
        relaxed_energy: Of the states relaxed again, shape (m,); NaN where there is none.
        displacement: How far the backbone moved, shape (m,).
        position_error: What the first-order prediction misses of it, shape (m,).
        same_contacts: Whether the contacts are still the same, shape (m,).
        predicted_change: Step of the first change down and up, shape (2,).
        observed_change: The same, found by stepping, shape (2,); NaN where none was.
    """

    parameter: str
    energy: float
    slope: float
    step: np.ndarray
    predicted_energy: np.ndarray
    relaxed_energy: np.ndarray
    displacement: np.ndarray
    position_error: np.ndarray
    same_contacts: np.ndarray
    predicted_change: np.ndarray
    observed_change: np.ndarray


def draw_validity(found: Validity, symbol: str = "E") -> Figure:
    r"""Draw how good predictions are over the step of a parameter, with the predicted validity radius.

    Args:
        found: The predictions and what was found.
        symbol: Of the energy, or of the enthalpy at constant pressure.

    Returns:
        The figure, two columns wide: (a) the energy beyond its tangent, predicted to second order and relaxed; (b) the
        relative errors of energy and structure, downward on the left, upward on the right.
    """
    with style():
        figure = new_figure(DOUBLE_COLUMN, 4.6)
        grid = figure.subplot_mosaic([["a", "a"], ["b", "c"]])
        _draw_energy(grid["a"], found, symbol)
        for axes, side, letter in ((grid["b"], 0, "b"), (grid["c"], 1, "c")):
            _draw_errors(axes, found, side)
            label_panel(axes, letter, x=0.02 if side else 0.92, y=0.97)
        label_panel(grid["a"], "a")
        low = min(axes.get_ylim()[0] for axes in (grid["b"], grid["c"]))
        high = max(axes.get_ylim()[1] for axes in (grid["b"], grid["c"]))
        for axes in (grid["b"], grid["c"]):
            axes.set_ylim(low, high)
        grid["b"].invert_xaxis()
        grid["b"].set_ylabel("relative error")
        grid["c"].set_yticklabels([])
        handles = [
            Line2D([], [], color=BLUE, marker="o", markersize=3, label="structure, first order"),
            Line2D(
                [], [], color=VERMILION, marker="s", markersize=3, label=f"${symbol}$ beyond its tangent, second order"
            ),
            Line2D([], [], color=INK, linestyle=(0, (4, 2)), linewidth=0.8, label="first contact change, predicted"),
            Line2D([], [], color=GREY, linestyle=":", linewidth=1.0, label="the same, found by stepping"),
        ]
        figure.legend(handles=handles, loc="outside lower center", ncols=2)
        return figure


def _draw_energy(axes: Axes, found: Validity, symbol: str) -> None:
    inner = np.abs(found.step) <= 4 * np.nanmax(_finite(np.abs(found.predicted_change), np.abs(found.step).max() / 4))
    step = found.step[inner]
    tangent = found.energy + step * found.slope
    fine = np.linspace(step.min(), step.max(), 200)
    curvature = 2 * np.polyfit(found.step, found.predicted_energy - found.energy - found.step * found.slope, 2)[0]
    axes.plot(fine, 0.5 * curvature * fine**2, color=VERMILION, zorder=1)
    same, other = found.same_contacts[inner], ~found.same_contacts[inner]
    beyond = found.relaxed_energy[inner] - tangent
    axes.plot(step[same], beyond[same], "o", color=INK, markersize=3, label="relaxed, same contacts")
    axes.plot(
        step[other], beyond[other], "o", color=INK, markersize=3.4, markerfacecolor="white", markeredgewidth=0.7,
        label="relaxed, other contacts",
    )  # fmt: skip
    _mark(axes, found.predicted_change, found.observed_change)
    axes.set_xlabel(rf"step of {found.parameter}")
    axes.set_ylabel(rf"${symbol} - {symbol}_0 - h\,d{symbol}/dp$ ($\epsilon$)")
    axes.legend(
        loc="upper center",
        bbox_to_anchor=(0.68, 1.0),
        frameon=True,
        facecolor="white",
        edgecolor="none",
        framealpha=1.0,
    )
    axes.ticklabel_format(style="sci", scilimits=(0, 0), useMathText=True)


def _draw_errors(axes: Axes, found: Validity, side: int) -> None:
    here = found.step > 0 if side else found.step < 0
    step = np.abs(found.step[here])
    beyond = found.relaxed_energy - found.energy - found.step * found.slope
    with np.errstate(divide="ignore", invalid="ignore"):
        structure = (found.position_error / found.displacement)[here]
        energy = np.abs((found.predicted_energy - found.relaxed_energy) / beyond)[here]
    axes.set_xscale("log")
    axes.set_yscale("log")
    for values, colour, marker in ((structure, BLUE, "o"), (energy, VERMILION, "s")):
        axes.plot(step, np.where(values > 0, values, np.nan), color=colour, marker=marker, markersize=3)
    _mark(axes, np.abs(found.predicted_change[side : side + 1]), np.abs(found.observed_change[side : side + 1]))
    axes.set_xlabel(f"step {'up' if side else 'down'}")


def _mark(axes: Axes, predicted: np.ndarray, observed: np.ndarray) -> None:
    for places, dashes, colour, width in ((predicted, (0, (4, 2)), INK, 0.8), (observed, ":", GREY, 1.0)):
        for place in places[np.isfinite(places)]:
            axes.axvline(place, color=colour, linewidth=width, linestyle=dashes, zorder=0)


def _finite(values: np.ndarray, otherwise: float) -> np.ndarray:
    return np.where(np.isfinite(values), values, otherwise)
