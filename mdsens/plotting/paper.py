"""The claims of implicit differentiation's paper: errors along iterations, hyper-parameter selection, distillation."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from mdsens.plotting.labels import scientific
from mdsens.plotting.style import (
    BLUE,
    DOUBLE_COLUMN,
    GREEN,
    GREY,
    INK,
    ORANGE,
    SIGNED,
    VERMILION,
    label_panel,
    new_figure,
    style,
)

_DASHES = (0, (4, 2))
_DOTS = (0, (1, 1.5))
_BASELINES = {"class means": ORANGE, "class means, best contrast": GREEN, "all real images": GREY}


@dataclasses.dataclass(frozen=True)
class Precision:
    """Errors of two derivatives of a solution along an iteration; every array has shape (t,).

    Attributes:
        step: Steps of the iteration.
        distance: Distance of the iterate from the solution.
        implicit_error: Error of the implicit derivative at the iterate; NaN where there is none.
        unrolled_error: Error of the derivative through the iterations.
        bound: The precision theorem's bound of the implicit error; NaN where it does not apply.
        estimate: The certificate's estimate of the implicit error; NaN where there is none.
        settled: Whether the theorem applies.
    """

    step: np.ndarray
    distance: np.ndarray
    implicit_error: np.ndarray
    unrolled_error: np.ndarray
    bound: np.ndarray
    estimate: np.ndarray
    settled: np.ndarray


@dataclasses.dataclass(frozen=True)
class Selection:
    """An outer loss over one hyper-parameter theta, its derivative, and the way of an outer optimiser.

    Attributes:
        log_theta: Grid, shape (g,).
        loss: Outer loss, shape (g,).
        gradient: Its implicit derivative in log(theta), shape (g,).
        difference: Central differences of re-solved problems, shape (g,).
        path: log(theta) along the descent, shape (k,).
        path_loss: The outer loss there, shape (k,).
        reference: The optimum found without gradients.
    """

    log_theta: np.ndarray
    loss: np.ndarray
    gradient: np.ndarray
    difference: np.ndarray
    path: np.ndarray
    path_loss: np.ndarray
    reference: float


@dataclasses.dataclass(frozen=True)
class Distillation:
    """Images that train a model, beside others.

    Attributes:
        images: Distilled images, one per class, shape (k, height, width), in units of a real pixel's range.
        means: Class means of the real images, shape (k, height, width).
        loss: Outer loss along the descent, shape (s,).
        names: Models compared, length m; the first is trained on the distilled images.
        training_loss: Their loss on the real training images, shape (m,).
        inner_steps: Steps of inner training, shape (t,).
        implicit_error: Relative error of the implicit gradient after so many steps, shape (t,).
        unrolled_error: That of the unrolled one, shape (t,).
    """

    images: np.ndarray
    means: np.ndarray
    loss: np.ndarray
    names: np.ndarray
    training_loss: np.ndarray
    inner_steps: np.ndarray
    implicit_error: np.ndarray
    unrolled_error: np.ndarray


def draw_ridge(shared: Precision, separate: Precision) -> Figure:
    """Draw the errors of the Jacobian of ridge regression over the distance from the solution.

    Args:
        shared: With one theta for all unknowns.
        separate: With a theta for every unknown.

    Returns:
        The figure, two columns wide: (a) shared, (b) separate.
    """
    with style():
        figure = new_figure(DOUBLE_COLUMN, 2.75)
        panels = figure.subplots(1, 2)
        titles = (r"one $\theta$ for all unknowns", r"a $\theta_i$ for every unknown")
        for axes, table, letter, title in zip(panels, (shared, separate), "ab", titles, strict=True):
            _draw_errors(axes, table.distance, table)
            axes.set_xscale("log")
            axes.set_xlabel(r"iterate error $|\mathbf{x}_t-\mathbf{x}^*|$")
            axes.set_ylabel(r"Jacobian error $\Vert J_t-\partial\mathbf{x}^*/\partial\theta\Vert_F$")
            axes.text(0.02, 0.88, title, transform=axes.transAxes, va="top", fontsize=8)
            label_panel(axes, letter)
        panels[1].legend(loc="lower right")
        return figure


def draw_packing_precision(precision: Precision, *, parameter: str = "") -> Figure:
    """Draw the errors of dx/dtheta along FIRE, over the distance from the minimum and over steps.

    Open symbols: the iterate's contacts are not yet those of the relaxed state, so that the theorem does not apply.

    Args:
        precision: The errors over the backbone, mean removed, units of length.
        parameter: Name of the parameter theta, a length; empty for theta alone.

    Returns:
        The figure, two columns wide: (a) over the distance, (b) over FIRE steps.
    """
    with style():
        figure = new_figure(DOUBLE_COLUMN, 2.9)
        distance, steps = figure.subplots(1, 2, sharey=True)
        _draw_errors(distance, precision.distance, precision)
        _draw_errors(steps, precision.step, precision)
        distance.set_xscale("log")
        distance.set_xlabel(r"distance from the minimum $|\mathbf{x}_t-\mathbf{x}^*|$ ($\sigma$)")
        theta = f",  $\\theta$ = {parameter}" if parameter else ""
        distance.set_ylabel(r"error of $\partial\mathbf{x}/\partial\theta$" + theta)
        steps.set_xlabel("FIRE steps")
        for axes, letter in ((distance, "a"), (steps, "b")):
            label_panel(axes, letter)
        distance.legend(loc="lower right")
        first = precision.step[precision.settled].min(initial=precision.step.max())
        steps.axvline(first, color=INK, linewidth=0.6, linestyle=(0, (1, 2)), zorder=1)
        steps.annotate(
            "contacts final", (first, 0.02), xycoords=("data", "axes fraction"), xytext=(-3, 0),
            textcoords="offset points", ha="right", va="bottom", fontsize=8,
        )  # fmt: skip
        return figure


def draw_selection(selection: Selection) -> Figure:
    """Draw the outer loss of a hyper-parameter with the optimiser's way, and its derivative beside differences.

    Args:
        selection: The arrays.

    Returns:
        The figure, two columns wide: (a) loss, (b) derivative.
    """
    with style():
        figure = new_figure(DOUBLE_COLUMN, 2.6)
        loss, slope = figure.subplots(1, 2)
        loss.plot(selection.log_theta, selection.loss, color=GREY, label="grid")
        loss.plot(
            selection.path, selection.path_loss, color=BLUE, marker="o", markersize=4, linewidth=0.7,
            label="implicit descent",
        )  # fmt: skip
        loss.axvline(selection.reference, color=INK, linewidth=0.8, linestyle=_DASHES, label="reference optimum")
        loss.set_ylabel(r"validation loss $\mathcal{L}$")
        loss.legend(loc="upper right")
        slope.plot(selection.log_theta, selection.gradient, color=BLUE, label="implicit")
        slope.plot(
            selection.log_theta, selection.difference, linestyle="none", marker="s", markersize=3.4, color=INK,
            markerfacecolor="white", markeredgewidth=0.6, label="differences of re-solved problems",
        )  # fmt: skip
        slope.axhline(0.0, color=INK, linewidth=0.5, zorder=1)
        slope.set_ylabel(r"$d\mathcal{L}/d\ln\theta$")
        slope.legend(loc="lower right")
        worst = np.abs(selection.gradient - selection.difference).max() / np.abs(selection.gradient).max()
        slope.text(
            0.97, 0.30, f"largest difference {scientific(float(worst))}\nof the largest slope",
            transform=slope.transAxes, fontsize=8, ha="right",
        )  # fmt: skip
        for axes, letter in ((loss, "a"), (slope, "b")):
            axes.set_xlabel(r"$\ln\theta$")
            label_panel(axes, letter, y=0.12)
        return figure


def draw_distillation(distillation: Distillation) -> Figure:
    """Draw the distilled images above the class means, the outer loss, and the error of the outer gradient.

    Args:
        distillation: The arrays.

    Returns:
        The figure, two columns wide: images above, (a) loss and (b) gradient error below.
    """
    with style():
        figure = new_figure(DOUBLE_COLUMN, 4.5)
        halves: Any = figure.subfigures(2, 1, height_ratios=[1.75, 2.75])
        upper, lower = halves
        _draw_images(upper, distillation)
        loss, gradient = lower.subplots(1, 2)
        _draw_losses(loss, distillation)
        for errors, name, colour, marker in (
            (distillation.implicit_error, "implicit", BLUE, "o"),
            (distillation.unrolled_error, "unrolled", VERMILION, "^"),
        ):
            gradient.loglog(distillation.inner_steps, errors, color=colour, marker=marker, markersize=4, label=name)
        gradient.set_xlabel("steps of inner training")
        gradient.set_ylabel("relative error of the outer gradient")
        gradient.legend(loc="lower left")
        for axes, letter in ((loss, "a"), (gradient, "b")):
            label_panel(axes, letter, x=0.93)
        return figure


def _draw_errors(axes: Axes, x: np.ndarray, table: Precision) -> None:
    """Add both errors, filled where the theorem applies and open where not, and the bound."""
    few = len(x) <= 100
    for errors, name, colour, marker in (
        (table.unrolled_error, "unrolled", VERMILION, "^"),
        (table.implicit_error, "implicit", BLUE, "o"),
    ):
        axes.plot(x, errors, color=colour, linewidth=0.5 if few else 1.4, label="_line" if few else name, zorder=2)
        if not few:
            continue
        for chosen, fill, label in ((table.settled, colour, name), (~table.settled, "white", "_open")):
            axes.plot(
                x[chosen], errors[chosen], linestyle="none", marker=marker, markersize=3.4, color=colour,
                markerfacecolor=fill, markeredgewidth=0.6, label=label, zorder=3,
            )  # fmt: skip
    axes.plot(x, table.bound, color=INK, linewidth=0.9, linestyle=_DASHES, label="theorem's bound", zorder=4)
    axes.plot(x, table.estimate, color=INK, linewidth=1.1, linestyle=_DOTS, label="certificate's estimate", zorder=5)
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(numticks=9))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _draw_images(upper: Any, distillation: Distillation) -> None:
    panels = upper.subplots(2, len(distillation.images))
    largest = float(np.abs(distillation.images).max())
    rows: tuple[tuple[np.ndarray, dict[str, Any], str], ...] = (
        (distillation.images, {"cmap": SIGNED, "vmin": -largest, "vmax": largest}, "distilled"),
        (distillation.means, {"cmap": "Greys", "vmin": 0.0, "vmax": 1.0}, "class means"),
    )
    for row, (images, look, name) in zip(panels, rows, strict=True):
        for axes, image in zip(row, images, strict=True):
            shown = axes.imshow(image, interpolation="nearest", **look)
            axes.set_xticks([])
            axes.set_yticks([])
        row[0].set_ylabel(name, fontsize=8)
        upper.colorbar(shown, ax=row, pad=0.01, aspect=8, shrink=0.9).set_label("pixel", fontsize=8)


def _draw_losses(axes: Axes, distillation: Distillation) -> None:
    axes.plot(np.arange(len(distillation.loss)), distillation.loss, color=BLUE, label="distilled images")
    for name, value in zip(distillation.names[1:], distillation.training_loss[1:], strict=True):
        axes.axhline(value, color=_BASELINES.get(str(name), INK), linewidth=0.9, linestyle=_DASHES, label=str(name))
    axes.set_yscale("log")
    axes.set_xlabel("outer iterations")
    axes.set_ylabel("loss of the real images")
    axes.legend(loc="upper center")
