"""A labelled table of the derivatives of observables, coloured by how strongly each responds."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, SymLogNorm
from matplotlib.figure import Figure

from mdsens.plotting import labels
from mdsens.plotting.style import DOUBLE_COLUMN, INK, SIGNED, new_figure, style

MOST_COLUMNS = 8
PALE = LinearSegmentedColormap.from_list(
    "pale", SIGNED(np.linspace(0.22, 0.78, 255))
)  # black text stays readable on it
_FEW_COLUMNS = 5  # cells are then wide enough for five digits
_ROUNDING = np.finfo(float).eps


def draw_observables(
    *,
    observables: tuple[str, ...],
    values: np.ndarray,
    parameters: tuple[str, ...],
    parameter_values: np.ndarray,
    jacobian: np.ndarray,
    error: np.ndarray,
) -> Figure:
    r"""Draw dO/dp as a table; cells are coloured by the elasticity :math:`(p/O)\,dO/dp`.

    Args:
        observables: Name of every observable, length m.
        values: Their values, shape (m,).
        parameters: Name of every parameter, length k; beyond eight only those that matter most are drawn.
        parameter_values: Their values, shape (k,).
        jacobian: dO/dp, shape (m, k).
        error: Estimated absolute error of every derivative, shape (m, k); never shown below the rounding
            of the value.

    Returns:
        The figure, two columns wide.
    """
    elasticity = elasticities(values, parameter_values, jacobian)
    chosen = most_important(elasticity)
    with style():
        figure = new_figure(DOUBLE_COLUMN, 0.95 + 0.42 * len(observables))
        axes = figure.subplots()
        largest = float(np.nanmax(np.abs(elasticity), initial=0.0)) or 1.0
        norm = SymLogNorm(0.03 * largest, vmin=-largest, vmax=largest)
        axes.pcolormesh(elasticity[:, chosen], cmap=PALE, norm=norm, edgecolors="white", linewidth=1.5)
        _write_cells(axes, jacobian[:, chosen], error[:, chosen])
        _write_names(axes, observables, values, tuple(parameters[k] for k in chosen))
        if len(chosen) < len(parameters):
            axes.set_xlabel(f"the {len(chosen)} of {len(parameters)} parameters with the largest elasticities")
        bar = figure.colorbar(ScalarMappable(norm, PALE), ax=axes, pad=0.015, aspect=12)
        tick = labels.round_down(largest)
        bar.set_ticks([-tick, 0, tick], labels=[labels.scientific(value) for value in (-tick, 0.0, tick)])
        bar.set_label(r"$(p/O)\,dO/dp$")
        bar.minorticks_off()
        return figure


def elasticities(values: np.ndarray, parameter_values: np.ndarray, jacobian: np.ndarray) -> np.ndarray:
    """Return (p/O) dO/dp, shape (m, k); NaN where the observable is zero."""
    with np.errstate(divide="ignore", invalid="ignore"):
        scaled = jacobian * parameter_values / values[:, None]
    return np.where(np.isfinite(scaled), scaled, np.nan)


def most_important(elasticity: np.ndarray) -> np.ndarray:
    """Return the columns with the largest entries, at most eight, in their order."""
    largest = np.nan_to_num(np.abs(elasticity)).max(axis=0, initial=0.0)
    return np.sort(np.argsort(-largest, kind="stable")[:MOST_COLUMNS])


def _write_cells(axes: Axes, jacobian: np.ndarray, error: np.ndarray) -> None:
    digits = 5 if jacobian.shape[1] <= _FEW_COLUMNS else 3
    for (row, column), value in np.ndenumerate(jacobian):
        where = (column + 0.5, row + 0.5)
        axes.annotate(
            f"{value:.{digits}g}".replace("-", "−"),
            where,
            xytext=(0, 4),
            textcoords="offset points",
            ha="center",
            va="center",
        )
        text = rf"$\pm$ {labels.scientific(max(float(error[row, column]), _ROUNDING * abs(value)), 0)}"
        axes.annotate(text, where, xytext=(0, -7), textcoords="offset points", ha="center", va="center", fontsize=7)


def _write_names(axes: Axes, observables: tuple[str, ...], values: np.ndarray, parameters: tuple[str, ...]) -> None:
    rows = [f"{name}\n{value:.6g}".replace("-", "−") for name, value in zip(observables, values, strict=True)]
    axes.set_yticks(np.arange(len(rows)) + 0.5, rows)
    columns = parameters if len(parameters) <= 4 else tuple(name.replace(".", ".\n", 1) for name in parameters)
    axes.set_xticks(np.arange(len(parameters)) + 0.5, columns)
    axes.tick_params(top=False, bottom=False, left=False, right=False, labeltop=True, labelbottom=False)
    axes.invert_yaxis()
    axes.spines[:].set_visible(False)
    axes.tick_params(colors=INK)
