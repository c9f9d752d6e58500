"""One packing: discs to scale, its periodic box and images, who carries load, and where everybody moves."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import EllipseCollection, LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, PathPatch, Polygon
from matplotlib.path import Path as Outline

from mdsens.plotting import geometry, labels
from mdsens.plotting.arrows import draw_response, of_images
from mdsens.plotting.page import beside, frame, page, side_height, write_facts
from mdsens.plotting.state import Arrows, Packing
from mdsens.plotting.style import FILLS, GREY, INK, style

_CONTACT, _RIM = "#8a9dac", "#9aa7b1"
_WIDEST_CONTACT = 2.4  # points, the contact with the largest overlap


def draw_packing(packing: Packing, arrows: Arrows | None = None, *, remarks: Sequence[str] = ()) -> Figure:
    """Draw a packing, with the sensitivity of its positions when given.

    Every disc is to scale and coloured by species; periodic images lie behind a veil; contacts are lines whose width is
    proportional to the relative overlap 1 - r/sigma; rattlers are hatched, held particles have a bold rim; arrows point
    along dx_i/dp, coloured by magnitude, with a length key. Three dimensions: see ``mdsens.plotting.slab``.

    Args:
        packing: The state, d = 2.
        arrows: dx/dp; without it the packing alone is drawn.
        remarks: Lines to add to the text beside the picture.

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
        top = write_facts(axes, facts_of(packing, arrows, remarks))
        if arrows is not None:
            draw_response(axes, position, arrows, packing.diameter, top=top)
        draw_legend(axes, packing)
        return figure


def draw_discs(axes: Axes, packing: Packing, position: np.ndarray, view: tuple[np.ndarray, np.ndarray]) -> None:
    """Add the discs and the images that show: first those that carry load, then the rattlers, hatched and hollow."""
    thin = _rim_width(axes, packing.diameter)
    who, shift = geometry.images(position, packing.diameter, packing.box, view).T
    centres = position[who] + geometry.shifts(packing.box)[shift]
    loose = packing.rattlers[who]
    fills = np.array(FILLS)[packing.species % len(FILLS)]
    tight = who[~loose]
    held = _discs(centres[~loose], packing.diameter[tight], axes)
    rims, widths = np.where(packing.held[tight], INK, _RIM), np.where(packing.held[tight], 3 * thin, thin)
    held.set(facecolor=list(fills[tight]), edgecolor=list(rims), linewidth=list(widths), zorder=1, gid="discs")
    axes.add_collection(held, autolim=False)
    free = _discs(centres[loose], packing.diameter[who[loose]], axes)
    free.set(facecolor="white", edgecolor=GREY, linewidth=1.2 * thin, hatch="/////", zorder=1.1, gid="rattlers")
    axes.add_collection(free, autolim=False)


def _rim_width(axes: Axes, diameter: np.ndarray) -> float:
    """Return a line width in points that leaves small discs their colour."""
    width = 72 * axes.get_position().width * axes.figure.get_figwidth()  # type: ignore[union-attr]
    return float(min(0.5, 0.05 * diameter.mean() * width / np.ptp(axes.get_xlim())))


def _discs(centres: np.ndarray, diameter: np.ndarray, axes: Axes) -> EllipseCollection:
    angles = np.zeros(len(diameter))
    return EllipseCollection(diameter, diameter, angles, units="xy", offsets=centres, transOffset=axes.transData)


def draw_contacts(axes: Axes, packing: Packing, position: np.ndarray, view: tuple[np.ndarray, np.ndarray]) -> None:
    """Add the contact network, line width proportional to the overlap."""
    lines, contact = geometry.contact_lines(packing, position, view)
    # attractive laws have neighbours that do not overlap: all lines alike
    largest = packing.overlap.max() if packing.overlap.size and packing.overlap.min() > 0 else np.inf
    width = np.maximum(_WIDEST_CONTACT * packing.overlap / largest, 0.15)
    network = LineCollection(list(lines), linewidths=width[contact], colors=_CONTACT, capstyle="round", zorder=2)
    network.set_gid("contacts")
    axes.add_collection(network, autolim=False)


def draw_box(axes: Axes, box: np.ndarray, view: tuple[np.ndarray, np.ndarray]) -> None:
    """Outline the periodic box and veil what lies outside it: images, not particles."""
    if box.shape[1] == 0:
        return
    low, high = view
    if box.shape[1] == 1:  # open upwards and downwards: farther than the picture
        upwards = np.linalg.norm(high - low) * np.array([[-box[1, 0]], [box[0, 0]]]) / np.linalg.norm(box)
        inner = geometry.corners_of(np.hstack([box, 2 * upwards])) - upwards.T
    else:
        inner = geometry.corners_of(box)
    outer = np.array([low, [low[0], high[1]], high, [high[0], low[1]]])  # walked the other way round: a hole
    closed = [np.vstack([ring, ring[:1]]) for ring in (outer, inner)]
    codes = [Outline.MOVETO, *[Outline.LINETO] * 3, Outline.CLOSEPOLY]
    veil = PathPatch(Outline(np.vstack(closed), codes * 2), facecolor="white", alpha=0.62, edgecolor="none", zorder=3)
    axes.add_patch(veil)
    axes.add_patch(
        Polygon(inner, fill=False, edgecolor=INK, linewidth=0.9, linestyle=(0, (5, 2.5)), zorder=4, gid="box")
    )


def draw_legend(axes: Axes, packing: Packing) -> None:
    """Add the meaning of discs and lines beside the axes."""
    handles: list[Patch | Line2D] = [
        Patch(facecolor=FILLS[k % len(FILLS)], edgecolor=_RIM, label=f"species {name}")
        for k, name in enumerate(packing.species_names)
    ]
    if packing.held.any():
        label = f"held ({packing.held.sum()})"
        handles.append(Patch(facecolor="white", edgecolor=INK, linewidth=1.5, label=label))
    if packing.rattlers.any():
        label = f"rattlers ({packing.rattlers.sum()})"
        handles.append(Patch(facecolor="white", edgecolor=GREY, hatch="/////", label=label))
    if len(packing.contacts):
        overlapping = packing.overlap.min() > 0
        label = (
            f"contact, overlap {labels.scientific(float(packing.overlap.max()))}" if overlapping else "pair in range"
        )
        handles.append(Line2D([], [], color=_CONTACT, linewidth=_WIDEST_CONTACT if overlapping else 0.5, label=label))
    anchor = beside(axes, 0.12, side_height(axes))
    axes.legend(handles=handles, loc="lower left", bbox_to_anchor=anchor, borderpad=0.0)


def facts_of(packing: Packing, arrows: Arrows | None, more: Sequence[str]) -> list[str]:
    """Return size, packing fraction, further remarks, certificate, and what the arrows are."""
    size = f"$N$ = {packing.n_particles}"
    if np.isfinite(packing.packing_fraction):
        size += rf",  $\phi$ = {packing.packing_fraction:.4g}"
    if arrows is None:
        return [size, *more]
    if arrows.quantity:
        return [size, *more, f"arrows: {arrows.quantity}", arrows.note]
    certificate = labels.certificate_lines(arrows.relative_error, arrows.note)
    shown = "arrows" if arrows.significant else "not above its error:"
    what = [f"{shown} {labels.derivative_label(arrows.unit)}", f"$p$ = {arrows.parameter}"]
    return [size, *more, *certificate, *what]
