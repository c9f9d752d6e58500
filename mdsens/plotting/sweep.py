"""Ensemble averages over a parameter, with their standard errors."""

from __future__ import annotations

import dataclasses

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mdsens.plotting.style import BLUE, GREEN, INK, PURPLE, SINGLE_COLUMN, VERMILION, label_panel, new_figure, style


@dataclasses.dataclass(frozen=True)
class Sweep:
    """Ensemble averages over a parameter at constant packing fraction; every array has shape (t,).

    Attributes:
        theta: Values of the parameter.
        energy_mean: Mean energy per packing, units of energy.
        energy_sem: Its standard error.
        slope_total_mean: Mean of dE/dtheta at constant packing fraction, (dE/dtheta)_L + (dE/dL) dL/dtheta.
        slope_total_sem: Its standard error.
        slope_fixed_box_mean: Mean of (dE/dtheta)_L.
        slope_fixed_box_sem: Its standard error.
        magnitude_mean: Mean over particles and packings of |dx_i/dtheta| at fixed box.
        magnitude_sem: Its standard error over packings.
        n_used: Packings averaged.
        n_refused: Packings refused (unjammed or not converged).
    """

    theta: np.ndarray
    energy_mean: np.ndarray
    energy_sem: np.ndarray
    slope_total_mean: np.ndarray
    slope_total_sem: np.ndarray
    slope_fixed_box_mean: np.ndarray
    slope_fixed_box_sem: np.ndarray
    magnitude_mean: np.ndarray
    magnitude_sem: np.ndarray
    n_used: np.ndarray
    n_refused: np.ndarray


def draw_sweep(sweep: Sweep, *, parameter: str = "") -> Figure:
    """Draw mean energy, its slopes and the mean size of the position sensitivity over the parameter.

    Bands are one standard error to either side. The slope panels show the mean total derivative at constant
    packing fraction beside the slope of the mean curve between neighbouring points (with its standard error), and the
    derivative at fixed box. Numbers along the top count refused packings.

    Args:
        sweep: The averages.
        parameter: Name of the parameter theta, a length; empty for theta alone.

    Returns:
        The figure, one column wide, four panels.
    """
    with style():
        figure = new_figure(SINGLE_COLUMN, 5.9)
        panels = figure.subplots(4, 1, sharex=True, height_ratios=[1, 1.15, 0.85, 1])
        energy, total, fixed, magnitude = panels
        _band(energy, sweep.theta, sweep.energy_mean, sweep.energy_sem, BLUE)
        energy.set_ylabel(r"$\langle E\rangle$ ($\epsilon$)")
        _band(total, sweep.theta, sweep.slope_total_mean, sweep.slope_total_sem, VERMILION, "mean derivative")
        _differences(total, sweep)
        total.axhline(0.0, color=INK, linewidth=0.5, zorder=1)
        total.set_ylabel(r"$\langle dE/d\theta\rangle_\phi$ ($\epsilon/\sigma$)")
        total.legend(loc="best")
        _band(fixed, sweep.theta, sweep.slope_fixed_box_mean, sweep.slope_fixed_box_sem, PURPLE)
        fixed.set_ylabel(r"$\langle\partial E/\partial\theta\rangle_L$ ($\epsilon/\sigma$)")
        _band(magnitude, sweep.theta, sweep.magnitude_mean, sweep.magnitude_sem, GREEN)
        magnitude.set_ylabel(r"$\langle|\partial\mathbf{x}_i/\partial\theta|_L\rangle$")
        magnitude.set_xlabel(r"$\theta$" + (f" = {parameter}" if parameter else "") + r" ($\sigma$)")
        _write_counts(energy, sweep)
        for axes, letter in zip(panels, "abcd", strict=True):
            axes.margins(y=0.12)
            label_panel(axes, letter)
        figure.align_ylabels(panels)
        return figure


def curve_slopes(sweep: Sweep) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the slope of the mean energy between neighbouring points: midpoints, slopes, errors, shape (t - 1,).

    The packings of neighbouring points count as independent.
    """
    width = np.diff(sweep.theta)
    sem = np.hypot(sweep.energy_sem[1:], sweep.energy_sem[:-1]) / width
    return sweep.theta[:-1] + 0.5 * width, np.diff(sweep.energy_mean) / width, sem


def _band(axes: Axes, x: np.ndarray, mean: np.ndarray, sem: np.ndarray, colour: str, label: str = "") -> None:
    axes.fill_between(x, mean - sem, mean + sem, color=colour, alpha=0.25, linewidth=0, zorder=2)
    line = axes.plot(x, mean, color=colour, marker="o", markersize=3, zorder=3)[0]
    line.set_label(label or "_mean")


def _differences(axes: Axes, sweep: Sweep) -> None:
    middle, slope, sem = curve_slopes(sweep)
    axes.errorbar(
        middle, slope, yerr=sem, linestyle="none", marker="s", markersize=3.2, markerfacecolor="white", color=INK,
        elinewidth=0.6, markeredgewidth=0.6, zorder=2.5, label=r"differences of $\langle E\rangle$",
    )  # fmt: skip


def _write_counts(axes: Axes, sweep: Sweep) -> None:
    """Write the number of refused packings above every point, and how many were tried."""
    for x, refused in zip(sweep.theta, sweep.n_refused, strict=True):
        axes.annotate(
            f"{int(refused)}", (x, 1.0), xycoords=("data", "axes fraction"), xytext=(0, 2), textcoords="offset points",
            ha="center", va="bottom", fontsize=8,
        )  # fmt: skip
    tried = np.unique(sweep.n_used + sweep.n_refused).astype(int)
    number = f"{tried[0]}" if len(tried) == 1 else f"{tried[0]} to {tried[-1]}"
    axes.set_title(
        f"bands: $\\pm$ one standard error; refused, of {number} packings each:", fontsize=8, loc="center", pad=13
    )
