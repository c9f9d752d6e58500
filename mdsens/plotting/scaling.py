"""How times and memory grow with the number of particles, on logarithmic axes."""

from __future__ import annotations

import dataclasses

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatterMathtext, LogLocator, NullFormatter

from mdsens.plotting.style import (
    BLUE,
    DOUBLE_COLUMN,
    GREEN,
    GREY,
    INK,
    ORANGE,
    PURPLE,
    SINGLE_COLUMN,
    SKY,
    VERMILION,
    label_panel,
    new_figure,
    style,
)

_DASHES = (0, (4, 2))


@dataclasses.dataclass(frozen=True)
class RelaxationTimes:
    """Wall times of relaxations over sizes, in seconds, NaN where nothing was measured.

    Attributes:
        n_particles: Sizes, shape (s,), ascending.
        ours: Warm, shape (s, k) for k starts.
        first_call: Compilation included, shape (s, k).
        lammps_one: LAMMPS's better minimiser on one core, shape (s, k).
        lammps_two: The same on two cores, shape (s, k).
    """

    n_particles: np.ndarray
    ours: np.ndarray
    first_call: np.ndarray
    lammps_one: np.ndarray
    lammps_two: np.ndarray


@dataclasses.dataclass(frozen=True)
class ResponseCosts:
    """What a response costs over sizes; every array has shape (s,).

    Attributes:
        n_particles: Sizes, ascending.
        assembly: Wall time of the Hessian's assembly, seconds.
        factor: That of its factor.
        solve: That of one forward and one adjoint derivative.
        certificate: That of smallest eigenvalues and error estimates, apart.
        relaxation_memory: Peak memory after the relaxation, GiB.
        memory: Peak memory at the end, GiB.
        exponent: Exponent of N fitted to the sum of the first three, NaN without a fit.
        fit_from: Size from which it was fitted.
    """

    n_particles: np.ndarray
    assembly: np.ndarray
    factor: np.ndarray
    solve: np.ndarray
    certificate: np.ndarray
    relaxation_memory: np.ndarray
    memory: np.ndarray
    exponent: float
    fit_from: int

    @property
    def total(self) -> np.ndarray:
        """Wall time of the response without its certificate, shape (s,), seconds."""
        return self.assembly + self.factor + self.solve


def draw_relaxation_times(times: RelaxationTimes) -> Figure:
    """Draw the wall time of a relaxation over N: ours warm and first call, LAMMPS on one and on two cores.

    Args:
        times: Wall times of every start.

    Returns:
        The figure, one column wide: medians over starts as symbols, their range as bars behind them.
    """
    curves = (
        ("LAMMPS, one core", times.lammps_one, ORANGE, "s", "-"),
        ("LAMMPS, two cores", times.lammps_two, VERMILION, "D", "-"),
        ("mdsens", times.ours, BLUE, "o", "-"),
        ("mdsens, first call", times.first_call, SKY, "^", _DASHES),
    )
    with style():
        figure = new_figure(SINGLE_COLUMN, 2.8)
        axes = figure.subplots()
        for name, values, colour, marker, dashes in curves:
            if not np.isfinite(values).any():
                continue
            axes.vlines(
                times.n_particles, np.nanmin(values, axis=1), np.nanmax(values, axis=1), color=colour, linewidth=2.4,
                alpha=0.4, zorder=2,
            )  # fmt: skip
            _curve(axes, times.n_particles, np.nanmedian(values, axis=1), name, colour, marker, dashes)
        _axes(axes, "wall time of a relaxation (s)", 0.35)
        axes.legend(loc="upper left")
        return figure


def draw_response_costs(costs: ResponseCosts) -> Figure:
    """Draw what a response costs over N, by its stages, and the memory it takes.

    Args:
        costs: Wall times and memory of every size.

    Returns:
        The figure, two columns wide: (a) wall times, the whole with its fitted power law, (b) peak memory.
    """
    stages = (
        ("factor", costs.factor, ORANGE, "s"),
        ("assembly", costs.assembly, GREEN, "v"),
        ("forward + adjoint", costs.solve, PURPLE, "D"),
        ("certificate (apart)", costs.certificate, GREY, "x"),
    )
    with style():
        figure = new_figure(DOUBLE_COLUMN, 2.9)
        seconds, memory = figure.subplots(1, 2)
        _curve(seconds, costs.n_particles, costs.total, "response", BLUE, "o")
        for name, values, colour, marker in stages:
            _curve(seconds, costs.n_particles, np.where(values > 0, values, np.nan), name, colour, marker)
        _power_law(seconds, costs)
        _axes(seconds, "wall time (s)", 0.35)
        _curve(memory, costs.n_particles, costs.memory, "relaxation and response", BLUE, "o")
        _curve(memory, costs.n_particles, costs.relaxation_memory, "relaxation alone", SKY, "^", _DASHES)
        _axes(memory, "peak memory (GiB)", 0.2)
        for axes, letter in ((seconds, "a"), (memory, "b")):
            axes.legend(loc="upper left", bbox_to_anchor=(0.06, 1.0))
            label_panel(axes, letter)
        return figure


def _curve(
    axes: Axes, n: np.ndarray, values: np.ndarray, name: str, colour: str, marker: str, dashes: object = "-"
) -> None:
    axes.plot(
        n, values, color=colour, linestyle=dashes, marker=marker, markersize=4, markeredgewidth=0.8, zorder=3,
        label=name, gid=name,
    )  # fmt: skip


def _power_law(axes: Axes, costs: ResponseCosts) -> None:
    """Draw the fitted power law beside the points that it was fitted to."""
    fitted = costs.n_particles >= 0.9 * costs.fit_from  # lattices have about as many particles as asked for
    if not np.isfinite(costs.exponent) or fitted.sum() < 2:
        return
    n = costs.n_particles[fitted].astype(float)
    logs = np.log(costs.total[fitted]) - costs.exponent * np.log(n)
    line = 1.6 * np.exp(logs.mean()) * n**costs.exponent
    axes.plot(n, line, color=INK, linewidth=0.8, linestyle=_DASHES, zorder=2, gid="power law")
    middle = len(n) // 2
    axes.annotate(
        rf"$\propto N^{{{costs.exponent:.2f}}}$", (n[middle], line[middle]), xytext=(-4, 3),
        textcoords="offset points", ha="right", va="bottom",
    )  # fmt: skip


def _axes(axes: Axes, label: str, legend: float) -> None:
    """Set up logarithmic axes, with room for the legend above the curves as a fraction of their height."""
    axes.set_xscale("log")
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    axes.set_ylim(low, high * (high / low) ** legend)
    axes.set_xlabel("number of particles $N$")
    axes.set_ylabel(label)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator())
        axis.set_major_formatter(LogFormatterMathtext())
        axis.set_minor_formatter(NullFormatter())
