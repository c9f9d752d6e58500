"""Which observables can be tuned independently: singular values, their directions, what is each observable's own."""

from __future__ import annotations

import dataclasses

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from mdsens.plotting.style import BLUE, DOUBLE_COLUMN, GREY, SIGNED, label_panel, new_figure, style

MOST_DIRECTIONS = 12


@dataclasses.dataclass(frozen=True)
class IndependentResponses:
    """Singular value decomposition of relative derivatives.

    Attributes:
        observables: Names, length m.
        singular_values: Shape (r,), descending.
        noise: Level below which a singular value may be zero.
        observable_directions: Left vectors as columns, shape (m, r).
        independent: Part of every observable's response that the others do not share, shape (m,).
    """

    observables: np.ndarray
    singular_values: np.ndarray
    noise: float
    observable_directions: np.ndarray
    independent: np.ndarray


def draw_independence(found: IndependentResponses) -> Figure:
    """Draw which combinations of observables respond on their own.

    Args:
        found: The decomposition.

    Returns:
        The figure, two columns wide: (a) singular values with the noise level, (b) what every direction is made of, (c)
        the part of every observable's response that no combination of the others shares.
    """
    m, r = len(found.observables), min(len(found.singular_values), MOST_DIRECTIONS)
    with style():
        figure = new_figure(DOUBLE_COLUMN, max(2.4, 0.95 + 0.19 * m))
        left, middle, right = figure.subplots(1, 3, width_ratios=(1.0, 1.25, 0.75))
        _draw_values(left, found, r)
        image = middle.pcolormesh(
            found.observable_directions[:, :r], cmap=SIGNED, norm=Normalize(-1, 1), edgecolors="white", linewidth=0.8
        )
        middle.set_yticks(np.arange(m) + 0.5, [str(name) for name in found.observables])
        middle.set_xticks(np.arange(r) + 0.5, [str(k + 1) for k in range(r)])
        middle.set_xlabel("direction")
        middle.invert_yaxis()
        middle.tick_params(length=0)
        bar = figure.colorbar(image, ax=middle, pad=0.02, aspect=22, ticks=[-1, 0, 1])
        bar.set_label("share (left singular vector)")
        bar.outline.set_visible(False)
        right.barh(np.arange(m) + 0.5, found.independent, height=0.62, color=BLUE)
        right.set_ylim(m, 0)
        right.set_yticks(np.arange(m) + 0.5, [""] * m)
        right.set_xlim(0, 1)
        right.set_xlabel("own part")
        right.tick_params(axis="y", length=0)
        label_panel(left, "a", x=0.88)
        for axes, letter in ((middle, "b"), (right, "c")):
            axes.set_title(f"({letter})", loc="left", fontsize=9, pad=3)
        return figure


def _draw_values(axes: Axes, found: IndependentResponses, count: int) -> None:
    values = found.singular_values[:count]
    axes.set_yscale("log")
    axes.plot(np.arange(1, count + 1), np.where(values > 0, values, np.nan), color=BLUE, marker="o", markersize=3)
    axes.set_xlim(0.4, count + 0.6)
    axes.set_xticks(np.arange(1, count + 1))
    axes.minorticks_off()
    axes.set_xlabel("direction")
    axes.set_ylabel(r"singular values of $(p/O)\,dO/dp$")
    if found.noise > 0:
        axes.axhline(found.noise, color=GREY, linewidth=0.7, linestyle=(0, (4, 2)))
        axes.annotate(
            "errors", (0.04, found.noise), xycoords=("axes fraction", "data"), xytext=(0, 2), fontsize=8, color=GREY,
            textcoords="offset points",
        )  # fmt: skip
