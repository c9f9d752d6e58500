"""One packing: discs to scale, its periodic box and images, who carries load, and where everybody moves."""

from __future__ import annotations

import dataclasses

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import EllipseCollection, LineCollection
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, PathPatch, Polygon
from matplotlib.path import Path as Outline
from matplotlib.quiver import Quiver
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from mdsens.plotting import geometry, labels
from mdsens.plotting.records import Arrows, Packing
from mdsens.plotting.style import DOUBLE_COLUMN, FILLS, GREY, INK, MAGNITUDE, new_figure, style

_CONTACT, _RIM = "#8a9dac", "#9aa7b1"
_WIDEST_CONTACT = 2.4  # points, the contact with the largest force
_WIDE_SPAN = 3.0  # largest over typical (90th percentile) arrow from which lengths are compressed
_TYPICAL_ARROW = 0.85  # length of a typical arrow in mean diameters
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


def arrow_scale(magnitude: np.ndarray, diameter: np.ndarray) -> ArrowScale:
    """Choose lengths such that a typical arrow is about one mean diameter long and the longest stay on the page."""
    moving = magnitude[magnitude > 0]
    if moving.size == 0:
        return ArrowScale(1.0, 1.0)
    typical, largest = np.quantile(moving, 0.9), moving.max()
    exponent = 0.5 if largest > _WIDE_SPAN * typical else 1.0
    longest = _TYPICAL_ARROW * diameter.mean()
    return ArrowScale(float(min(longest / typical**exponent, 3.5 * longest / largest**exponent)), exponent)


def magnitude_colours(magnitude: np.ndarray) -> Normalize:
    """Return the colour scale of magnitudes: linear from zero, or logarithmic when they span more than a decade and a half."""
    moving = magnitude[magnitude > 0]
    if moving.size == 0:
        return Normalize(0.0, 1.0)
    small, large = np.quantile(moving, 0.05), moving.max()
    return LogNorm(small, large) if large > _DECADES * small else Normalize(0.0, large)


def draw_packing(packing: Packing, arrows: Arrows | None = None) -> Figure:
    """Draw a packing, with the sensitivity of its positions when given.

    In two dimensions: every disc to scale, coloured by species; periodic images behind a veil; contacts as lines whose
    width is proportional to the force; rattlers hatched; arrows along dx_i/dp, coloured by magnitude, with a length key.
    Three dimensions: see ``mdsens.plotting.slab``.

    Args:
        packing: The state, d = 2.
        arrows: dx/dp; without it the packing alone is drawn.

    Returns:
        The figure, two columns wide.

    Raises:
        ValueError: When the packing is not two-dimensional.
    """
    if packing.dimension != 2:
        raise ValueError(f"the packing has {packing.dimension} dimensions; it must have 2: use draw_slab for 3.")
    with style():
        position = geometry.wrapped(packing.position, packing.box)
        view = geometry.window(packing, 0.35 * packing.diameter.max())
        figure, axes = page(view)
        frame(axes, view, ("x", "y"))
        draw_discs(axes, packing, position, view)
        draw_contacts(axes, packing, position, view)
        draw_box(axes, packing.box, view)
        if arrows is not None:
            arrows = of_images(arrows, packing, position)
            scale = arrow_scale(arrows.magnitude, packing.diameter)
            quiver = draw_arrows(axes, position, arrows, scale)
            draw_key(axes, quiver, arrows, scale)
            draw_magnitudes(axes, arrows)
        write_facts(axes, packing, arrows)
        draw_legend(axes, packing)
        return figure


def of_images(arrows: Arrows, packing: Packing, position: np.ndarray) -> Arrows:
    r"""Return the derivative of the images drawn: :math:`d(x - B m)/dp = dx/dp - (dB/dp)\,m`, m image counts, rattlers at rest."""
    if packing.box.shape[1] == 0:
        return arrows
    counts = np.round(np.linalg.solve(packing.box, (packing.position - position).T))
    moved = (arrows.box_rate @ counts).T * ~packing.rattlers[:, None]
    return dataclasses.replace(arrows, values=arrows.values - moved)


def page(view: tuple[np.ndarray, np.ndarray]) -> tuple[Figure, Axes]:
    """Return a figure two columns wide with the axes of a packing on the left and room for a side column on its right."""
    size = view[1] - view[0]
    width = min(4.95, 5.4 * size[0] / size[1])  # inches; nothing gets taller than 5.4
    height = width * size[1] / size[0]
    full = max(height, 3.4) + 0.55
    figure = new_figure(DOUBLE_COLUMN, full)
    figure.set_layout_engine("none")
    box = (0.45 / DOUBLE_COLUMN, (full - 0.08 - height) / full, width / DOUBLE_COLUMN, height / full)
    return figure, figure.add_axes(box)


