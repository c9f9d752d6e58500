"""Parameters from structures: the loss over relaxations, the parameters' way, and target over fitted structure."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import EllipseCollection, LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from mdsens.plotting import labels
from mdsens.plotting.geometry import corners_of, nearest, wrapped
from mdsens.plotting.iterates import median
from mdsens.plotting.page import beside, frame, page, side_height, write_facts
from mdsens.plotting.style import (
    BLUE,
    DOUBLE_COLUMN,
    FILLS,
    GREEN,
    GREY,
    INK,
    ORANGE,
    PURPLE,
    SINGLE_COLUMN,
    SKY,
    VERMILION,
    new_figure,
    style,
)  # fmt: skip

_COLOURS = (BLUE, VERMILION, GREEN, ORANGE, PURPLE, SKY)
_MARKERS = "osD^vP"
_SMALLEST = 1e-16  # relative errors below it are rounding and drawn there
_KEY = 0.45  # of the mean spacing: how long the longest displacement is drawn


@dataclasses.dataclass(frozen=True)
class FitHistories:
    """Iterations of several fits side by side, NaN where a fit had ended.

    Attributes:
        loss: Half the squared norm of the displacements from the target, shape (n_cases, s), units of length squared.
        error: Relative error of every parameter, energy scale fixed, shape (n_cases, s, k).
        accepted: 1 for iterates from which the fit went on, shape (n_cases, s).
        strayed: 1 for iterates in another basin, shape (n_cases, s).
    """

    loss: np.ndarray
    error: np.ndarray
    accepted: np.ndarray
    strayed: np.ndarray


@dataclasses.dataclass(frozen=True)
class FittedStructure:
    """A target and the structures before and after the fit.

    Attributes:
        target: Positions of the target, shape (n, d), units of length.
        start: Relaxed positions under the starting parameters, shape (n, d).
        fitted: Relaxed positions under the fitted parameters, shape (n, d).
        backbone: True for particles that are held in place, shape (n,); the others do not count.
        species: Species index of every particle, shape (n,).
        species_names: One name per species.
        box: Lattice vectors as columns, shape (d, d); shape (d, 0) for a free system.
        seed: Seed of the case.
    """

    target: np.ndarray
    start: np.ndarray
    fitted: np.ndarray
    backbone: np.ndarray
    species: np.ndarray
    species_names: tuple[str, ...]
    box: np.ndarray
    seed: int


def draw_fit_loss(gauss_newton: FitHistories, descent: FitHistories | None, *, residual: float) -> Figure:
    """Draw the loss over the number of relaxations, Gauss-Newton beside gradient descent.

    Thin lines are single cases, thick ones medians over the cases still running; open circles mark relaxations that
    were rejected or had left the target's basin.

    Args:
        gauss_newton: Iterations of Gauss-Newton.
        descent: Iterations of gradient descent from the same starts, or None.
        residual: Norm of the displacements at success, units of length.

    Returns:
        The figure, one column wide.
    """
    with style():
        figure = new_figure(SINGLE_COLUMN, 2.7)
        axes = figure.subplots()
        names = [(gauss_newton, "Gauss-Newton, exact Jacobian", BLUE)]
        names += [] if descent is None else [(descent, "gradient descent (Adam)", VERMILION)]
        handles = []
        for histories, name, colour in names:
            _draw_losses(axes, histories.loss, colour)
            handles.append(Line2D([], [], color=colour, linewidth=1.6, label=name))
        lost = np.argwhere((gauss_newton.accepted == 0) | (gauss_newton.strayed == 1))
        axes.plot(
            lost[:, 1] + 1, gauss_newton.loss[lost[:, 0], lost[:, 1]], linestyle="none", marker="o", markersize=3.5,
            markerfacecolor="white", color=BLUE, zorder=5, gid="lost",
        )  # fmt: skip
        if len(lost):
            label = "rejected, or in another basin"
            handles.append(
                Line2D([], [], color=BLUE, marker="o", markerfacecolor="white", linestyle="none", markersize=3.5)
            )
            handles[-1].set_label(label)
        axes.axhline(0.5 * residual**2, color=GREY, linewidth=0.7, linestyle=(0, (4, 2)), zorder=1)
        axes.annotate(
            "success", (0.97, 0.5 * residual**2), xycoords=("axes fraction", "data"), xytext=(0, 2), color=GREY,
            textcoords="offset points", fontsize=8, ha="right",
        )  # fmt: skip
        axes.set_yscale("log")
        axes.set_xlim(left=0.5)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
        axes.set_xlabel("relaxations")
        axes.set_ylabel(r"loss $\frac{1}{2}\,|\mathbf{x}^*-\mathbf{x}_\mathrm{target}|^2$ ($\sigma^2$)")
        axes.legend(handles=handles, loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0.1)
        return figure


def _draw_losses(axes: Axes, loss: np.ndarray, colour: str) -> None:
    relaxations = np.arange(1, loss.shape[1] + 1)
    shown = np.where(loss > 0, loss, np.nan)
    lines = [np.column_stack([relaxations, row]) for row in shown]
    axes.add_collection(LineCollection(lines, colors=colour, linewidths=0.6, alpha=0.45, zorder=2))
    axes.plot(relaxations, median(shown), color=colour, linewidth=1.6, zorder=4, gid="median")
    axes.autoscale_view()


def draw_fit_parameters(gauss_newton: FitHistories, *, paths: Sequence[str], right: float = 1e-8) -> Figure:
    """Draw the relative error of every parameter over relaxations: one panel per case, at most ten.

    Args:
        gauss_newton: Iterations of Gauss-Newton.
        paths: Names of the parameters.
        right: Relative error at which a parameter counts as right, drawn as a line.

    Returns:
        The figure, two columns wide.
    """
    n = min(len(gauss_newton.error), 10)
    columns = min(n, 5)
    rows = -(-n // columns)
    with style():
        figure = new_figure(DOUBLE_COLUMN if columns > 2 else SINGLE_COLUMN, 0.75 + 1.45 * rows)
        panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        for axes in panels.ravel()[n:]:
            axes.set_axis_off()
        for k, axes in enumerate(panels.ravel()[:n]):
            _draw_errors(axes, gauss_newton.error[k])
            axes.axhline(right, color=GREY, linewidth=0.7, linestyle=(0, (4, 2)), zorder=1)
            axes.text(0.05, 0.05, f"case {k + 1}", transform=axes.transAxes, fontsize=8)
        panels[0, 0].set_yscale("log")
        panels[0, 0].set_ylim(_SMALLEST / 3, 3 * np.nanmax(gauss_newton.error))
        panels[0, 0].set_xlim(0.5, gauss_newton.error.shape[1] + 0.5)
        panels[0, 0].xaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
        figure.supxlabel("relaxations", fontsize=9)
        figure.supylabel("relative error of a parameter", fontsize=9)
        handles = [
            Line2D([], [], color=_COLOURS[i % 6], marker=_MARKERS[i % 6], markersize=3, linewidth=0.8, label=path)
            for i, path in enumerate(paths)
        ]
        figure.legend(handles=handles, loc="outside upper center", ncols=3, columnspacing=1.2)
        return figure


def _draw_errors(axes: Axes, error: np.ndarray) -> None:
    relaxations = np.arange(1, len(error) + 1)
    for i, row in enumerate(error.T):
        axes.plot(
            relaxations, np.maximum(row, _SMALLEST), color=_COLOURS[i % 6], marker=_MARKERS[i % 6], markersize=2.4,
            linewidth=0.8, zorder=3,
        )  # fmt: skip


def draw_fit_structure(structure: FittedStructure) -> Figure:
    """Draw the target, the fitted structure as rings over it, and how far it was and is from it.

    Discs are half a mean spacing wide and not to scale; displacements are enlarged as the text beside them says.

    Args:
        structure: The structures, d = 2.

    Returns:
        The figure, two columns wide.
    """
    box, held = structure.box, structure.backbone
    target = wrapped(structure.target, box)
    before, after = (_moves(structure, position) for position in (structure.start, structure.fitted))
    low, high = _view(target, box)
    spacing = float(np.sqrt(np.prod(high - low) / len(target)))
    margin = 0.3 * spacing
    with style():
        figure, axes = page((low - margin, high + margin))
        frame(axes, (low - margin, high + margin), ("x", "y"))
        size = np.full(len(target), 0.5 * spacing)
        discs, rings = _circles(axes, target, size), _circles(axes, target + after, size)
        discs.set(facecolor=list(np.array(FILLS)[structure.species % len(FILLS)]), edgecolor="none", zorder=1)
        rings.set(facecolor="none", edgecolor=[INK if h else GREY for h in held], linewidth=0.7, zorder=2)
        for circles in (discs, rings):
            axes.add_collection(circles, autolim=False)
        facts = [f"$N$ = {len(target)},  seed {int(structure.seed)}", "largest displacements:"]
        for name, moves, colour in (("start", before, VERMILION), ("fitted", after, BLUE)):
            facts += _draw_moves(axes, target[held], moves[held], name, colour, _KEY * spacing)
        if box.shape[1]:
            outline = np.vstack([corners_of(box), corners_of(box)[:1]])
            axes.plot(*outline.T, color=INK, linewidth=0.9, linestyle=(0, (5, 2.5)))
        write_facts(axes, facts)
        _draw_key(axes, structure)
        return figure


def _moves(structure: FittedStructure, position: np.ndarray) -> np.ndarray:
    moves = nearest(position - structure.target, structure.box)
    return np.asarray(moves - moves[structure.backbone].mean(axis=0))


def _draw_moves(axes: Axes, target: np.ndarray, moves: np.ndarray, name: str, colour: str, longest: float) -> list[str]:
    """Add displacements, the longest one as long as said or a little shorter; return the lines that say the scale."""
    length = float(np.linalg.norm(moves, axis=1).max())
    scale = labels.round_down(longest / length) if length > 0 else 1.0
    ends = np.stack([target, target + scale * moves], axis=1)
    lines = LineCollection(list(ends), colors=colour, linewidths=1.0, zorder=3, gid=name)
    axes.add_collection(lines, autolim=False)
    return [f"{name} {labels.scientific(length)} $\\sigma$", f"    drawn $\\times$ {labels.scientific(scale, 0)}"]


def _view(target: np.ndarray, box: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    corners = corners_of(box) if box.shape[1] else target
    return corners.min(axis=0), corners.max(axis=0)


def _circles(axes: Axes, centres: np.ndarray, size: np.ndarray) -> EllipseCollection:
    return EllipseCollection(size, size, np.zeros(len(size)), units="xy", offsets=centres, transOffset=axes.transData)


def _draw_key(axes: Axes, structure: FittedStructure) -> None:
    handles: list[Patch | Line2D] = [
        Patch(facecolor=FILLS[k % len(FILLS)], label=f"target, species {name}")
        for k, name in enumerate(structure.species_names)
    ]
    ring = {"marker": "o", "markerfacecolor": "none", "linestyle": "none"}
    handles.append(Line2D([], [], color=INK, label="fitted", **ring))  # type: ignore[arg-type]
    if not structure.backbone.all():
        handles.append(Line2D([], [], color=GREY, label="rattler", **ring))  # type: ignore[arg-type]
    handles.append(Line2D([], [], color=VERMILION, label="start minus target"))
    handles.append(Line2D([], [], color=BLUE, label="fitted minus target"))
    anchor = beside(axes, 0.12, side_height(axes))
    axes.legend(handles=handles, loc="lower left", bbox_to_anchor=anchor, borderpad=0.0)
