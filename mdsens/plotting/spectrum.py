"""Which combinations of many parameters move the particles, and how many take part."""

from __future__ import annotations

import dataclasses

import numpy as np
from matplotlib.figure import Figure

from mdsens.plotting.style import BLUE, DOUBLE_COLUMN, VERMILION, label_panel, new_figure, style


@dataclasses.dataclass(frozen=True)
class Spectrum:
    r"""Singular value decomposition of a Jacobian dx/dp.

    Attributes:
        values: Singular values, descending, shape (r,).
        particles: Participation ratio of each left vector over particles, :math:`(\sum_i|u_i|^2)^2/(n\sum_i|u_i|^4)`,
            between 1/n and 1, shape (r,).
        parameters: The same of each right vector over parameters, shape (r,).
    """

    values: np.ndarray
    particles: np.ndarray
    parameters: np.ndarray


def spectrum(jacobian: np.ndarray) -> Spectrum:
    """Decompose a Jacobian.

    Args:
        jacobian: dx/dp, shape (k, n, d); all parameters in the same unit.

    Returns:
        Its singular values and participations, r = min(k, n d).
    """
    k, n, d = jacobian.shape
    left, values, right = np.linalg.svd(jacobian.reshape(k, n * d).T, full_matrices=False)
    by_particle = np.linalg.norm(left.reshape(n, d, -1), axis=1)
    return Spectrum(values, _participation(by_particle), _participation(right.T))


def _participation(amplitude: np.ndarray) -> np.ndarray:
    """Return the participation ratio of every column."""
    square = amplitude**2
    return np.asarray(square.sum(axis=0) ** 2 / (len(square) * (square**2).sum(axis=0)))


def draw_spectrum(jacobian: np.ndarray, *, parameter: str = "p", unit: str = "") -> Figure:
    """Draw the singular values of dx/dp and how many particles and parameters take part in each direction.

    Directions below a relative 1e-12 of the largest singular value are rounding, and are left out of the second panel.

    Args:
        jacobian: dx/dp, shape (k, n, d); all parameters in the same unit.
        parameter: Common name of the parameters.
        unit: Unit of the entries in mathematical notation; empty when they have none.

    Returns:
        The figure, two columns wide: (a) singular values, (b) participation ratios.
    """
    found = spectrum(jacobian)
    with style():
        figure = new_figure(DOUBLE_COLUMN, 2.5)
        left, right = figure.subplots(1, 2)
        index = np.arange(1, len(found.values) + 1)
        floor = found.values > 1e-12 * found.values.max(initial=0.0)
        left.set_yscale("log")
        left.plot(
            index,
            np.where(found.values > 0, found.values, np.nan),
            color=BLUE,
            marker="o",
            markersize=2.4,
            linewidth=0.6,
        )
        left.set_ylabel(r"singular values of $\partial\mathbf{x}/\partial p$" + (f" ({unit})" if unit else ""))
        left.annotate(
            f"$p$ = {parameter}\n{jacobian.shape[0]} parameters, {jacobian.shape[1]} particles", (0.97, 0.95),
            xycoords="axes fraction", ha="right", va="top", fontsize=8,
        )  # fmt: skip
        right.plot(
            index[floor], found.particles[floor], color=BLUE, marker="o", markersize=2.4, linewidth=0, label="particles"
        )
        right.plot(
            index[floor], found.parameters[floor], color=VERMILION, marker="s", markersize=2.4, linewidth=0,
            markerfacecolor="white", markeredgewidth=0.7, label="parameters",
        )  # fmt: skip
        right.set_ylim(0, 1)
        right.set_ylabel("participation ratio")
        right.legend(loc="upper right")
        for axes, letter in ((left, "a"), (right, "b")):
            axes.set_xlabel("direction")
            axes.set_xlim(0, len(index) + 1)
            label_panel(axes, letter, y=0.11)
        return figure
