"""How thermal averages and their derivatives settle, and whether their error bars have."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mdsens.plotting.labels import log_axis
from mdsens.plotting.style import BLUE, DOUBLE_COLUMN, GREY, INK, VERMILION, label_panel, new_figure, style

_MOST = 6  # rows of a figure
_OBSERVABLES = {
    "energy": "U",
    "energy_per_particle": "U/N",
    "pressure": "P",
    "packing_fraction": r"\phi",
    "mean_overlap": r"\delta",
}
_PARAMETERS = {"epsilon": r"\epsilon", "sigma": r"\sigma", "alpha": r"\alpha", "length": "L", "matrix": "B"}


@dataclasses.dataclass(frozen=True)
class Convergence:
    """Running averages and block errors of q quantities: averages <A> and their derivatives d<A>/dp.

    Attributes:
        observable: A, shape (q,).
        parameter: p, shape (q,); empty for the average itself.
        time: Sampled time, shape (t,).
        running: Average up to that time over all replicas, shape (q, t).
        band: Its standard error, shape (q, t).
        replicas: The same of each of r replicas, shape (q, r, t).
        block_time: Length of the blocks, shape (b,), units of time.
        block_error: Standard error as blocks of that length see it, shape (q, b).
        block_spread: Standard error of that error, shape (q, b).
        error: The standard error reported, shape (q,).
        correlated: Twice the autocorrelation time, shape (q,).
    """

    observable: np.ndarray
    parameter: np.ndarray
    time: np.ndarray
    running: np.ndarray
    band: np.ndarray
    replicas: np.ndarray
    block_time: np.ndarray
    block_error: np.ndarray
    block_spread: np.ndarray
    error: np.ndarray
    correlated: np.ndarray


def draw_convergence(convergence: Convergence) -> Figure:
    """Draw running averages beside the errors that blocks of growing length see, one row per quantity.

    Left: the average over all replicas with its standard error (band), single replicas (thin lines) and the final value
    (dashed). Right: the errors of block averages rise to a plateau at the reported error (line) once blocks are longer
    than twice the autocorrelation time (dotted).

    Args:
        convergence: The arrays; of more than six quantities the first six are drawn, averages before derivatives.

    Returns:
        The figure, two columns wide.
    """
    order = np.argsort(convergence.parameter != "", kind="stable")[:_MOST]
    with style():
        figure = new_figure(DOUBLE_COLUMN, 0.35 + 1.3 * len(order))
        panels = figure.subplots(len(order), 2, sharex="col", squeeze=False, width_ratios=[1.5, 1.0])
        for row, k in enumerate(order):
            _draw_running(panels[row, 0], convergence, int(k))
            _draw_blocks(panels[row, 1], convergence, int(k))
            for column, letter in enumerate("ab"):
                label_panel(panels[row, column], f"{letter}{row + 1}", x=0.925 if letter == "a" else 0.88)
        panels[-1, 0].set_xlabel(r"sampled time per replica (units in which $\sigma=\epsilon=m=1$)")
        panels[-1, 1].set_xlabel("length of blocks in time")
        for axes in panels[0]:
            axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, columnspacing=1.2)
        figure.align_ylabels(panels)
        return figure


def _draw_running(axes: Axes, convergence: Convergence, k: int) -> None:
    time, mean = convergence.time, convergence.running[k]
    band = np.where(np.isfinite(convergence.band[k]), convergence.band[k], np.nan)
    for number, replica in enumerate(convergence.replicas[k]):
        name = "_" if number else "replicas"
        axes.plot(time, replica, color=GREY, linewidth=0.5, alpha=0.6, zorder=2, label=name, gid="replica")
    axes.fill_between(time, mean - band, mean + band, color=BLUE, alpha=0.25, linewidth=0, zorder=3)
    axes.plot(time, mean, color=BLUE, zorder=4, label=r"all, $\pm$ one standard error", gid="running")
    axes.axhline(mean[-1], color=INK, linewidth=0.6, linestyle=(0, (4, 2)), zorder=1)
    axes.set_ylabel(quantity_symbol(str(convergence.observable[k]), str(convergence.parameter[k])))
    axes.set_xlim(0, time[-1])
    axes.set_ylim(*_limits(convergence, k))


def _limits(convergence: Convergence, k: int) -> tuple[float, float]:
    """Return limits that show the last nine tenths of the way in full, with room for the letter and the legend."""
    late = convergence.time > 0.1 * convergence.time[-1]
    shown = convergence.replicas[k][:, late]
    low, high = float(shown.min()), float(shown.max())
    extent = max(high - low, 8.0 * _shown(convergence.error[k]), 1e-12)
    return low - 0.1 * extent, high + 0.35 * extent


def _shown(error: float) -> float:
    """Return an error for choosing limits; one that is not known takes no room."""
    return float(error) if np.isfinite(error) else 0.0


def _draw_blocks(axes: Axes, convergence: Convergence, k: int) -> None:
    axes.errorbar(
        convergence.block_time, convergence.block_error[k], yerr=convergence.block_spread[k], color=VERMILION,
        linestyle="none", marker="o", markersize=3, elinewidth=0.7, zorder=3, label="block averages",
    )  # fmt: skip
    if np.isfinite(convergence.error[k]):
        axes.axhline(convergence.error[k], color=BLUE, zorder=2, label="standard error")
        dots = (0, (1, 2))
        axes.axvline(convergence.correlated[k], color=INK, linewidth=0.7, linestyle=dots, zorder=1, label=r"$2\tau$")
    axes.set_xscale("log")
    log_axis(axes.xaxis)
    top = max(_shown(convergence.error[k]), float((convergence.block_error[k] + convergence.block_spread[k]).max()))
    axes.set_ylim(0.0, 1.25 * top or 1.0)
    axes.set_ylabel("error")


def quantity_symbol(observable: str, parameter: str) -> str:
    r"""Return the symbol of an average or its derivative, such as :math:`\partial\langle P\rangle/\partial\sigma`."""
    inner = rf"\langle {_observable_symbol(observable)}\rangle"
    return rf"$\partial {inner}/\partial {_parameter_symbol(parameter)}$" if parameter else f"${inner}$"


def _observable_symbol(name: str) -> str:
    if stress := re.fullmatch(r"stress\[(\d),(\d)\]", name):
        return r"\sigma_{" + "".join("xyz"[int(axis)] for axis in stress.groups()) + "}"
    return _OBSERVABLES.get(name, r"\mathrm{" + name.replace("_", r"\ ") + "}")


def _parameter_symbol(path: str) -> str:
    head, _, index = path.split(".")[-1].partition("[")
    symbol = _PARAMETERS.get(head, r"\mathrm{" + head.replace("_", r"\ ") + "}")
    return symbol + (rf"_{{{index.rstrip(']').replace(',', '')}}}" if index else "")