def _beside(axes: Axes, right: float, down: float) -> tuple[float, float]:
    """Return axes coordinates of the point ``right`` inches from the right edge and ``down`` inches below the top."""
    figure, box = axes.figure, axes.get_position()
    width, height = (box.width * figure.get_figwidth(), box.height * figure.get_figheight())  # type: ignore[union-attr]
    return 1 + right / width, 1 - down / height


def frame(axes: Axes, view: tuple[np.ndarray, np.ndarray], names: tuple[str, str]) -> None:
    """Set the view, equal scales and axis labels."""
    axes.set_aspect("equal")
    axes.set_xlim(view[0][0], view[1][0])
    axes.set_ylim(view[0][1], view[1][1])
    axes.set_xlabel(rf"${names[0]}$ ($\sigma$)")
    axes.set_ylabel(rf"${names[1]}$ ($\sigma$)")
    axes.tick_params(direction="out", top=False, right=False)


def draw_discs(axes: Axes, packing: Packing, position: np.ndarray, view: tuple[np.ndarray, np.ndarray]) -> None:
    """Add the discs and the images that show: first those that carry load, then the rattlers, hatched and hollow."""
    who, shift = geometry.images(position, packing.diameter, packing.box, view).T
    centres = position[who] + geometry.shifts(packing.box)[shift]
    loose = packing.rattlers[who]
    fills = np.array(FILLS)[packing.species % len(FILLS)]
    held = _discs(centres[~loose], packing.diameter[who[~loose]], axes)
    held.set(facecolor=list(fills[who[~loose]]), edgecolor=_RIM, linewidth=0.5, zorder=1, gid="discs")
    axes.add_collection(held, autolim=False)
    free = _discs(centres[loose], packing.diameter[who[loose]], axes)
    free.set(facecolor="white", edgecolor=GREY, linewidth=0.6, hatch="/////", zorder=1.1, gid="rattlers")
    axes.add_collection(free, autolim=False)


def _discs(centres: np.ndarray, diameter: np.ndarray, axes: Axes) -> EllipseCollection:
    angles = np.zeros(len(diameter))
    return EllipseCollection(diameter, diameter, angles, units="xy", offsets=centres, transOffset=axes.transData)


def draw_contacts(axes: Axes, packing: Packing, position: np.ndarray, view: tuple[np.ndarray, np.ndarray]) -> None:
    """Add the contact network, line width proportional to the force."""
    lines, contact = geometry.contact_lines(packing, position, view)
    strongest = packing.force.max() if packing.force.size and packing.force.max() > 0 else 1.0
    width = np.maximum(_WIDEST_CONTACT * packing.force / strongest, 0.15)
    network = LineCollection(list(lines), linewidths=width[contact], colors=_CONTACT, capstyle="round", zorder=2)
    network.set_gid("contacts")
    axes.add_collection(network, autolim=False)


def draw_box(axes: Axes, box: np.ndarray, view: tuple[np.ndarray, np.ndarray]) -> None:
    """Outline the periodic box and veil what lies outside it: images, not particles."""
    if box.shape[1] == 0:
        return
    inner = geometry.corners_of(box)
    low, high = view
    outer = np.array([low, [low[0], high[1]], high, [high[0], low[1]]])  # walked the other way round: a hole
    closed = [np.vstack([ring, ring[:1]]) for ring in (outer, inner)]
    codes = [Outline.MOVETO, *[Outline.LINETO] * 3, Outline.CLOSEPOLY]
    veil = PathPatch(Outline(np.vstack(closed), codes * 2), facecolor="white", alpha=0.62, edgecolor="none", zorder=3)
    axes.add_patch(veil)
    axes.add_patch(Polygon(inner, fill=False, edgecolor=INK, linewidth=0.9, linestyle=(0, (5, 2.5)), zorder=4, gid="box"))


def draw_arrows(axes: Axes, position: np.ndarray, arrows: Arrows, scale: ArrowScale) -> Quiver:
    """Add one arrow per particle, from its centre along dx_i/dp, coloured by magnitude."""
    drawn = scale(arrows.values)[:, :2]
    order = np.argsort(arrows.magnitude)  # large ones on top
    quiver = axes.quiver(
        *position[order, :2].T, *drawn[order].T, arrows.magnitude[order],
        angles="xy", scale_units="xy", scale=1.0, units="inches", width=0.017, headwidth=3.6, headlength=4.2,
        headaxislength=3.8, minshaft=1.4, minlength=0.6, cmap=MAGNITUDE, norm=magnitude_colours(arrows.magnitude),
        edgecolor="white", linewidth=0.35, zorder=5, clip_on=False,
    )  # fmt: skip
    quiver.set_gid("arrows")
    return quiver


