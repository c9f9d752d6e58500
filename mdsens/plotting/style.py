"""One look for all figures: sizes and fonts of a two-column journal, colours that survive colour blindness."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from mdsens.errors import UserError
from mdsens.io.replacing import replacing

SINGLE_COLUMN = 3.375  # inches
DOUBLE_COLUMN = 7.0
RESOLUTION = 200  # dots per inch of PNG

# Okabe and Ito's palette; black is left to reference answers.
BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9"
INK, GREY, FAINT = "#1a1a1a", "#6e6e6e", "#d0d0d0"
FILLS = ("#dbe6ef", "#f6ead2", "#dcefe6", "#f3e1ea")  # pale discs, one colour per species

# Light means small: magma reversed, without the ends that vanish on white or merge with black lines.
MAGNITUDE = LinearSegmentedColormap.from_list(
    "magnitude", matplotlib.colormaps["magma_r"]([0.22 + 0.7 * k / 255 for k in range(256)])
)
SIGNED = matplotlib.colormaps["PuOr"]

_STYLE: dict[Any, Any] = {
    "font.family": "STIXGeneral",
    "mathtext.fontset": "stix",
    "font.size": 9,
    "axes.labelsize": 9,
    "axes.titlesize": 9,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "legend.handlelength": 1.6,
    "legend.borderaxespad": 0.3,
    "axes.linewidth": 0.6,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "text.color": INK,
    "lines.linewidth": 1.2,
    "patch.linewidth": 0.6,
    "hatch.linewidth": 0.5,
    "xtick.direction": "in",
    "ytick.direction": "in",
    "xtick.top": True,
    "ytick.right": True,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.minor.width": 0.4,
    "ytick.minor.width": 0.4,
    "xtick.major.size": 3.0,
    "ytick.major.size": 3.0,
    "xtick.minor.size": 1.6,
    "ytick.minor.size": 1.6,
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.h_pad": 0.03,
    "figure.constrained_layout.w_pad": 0.03,
    "pdf.fonttype": 42,  # editable text
    "svg.hashsalt": "mdsens",  # same data, same bytes
    "savefig.dpi": RESOLUTION,
}
# Without dates the same file gives the same picture, byte by byte.
_METADATA: dict[str, dict[str, Any]] = {
    ".png": {"Software": "mdsens"},
    ".pdf": {"CreationDate": None, "Creator": "mdsens"},
    ".svg": {"Date": None, "Creator": "mdsens"},
}
FORMATS = tuple(suffix[1:] for suffix in _METADATA)


def style() -> AbstractContextManager[None]:
    """Return a context in which artists take this project's fonts and line widths; other settings come back after."""
    return matplotlib.rc_context(_STYLE)


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure of the given size in inches that belongs to no window."""
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    return figure


def label_panel(axes: Axes, letter: str, *, x: float = 0.02, y: float = 0.97) -> None:
    """Write the panel's letter, as in (a), into a corner given in fractions of the axes."""
    axes.text(x, y, f"({letter})", transform=axes.transAxes, va="top", ha="left", zorder=10)


def save(figure: Figure, path: str | Path) -> Path:
    """Write a figure under its final name in one stroke: to a temporary name in the same folder, then renamed.

    Args:
        figure: The figure.
        path: Where to; the ending (.png, .pdf or .svg) chooses the format. A file of that name is replaced.

    Returns:
        The path written.

    Raises:
        UserError: When the ending is none of these, or the folder cannot be written to.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in _METADATA:
        raise UserError(f"a figure cannot be written as {path.name}: end the name with one of {', '.join(_METADATA)}.")
    with replacing(path, overwrite=True) as temporary, style():
        figure.savefig(temporary, format=suffix[1:], metadata=_METADATA[suffix])
    return path
