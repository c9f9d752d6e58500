"""The way of one relaxation: energy and largest force over steps."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mdsens.plotting.style import BLUE, GREY, SINGLE_COLUMN, VERMILION, label_panel, new_figure, style


def draw_history(
    energy: np.ndarray, max_force: np.ndarray, newton: np.ndarray, *, minimizer: str, tolerance: float = 0.0
) -> Figure:
    """Draw how energy and largest force fall; Newton steps are marked.

    Args:
        energy: Energy after every step, shape (k,), units of energy.
        max_force: Largest force after every step, shape (k,), units of energy per length.
        newton: True for Newton steps, shape (k,).
        minimizer: Name of the minimiser that took the other steps.
        tolerance: The force asked for, drawn as a line when positive.

    Returns:
        The figure, one column wide: (a) energy above its final value where that is positive, (b) largest force.
    """
    with style():
        figure = new_figure(SINGLE_COLUMN, 3.5)
        upper, lower = figure.subplots(2, 1, sharex=True)
        step = np.arange(1, len(energy) + 1)
        _trace(upper, step, energy - energy[-1], newton, minimizer)
        upper.set_ylabel(r"$E-E_\mathrm{final}$ ($\epsilon$)")
        _trace(lower, step, max_force, newton, minimizer)
        lower.set_ylabel(r"$\max_i|\mathbf{F}_i|$ ($\epsilon/\sigma$)")
        lower.set_xlabel("steps")
        if tolerance > 0:
            lower.axhline(tolerance, color=GREY, linewidth=0.7, linestyle=(0, (4, 2)), zorder=1)
            lower.annotate(
                "tolerance", (0.03, tolerance), xycoords=("axes fraction", "data"), xytext=(0, 2), color=GREY,
                textcoords="offset points", fontsize=8,
            )  # fmt: skip
        for axes, letter in ((upper, "a"), (lower, "b")):
            label_panel(axes, letter, x=0.94)
        if newton.any():
            upper.legend(loc="lower left")
        figure.align_ylabels([upper, lower])
        return figure


def _trace(axes: Axes, step: np.ndarray, values: np.ndarray, newton: np.ndarray, minimizer: str) -> None:
    """Add a logarithmic curve, without what is not positive, and a marker at every Newton step."""
    shown = np.where(values > 0, values, np.nan)
    axes.set_yscale("log")
    axes.plot(step, shown, color=BLUE, zorder=2, label=minimizer, gid="trace")
    axes.plot(
        step[newton], shown[newton], linestyle="none", marker="D", markersize=3.2, color=VERMILION,
        markeredgecolor="white", markeredgewidth=0.3, zorder=3, label=f"Newton ({newton.sum()} steps)", gid="newton",
    )  # fmt: skip


def draw_box_history(volumes: np.ndarray, stress_errors: np.ndarray, *, tolerance: float = 0.0) -> Figure:
    """Draw the way of the box at constant pressure.

    Args:
        volumes: Volume after every step of the box, the start first, shape (k,).
        stress_errors: Largest deviation of the stress from the pressure at the same states, shape (k,).
        tolerance: The deviation asked for, drawn as a line when positive.

    Returns:
        The figure, one column wide: (a) volume, (b) deviation of the stress.
    """
    with style():
        figure = new_figure(SINGLE_COLUMN, 3.2)
        upper, lower = figure.subplots(2, 1, sharex=True)
        step = np.arange(len(volumes))
        upper.plot(step, volumes, color=BLUE, marker="o", markersize=3)
        upper.set_ylabel(r"$V$ ($\sigma^d$)")
        lower.set_yscale("log")
        lower.plot(step, np.where(stress_errors > 0, stress_errors, np.nan), color=BLUE, marker="o", markersize=3)
        lower.set_ylabel(r"stress error ($\epsilon/\sigma^d$)")
        lower.set_xlabel("steps of the box")
        if tolerance > 0:
            lower.axhline(tolerance, color=GREY, linewidth=0.7, linestyle=(0, (4, 2)), zorder=1)
        label_panel(upper, "a", x=0.94, y=0.5)
        label_panel(lower, "b", x=0.94)
        figure.align_ylabels([upper, lower])
        return figure
