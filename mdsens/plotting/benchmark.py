"""Measured numbers over their targets, one bar each."""

from __future__ import annotations

import dataclasses
import textwrap

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from mdsens.plotting import labels
from mdsens.plotting.style import BLUE, DOUBLE_COLUMN, INK, VERMILION, new_figure, style

_WIDEST = 1e4  # bars end here: a margin beyond it says no more


@dataclasses.dataclass(frozen=True)
class Benchmark:
    """Measured numbers beside their targets.

    Attributes:
        names: What was measured, length k.
        measured: The numbers, shape (k,).
        target: What they must reach, shape (k,).
        sense: "at least" or "at most" for every row.
    """

    names: tuple[str, ...]
    measured: np.ndarray
    target: np.ndarray
    sense: tuple[str, ...]

    @property
    def passed(self) -> np.ndarray:
        """Whether every row reaches its target, shape (k,); NaN does not."""
        at_least = np.array([sense == "at least" for sense in self.sense], dtype=bool)
        return np.where(at_least, self.measured >= self.target, self.measured <= self.target)


def margins(benchmark: Benchmark) -> np.ndarray:
    """Return how many times better than its target every number is, shape (k,): above 1 passes, below 1 fails.

    Measured over target where at least the target is asked for, target over measured where at most;
    infinite for a perfect 0, NaN where the measured number is not one.
    """
    at_least = np.array([sense == "at least" for sense in benchmark.sense], dtype=bool)
    upper = np.where(at_least, benchmark.measured, benchmark.target).astype(float)
    lower = np.where(at_least, benchmark.target, benchmark.measured).astype(float)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = upper / lower
    return np.where((upper == 0) & (lower == 0), 1.0, ratio)


def draw_benchmark(benchmark: Benchmark) -> Figure:
    """Draw one horizontal bar per row from the target (1) to the margin by which it is passed or missed.

    Args:
        benchmark: The rows.

    Returns:
        The figure, two columns wide; bars to the right of the line pass, hatched ones to its left do not.
    """
    margin, passed = margins(benchmark), benchmark.passed
    length = np.clip(np.where(np.isfinite(margin) | np.isposinf(margin), margin, 1 / _WIDEST), 1 / _WIDEST, _WIDEST)
    with style():
        names = [textwrap.fill(name, 46) for name in benchmark.names]
        figure = new_figure(DOUBLE_COLUMN, 0.75 + 0.34 * len(names))
        axes = figure.subplots()
        rows = np.arange(len(names))
        bars = axes.barh(rows, length - 1.0, left=1.0, height=0.62, zorder=2)
        for bar, good in zip(bars, passed, strict=True):
            bar.set(
                facecolor=BLUE if good else "white",
                edgecolor=BLUE if good else VERMILION,
                hatch="" if good else "/////",
            )
        exact = np.abs(np.log(length)) < 0.02  # too short a bar to see
        axes.plot(length[exact], rows[exact], linestyle="none", marker="o", markersize=4, color=BLUE, zorder=4)
        axes.axvline(1.0, color=INK, linewidth=0.9, zorder=3)
        axes.set_xscale("log")
        axes.set_xlim(min(0.5, 0.7 * length.min(initial=1.0)), 1.6 * max(10.0, length.max(initial=1.0)))
        axes.set_yticks(rows, names, fontsize=8, linespacing=1.0)
        axes.invert_yaxis()
        axes.set_xlabel("times better than the target")
        axes.tick_params(axis="y", left=False, right=False)
        _write_numbers(figure, benchmark, passed)
        legend = [
            Patch(facecolor=BLUE, label="passes"),
            Patch(facecolor="white", edgecolor=VERMILION, hatch="/////", label="fails"),
        ]
        axes.legend(handles=legend, loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0.1)
        return figure


def _write_numbers(figure: Figure, benchmark: Benchmark, passed: np.ndarray) -> None:
    axes = figure.axes[0]
    for row, (measured, target, sense) in enumerate(
        zip(benchmark.measured, benchmark.target, benchmark.sense, strict=True)
    ):
        sign = r"$\geq$" if sense == "at least" else r"$\leq$"
        mark = "pass" if passed[row] else "FAIL"
        text = f"{labels.scientific(float(measured))}   ({sign} {labels.scientific(float(target))})   {mark}"
        axes.annotate(
            text, (1.0, row), xycoords=("axes fraction", "data"), xytext=(5, 0), textcoords="offset points",
            va="center", fontsize=8, color=INK if passed[row] else VERMILION,
        )  # fmt: skip
