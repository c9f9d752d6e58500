"""Arrows of dx_i/dp: how magnitudes become lengths and colours, and the keys to read them by."""

from __future__ import annotations

import dataclasses

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm, Normalize
from matplotlib.quiver import Quiver
from matplotlib.ticker import FuncFormatter

from mdsens.plotting import labels
from mdsens.plotting.page import beside, side_height
from mdsens.plotting.state import Arrows, Packing
from mdsens.plotting.style import DOUBLE_COLUMN, INK, MAGNITUDE

_WIDE_SPAN = 3.0  # largest over typical (90th percentile) arrow from which lengths are compressed
_TYPICAL_ARROW, _LONGEST_ARROW = 0.85, 3.0  # lengths in units, which are mean diameters ...
_SHORTEST_UNIT = 0.03  # ... but at least this part of the picture
MOST_ARROWS = 600  # more hide each other: only the largest are drawn, and the page says so
_DECADES = 30.0  # ratio of large to small magnitudes from which colours are logarithmic


@dataclasses.dataclass(frozen=True)
class ArrowScale:
    """How magnitudes become lengths on the page: length = factor * magnitude**exponent, units of the page's axes.

    Attributes:
        factor: Length of an arrow of magnitude one.
        exponent: 1, or 1/2 when a few particles move so much more than the others that these would vanish.
    """

    factor: float
    exponent: float

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Return vectors of the lengths drawn, in the directions given, shape as given."""
        magnitude = np.linalg.norm(values, axis=-1, keepdims=True)
        return np.asarray(self.factor * values * np.where(magnitude > 0, magnitude, 1.0) ** (self.exponent - 1))


def arrow_scale(magnitude: np.ndarray, unit: float) -> ArrowScale:
    """Choose lengths such that a typical arrow is about one ``unit`` long and none is longer than three."""
    moving = magnitude[magnitude > 0]
    if moving.size == 0:
        return ArrowScale(1.0, 1.0)
    typical, largest = np.quantile(moving, 0.9), moving.max()
    exponent = 0.5 if largest > _WIDE_SPAN * typical else 1.0
    factors = (_TYPICAL_ARROW / typical**exponent, _LONGEST_ARROW / largest**exponent)
    return ArrowScale(float(unit * min(factors)), exponent)


def magnitude_colours(magnitude: np.ndarray) -> Normalize:
    """Return the colour scale of magnitudes: linear from zero, or logarithmic when they span a factor above 30."""
    moving = magnitude[magnitude > 0]
    if moving.size == 0:
        return Normalize(0.0, 1.0)
    small, large = np.quantile(moving, 0.05), moving.max()
    return LogNorm(small, large) if large > _DECADES * small else Normalize(0.0, large)


def draw_response(
    axes: Axes,
    position: np.ndarray,
    arrows: Arrows,
    diameter: np.ndarray,
    *,
    top: float,
    members: np.ndarray | None = None,
) -> None:
    """Add arrows, colour bar and key; nothing when the derivative does not exceed its own error.

    Of more than 600 arrows the largest are drawn.

    Args:
        axes: Where to.
        position: Positions on the page, shape (m, 2).
        arrows: The arrows of all particles, which set the scales, shape (n, d).
        diameter: Diameters of all particles, shape (n,).
        top: Where in the side column the colour bar begins, inches.
        members: Numbers of the particles on the page, shape (m,); all by default.
    """
    if not arrows.significant:
        return
    unit = max(float(diameter.mean()), _SHORTEST_UNIT * float(np.ptp(axes.get_xlim())))
    scale = arrow_scale(arrows.magnitude, unit)
    values = arrows.values if members is None else arrows.values[members]
    shown = np.argsort(np.linalg.norm(values, axis=1))[-MOST_ARROWS:]
    quiver = draw_arrows(axes, position[shown], values[shown], scale, magnitude_colours(arrows.magnitude))
    end = draw_magnitudes(axes, arrows, top + 0.06)
    draw_key(axes, quiver, arrows, scale, end)
    if len(shown) < len(values):
        x, y = beside(axes, 0.2, end + (0.45 if scale.exponent == 1 else 0.83))
        axes.text(x, y, f"the {len(shown)} largest arrows", transform=axes.transAxes, fontsize=8)


def draw_arrows(axes: Axes, position: np.ndarray, values: np.ndarray, scale: ArrowScale, norm: Normalize) -> Quiver:
    """Add one arrow per particle, from its centre along dx_i/dp, coloured by magnitude.

    Args:
        axes: Where to.
        position: Positions on the page, shape (m, 2).
        values: dx_i/dp of these particles, shape (m, d).
        scale: From magnitudes to lengths.
        norm: From magnitudes to colours.
    """
    magnitude = np.linalg.norm(values, axis=1)
    drawn = scale(values)[:, :2]
    order = np.argsort(magnitude)  # large ones on top
    quiver = axes.quiver(
        *position[order, :2].T, *drawn[order].T, magnitude[order],
        angles="xy", scale_units="xy", scale=1.0, units="inches", width=0.017, headwidth=3.6, headlength=4.2,
        headaxislength=3.8, minshaft=1.4, minlength=0.6, cmap=MAGNITUDE, norm=norm,
        edgecolor="white", linewidth=0.35, zorder=5, clip_on=False,
    )  # fmt: skip
    quiver.set_gid("arrows")
    return quiver


def draw_magnitudes(axes: Axes, arrows: Arrows, top: float) -> float:
    """Add the colour bar of the magnitudes beside the axes, ``top`` inches down; return where it ends."""
    end = max(top + 0.8, min(2.3, side_height(axes) - 1.4))
    norm = magnitude_colours(arrows.magnitude)
    left, upper = beside(axes, 0.2, top)
    right, lower = beside(axes, 0.34, end)
    bar_axes = axes.inset_axes((left, lower, right - left, upper - lower))
    extend = "min" if isinstance(norm, LogNorm) else "neither"
    axes.figure.colorbar(ScalarMappable(norm, MAGNITUDE), cax=bar_axes, extend=extend)
    if isinstance(norm, LogNorm):
        labels.log_axis(bar_axes.yaxis)
    else:
        bar_axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: labels.scientific(value)))
    return end


def draw_key(axes: Axes, quiver: Quiver, arrows: Arrows, scale: ArrowScale, top: float) -> None:
    """Add reference arrows beside the axes, ``top`` inches down; two when lengths are compressed."""
    unit = labels.derivative_unit(arrows.unit)
    per_unit = axes.get_position().width * DOUBLE_COLUMN / np.ptp(axes.get_xlim())  # inches
    for k, reference in enumerate(reference_magnitudes(arrows.magnitude, scale)):
        length = float(scale(np.array([reference, 0.0]))[0])
        x, y = beside(axes, 0.2 + length * per_unit, top + 0.2 * (k + 1))  # the key's tip
        text = f"{labels.scientific(reference)} {unit}".strip()
        key = axes.quiverkey(
            quiver, x, y, length, text, angle=0, coordinates="axes", labelpos="E", labelsep=0.07, color=INK
        )
        key.text.set_fontsize(8)
    if scale.exponent != 1:
        x, y = beside(axes, 0.2, top + 0.65)
        axes.text(
            x, y, r"length $\propto|\partial\mathbf{x}_i/\partial p|^{1/2}$", transform=axes.transAxes, fontsize=8
        )


def reference_magnitudes(magnitude: np.ndarray, scale: ArrowScale) -> list[float]:
    """Return the round magnitudes of key arrows: near the largest, and a typical one when lengths are compressed."""
    moving = magnitude[magnitude > 0]
    if moving.size == 0:
        return []
    largest, typical = labels.round_down(float(moving.max())), labels.round_down(float(np.quantile(moving, 0.5)))
    return [largest] if scale.exponent == 1 or typical == largest else [typical, largest]


def of_images(arrows: Arrows, packing: Packing, position: np.ndarray) -> Arrows:
    r"""Return the derivative of the images drawn; rattlers stay at rest.

    .. math:: d(x - B m)/dp = dx/dp - (dB/dp)\,m,\quad m: \text{image counts}
    """
    if packing.box.shape[1] == 0:
        return arrows
    counts = np.round(np.linalg.pinv(packing.box) @ (packing.position - position).T)
    moved = (arrows.box_rate @ counts).T * ~packing.rattlers[:, None]
    return dataclasses.replace(arrows, values=arrows.values - moved)