def draw_magnitudes(axes: Axes, arrows: Arrows) -> None:
    """Add the colour bar of the magnitudes beside the axes."""
    norm = magnitude_colours(arrows.magnitude)
    left, top = _beside(axes, 0.2, 0.62)
    right, bottom = _beside(axes, 0.34, 2.2)
    bar_axes = axes.inset_axes((left, bottom, right - left, top - bottom))
    extend = "min" if isinstance(norm, LogNorm) else "neither"
    bar = axes.figure.colorbar(ScalarMappable(norm, MAGNITUDE), cax=bar_axes, extend=extend)
    bar.set_label(labels.derivative_label(arrows.parameter, arrows.unit))
    if isinstance(norm, LogNorm):
        bar_axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        bar_axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: labels.scientific(value, 0)))
        bar_axes.yaxis.set_minor_formatter(NullFormatter())


def draw_key(axes: Axes, quiver: Quiver, arrows: Arrows, scale: ArrowScale) -> None:
    """Add reference arrows with their magnitudes beside the axes; two when lengths are compressed."""
    unit = labels.derivative_unit(arrows.unit)
    per_unit = axes.get_position().width * DOUBLE_COLUMN / np.ptp(axes.get_xlim())  # inches
    for k, reference in enumerate(reference_magnitudes(arrows.magnitude, scale)):
        length = float(scale(np.array([reference, 0.0]))[0])
        x, y = _beside(axes, 0.2 + length * per_unit, 2.5 + 0.2 * k)  # the key's tip
        text = f"{labels.scientific(reference)} {unit}".strip()
        key = axes.quiverkey(quiver, x, y, length, text, angle=0, coordinates="axes", labelpos="E", labelsep=0.07, color=INK)
        key.text.set_fontsize(8)
    if scale.exponent != 1:
        x, y = _beside(axes, 0.2, 2.92)
        axes.text(x, y, r"length $\propto|\partial\mathbf{x}_i/\partial p|^{1/2}$", transform=axes.transAxes, fontsize=8)


def reference_magnitudes(magnitude: np.ndarray, scale: ArrowScale) -> list[float]:
    """Return the round magnitudes shown as key arrows: near the largest, and a typical one when lengths are compressed."""
    moving = magnitude[magnitude > 0]
    if moving.size == 0:
        return []
    largest, typical = labels.round_down(float(moving.max())), labels.round_down(float(np.quantile(moving, 0.5)))
    return [largest] if scale.exponent == 1 or typical == largest else [typical, largest]


def draw_legend(axes: Axes, packing: Packing) -> None:
    """Add the meaning of discs and lines beside the axes."""
    handles: list[Patch | Line2D] = [
        Patch(facecolor=FILLS[k % len(FILLS)], edgecolor=_RIM, label=f"species {name}")
        for k, name in enumerate(packing.species_names)
    ]
    if packing.rattlers.any():
        label = f"rattlers ({packing.rattlers.sum()})"
        handles.append(Patch(facecolor="white", edgecolor=GREY, hatch="/////", label=label))
    if len(packing.contacts):
        strongest = labels.scientific(float(packing.force.max()))
        label = rf"contact, $f$ = {strongest} $\epsilon/\sigma$"
        handles.append(Line2D([], [], color=_CONTACT, linewidth=_WIDEST_CONTACT, label=label))
    height = axes.get_position().height * axes.figure.get_figheight()  # type: ignore[union-attr]
    anchor = _beside(axes, 0.12, max(height, 3.4))
    axes.legend(handles=handles, loc="lower left", bbox_to_anchor=anchor, borderpad=0.0)


def write_facts(axes: Axes, packing: Packing, arrows: Arrows | None) -> None:
    """Write size, packing fraction and certificate beside the axes."""
    x, y = _beside(axes, 0.2, 0.0)
    size = f"$N$ = {packing.n_particles}"
    if np.isfinite(packing.packing_fraction):
        size += rf",  $\phi$ = {packing.packing_fraction:.4g}"
    lines = [size] if arrows is None else [size, *labels.certificate_lines(arrows.relative_error, arrows.note)]
    axes.text(x, y, "\n".join(lines), transform=axes.transAxes, va="top", fontsize=8, linespacing=1.4)
