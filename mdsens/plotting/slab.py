"""A three-dimensional packing: a slab cut through its middle, and how far all particles move."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mdsens.plotting import geometry, labels
from mdsens.plotting.arrows import draw_response, of_images
from mdsens.plotting.packing import draw_box, draw_contacts, draw_discs, draw_legend, facts_of
from mdsens.plotting.page import frame, page, write_facts
from mdsens.plotting.state import Arrows, Packing
from mdsens.plotting.style import BLUE, DOUBLE_COLUMN, GREEN, ORANGE, PURPLE, style

_SLAB_WIDTH = 3.2  # inches
_SPECIES_LINES = ((BLUE, "-"), (ORANGE, "--"), (GREEN, ":"), (PURPLE, "-."))


def draw_slab(packing: Packing, arrows: Arrows | None = None, *, remarks: Sequence[str] = ()) -> Figure:
    """Draw a slab of a three-dimensional packing seen along z, and the distribution of |dx_i/dp| over all particles.

    The slab lies in the middle and is one largest diameter thick, for dots one mean spacing; it shows the particles
    whose centres are inside, nearest ones on top, and the contacts among them. Arrows are the x and y components of
    dx_i/dp, their colour is its full length.

    Args:
        packing: The state, d = 3; the first two lattice vectors lie in the x-y plane.
        arrows: dx/dp; without it the slab alone is drawn.
        remarks: Lines to add to the text beside the picture.

    Returns:
        The figure, two columns wide.

    Raises:
        ValueError: When the packing is not three-dimensional.
    """
    if packing.dimension != 3:
        raise ValueError(f"the packing has {packing.dimension} dimensions; it must have 3: use draw_packing for 2.")
    position = geometry.wrapped(packing.position, packing.box)
    members, half = slab_members(packing, position)
    flat = flattened(packing, position, members)
    with style():
        view = geometry.window(flat, 0.35 * packing.diameter.max())
        figure, axes = page(view, _SLAB_WIDTH)
        frame(axes, view, ("x", "y"))
        draw_discs(axes, flat, flat.position, view)
        draw_contacts(axes, flat, flat.position, view)
        draw_box(axes, flat.box, view)
        slab = [rf"slab $|z-z_0|\leq{half:.2g}\,\sigma$:", f"{len(members)} of {packing.n_particles} particles"]
        if arrows is not None:
            arrows = of_images(arrows, packing, position)
        top = write_facts(axes, facts_of(packing, arrows, [*remarks, *slab]))
        if arrows is not None:
            draw_response(axes, flat.position, arrows, packing.diameter, top=top, members=members)
            _draw_histogram(figure, axes, packing, arrows)
        draw_legend(axes, flat)
        return figure


def slab_members(packing: Packing, position: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the particles whose centres lie in the middle slab, from back to front, and half the slab's thickness."""
    half = 0.5 * (geometry.mean_spacing(packing.position) if packing.dots else float(packing.diameter.max()))
    height = position[:, 2] - (0.5 * packing.box[2].sum() if packing.box.shape[1] == 3 else position[:, 2].mean())
    members = np.flatnonzero(np.abs(height) <= half)
    return members[np.argsort(height[members], kind="stable")], half


def flattened(packing: Packing, position: np.ndarray, members: np.ndarray) -> Packing:
    """Return the projection of some particles on the x-y plane, with the contacts among them."""
    number = np.full(packing.n_particles, -1)
    number[members] = np.arange(len(members))
    contacts = number[packing.contacts.reshape(-1, 2)]
    among = (contacts >= 0).all(axis=1)
    plane = packing.box[:2, :2]
    return Packing(
        position[members, :2],
        packing.diameter[members],
        packing.species[members],
        packing.species_names,
        plane[:, np.any(plane != 0, axis=0)],  # of a wire along z nothing is left
        contacts[among],
        packing.bonds[among, :2],
        packing.overlap[among],
        packing.rattlers[members],
        packing.held[members],
        packing.dots,
    )


def _draw_histogram(figure: Figure, beside_axes: Axes, packing: Packing, arrows: Arrows) -> None:
    """Add the distribution of magnitudes over all particles that move, one line per species."""
    box = beside_axes.get_position()
    left = box.x1 + 1.95 / DOUBLE_COLUMN
    axes = figure.add_axes((left, box.y0, 1 - left - 0.1 / DOUBLE_COLUMN, box.height))
    moving = arrows.magnitude > 0
    axes.set_xscale("log")
    axes.set_xlabel(labels.derivative_label(arrows.unit))
    axes.set_ylabel("particles")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    labels.log_axis(axes.xaxis)
    if not arrows.significant:
        return
    low, high = arrows.magnitude[moving].min(), arrows.magnitude.max()
    edges = np.geomspace(0.999 * low, 1.001 * high, 16).tolist()
    for k, name in enumerate(packing.species_names):
        colour, dashes = _SPECIES_LINES[k % len(_SPECIES_LINES)]
        chosen = arrows.magnitude[moving & (packing.species == k)]
        axes.hist(
            chosen, edges, histtype="step", color=colour, linestyle=dashes, linewidth=1.1, label=f"species {name}"
        )
    axes.set_ylim(0, 1.25 * axes.get_ylim()[1])
    axes.legend(loc="upper left")
