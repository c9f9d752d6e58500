"""How derivatives behave along the way of the minimiser: unrolled beside implicit, start by start."""

from __future__ import annotations

import dataclasses
import warnings

import numpy as np
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mdsens.plotting.style import BLUE, DOUBLE_COLUMN, INK, VERMILION, label_panel, new_figure, style

MARKS = (300, 1000, 3000)
_NAMES = {"unrolled": VERMILION, "implicit": BLUE}


@dataclasses.dataclass(frozen=True)
class Iterates:
    """Position sensitivities along the way of the minimiser, unrolled and implicit, NaN where undefined.

    Attributes:
        step: Steps at which both were taken, shape (s,), ascending.
        unrolled_l1: L1 norm of the derivative of the unrolled minimiser, shape (n_starts, s).
        implicit_l1: L1 norm of the implicit derivative at the same iterates, shape (n_starts, s).
        reference_l1: L1 norm of the reference answer, shape (n_starts,).
        unrolled_error: Relative error of the unrolled derivative against the reference, shape (n_starts, s).
        implicit_error: Relative error of the implicit one, shape (n_starts, s).
        n_refused: Number of starts without a reference answer (unjammed or not converged).
    """

    step: np.ndarray
    unrolled_l1: np.ndarray
    implicit_l1: np.ndarray
    reference_l1: np.ndarray
    unrolled_error: np.ndarray
    implicit_error: np.ndarray
    n_refused: int


def draw_iterates(iterates: Iterates, *, parameter: str = "", marks: tuple[int, ...] = MARKS) -> Figure:
    """Draw the L1 norm of the position sensitivity, and its relative error, over the minimiser's steps.

    Thin lines are single starts, thick ones medians over the starts where the derivative is defined; dotted vertical
    lines mark chosen step counts; the short lines at the right edge of the left panel are the reference answers.

    Args:
        iterates: The arrays.
        parameter: Name of the parameter theta; empty for theta alone.
        marks: Steps to mark.

    Returns:
        The figure, two columns wide: (a) norm, (b) relative error.
    """
    with style():
        figure = new_figure(DOUBLE_COLUMN, 2.75)
        norm, error = figure.subplots(1, 2)
        _draw_bundle(norm, iterates.step, iterates.unrolled_l1, "unrolled")
        _draw_bundle(norm, iterates.step, iterates.implicit_l1, "implicit")
        _draw_references(norm, iterates.reference_l1)
        norm.set_ylabel(
            r"$\Vert\partial\mathbf{x}/\partial\theta\Vert_1$" + (f",  $\\theta$ = {parameter}" if parameter else "")
        )
        _draw_bundle(error, iterates.step, iterates.unrolled_error, "unrolled")
        _draw_bundle(error, iterates.step, iterates.implicit_error, "implicit")
        error.set_ylabel("relative error")
        for axes, letter in ((norm, "a"), (error, "b")):
            _finish(axes, iterates.step, marks)
            label_panel(axes, letter)
        _draw_legend(error, iterates)
        return figure


def _draw_bundle(axes: Axes, step: np.ndarray, values: np.ndarray, name: str) -> None:
    """Add one thin line per start (where positive and finite) and their median."""
    shown = np.where(values > 0, values, np.nan)
    lines = [np.column_stack([step, row]) for row in shown]
    bundle = LineCollection(lines, colors=_NAMES[name], linewidths=0.5, alpha=0.3, zorder=2, gid=name)
    axes.add_collection(bundle)
    halo = [patheffects.Stroke(linewidth=2.8, foreground="white"), patheffects.Normal()]
    axes.plot(step, median(shown), color=_NAMES[name], linewidth=1.6, path_effects=halo, zorder=4, gid=f"median {name}")


def median(values: np.ndarray) -> np.ndarray:
    """Return the median over starts, shape (s,), ignoring NaN; NaN where fewer than half of the starts have a value."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a step at which no start has a value
        middle = np.nanmedian(values, axis=0)
    return np.where(np.isfinite(values).mean(axis=0) >= 0.5, middle, np.nan)


def _draw_references(axes: Axes, reference: np.ndarray) -> None:
    known = reference[np.isfinite(reference)]
    axes.plot(
        np.ones(len(known)), known, linestyle="none", marker=0, markersize=4, color=INK, markeredgewidth=0.5,
        transform=axes.get_yaxis_transform(), clip_on=False, zorder=5, gid="reference",
    )  # fmt: skip


def _finish(axes: Axes, step: np.ndarray, marks: tuple[int, ...]) -> None:
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(step.min(), step.max() * 1.15)
    axes.autoscale_view(scalex=False)
    axes.set_xlabel("FIRE steps")
    for mark in (mark for mark in marks if step.min() < mark <= step.max()):
        axes.axvline(mark, color=INK, linewidth=0.6, linestyle=(0, (1, 2)), zorder=1)
        axes.annotate(
            f"{mark}", (mark, 1.0), xycoords=("data", "axes fraction"), xytext=(0, 2), textcoords="offset points",
            ha="center", va="bottom", fontsize=8,
        )  # fmt: skip


def _draw_legend(error: Axes, iterates: Iterates) -> None:
    handles = [Line2D([], [], color=colour, linewidth=1.6, label=name) for name, colour in _NAMES.items()]
    ticks = Line2D(
        [], [], color=INK, marker="_", markersize=5, linestyle="none", markeredgewidth=0.7, label="reference answers"
    )
    error.legend(handles=[*handles, ticks], loc="lower left", bbox_to_anchor=(0.02, 0.17))
    n = len(iterates.reference_l1)
    text = f"{n - iterates.n_refused} of {n} starts jammed and converged\n{iterates.n_refused} refused"
    error.text(0.03, 0.04, text, transform=error.transAxes, fontsize=8)
