"""The page of a packing: axes to scale on the left, a column for keys and facts on the right."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mdsens.plotting.style import DOUBLE_COLUMN, new_figure

SHORTEST = 3.4  # inches, the side column
_LINE = 0.163  # inches, a line of the side column


def page(view: tuple[np.ndarray, np.ndarray], widest: float = 4.95) -> tuple[Figure, Axes]:
    """Return a figure two columns wide with the axes of a packing on the left and room for a side column."""
    size = view[1] - view[0]
    width = min(widest, 5.4 * size[0] / size[1])  # inches; nothing gets taller than 5.4
    height = width * size[1] / size[0]
    full = max(height, SHORTEST) + 0.55
    figure = new_figure(DOUBLE_COLUMN, full)
    figure.set_layout_engine("none")
    box = (0.45 / DOUBLE_COLUMN, (full - 0.08 - height) / full, width / DOUBLE_COLUMN, height / full)
    return figure, figure.add_axes(box)


def beside(axes: Axes, right: float, down: float) -> tuple[float, float]:
    """Return axes coordinates of the point ``right`` inches from the right edge and ``down`` inches below the top."""
    figure, box = axes.figure, axes.get_position()
    width, height = (box.width * figure.get_figwidth(), box.height * figure.get_figheight())  # type: ignore[union-attr]
    return 1 + right / width, 1 - down / height


def side_height(axes: Axes) -> float:
    """Return the height of the side column in inches."""
    return max(float(axes.get_position().height * axes.figure.get_figheight()), SHORTEST)  # type: ignore[union-attr]


def frame(axes: Axes, view: tuple[np.ndarray, np.ndarray], names: tuple[str, str]) -> None:
    """Set the view, equal scales and axis labels."""
    axes.set_aspect("equal")
    axes.set_xlim(view[0][0], view[1][0])
    axes.set_ylim(view[0][1], view[1][1])
    axes.set_xlabel(rf"${names[0]}$ ($\sigma$)")
    axes.set_ylabel(rf"${names[1]}$ ($\sigma$)")
    axes.tick_params(direction="out", top=False, right=False)


def write_facts(axes: Axes, facts: Sequence[str]) -> float:
    """Write lines at the top of the side column; return how many inches below its top they end."""
    x, y = beside(axes, 0.2, 0.0)
    axes.text(x, y, "\n".join(facts), transform=axes.transAxes, va="top", fontsize=8, linespacing=1.4)
    return _LINE * len(facts)
