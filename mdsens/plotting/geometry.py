"""Where discs, contacts and periodic images lie on the page."""

from __future__ import annotations

import itertools

import numpy as np

from mdsens.plotting.state import Packing


def wrapped(position: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Return the images of the positions inside the box, shape (n, d); along what does not repeat, themselves."""
    return np.asarray(position - (box @ np.floor(np.linalg.pinv(box) @ position.T)).T)


def nearest(separation: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Return the nearest-image displacements of differences of positions, shape (m, d)."""
    return np.asarray(separation - (box @ np.round(np.linalg.pinv(box) @ separation.T)).T)


def shifts(box: np.ndarray) -> np.ndarray:
    """Return the lattice vectors to the box itself (first) and to its neighbours, shape (3^p, d)."""
    counts = sorted(itertools.product((0, -1, 1), repeat=box.shape[1]), key=lambda c: sum(map(abs, c)))
    return np.asarray(np.array(counts).reshape(len(counts), box.shape[1]) @ box.T)


def window(packing: Packing, margin: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the lower and upper corner of the picture: the box, where it is open the particles, and the margin."""
    box, radius = packing.box, 0.5 * packing.diameter[:, None]
    low, high = np.full(packing.dimension, np.inf), np.full(packing.dimension, -np.inf)
    if box.shape[1]:
        corners = np.array(list(itertools.product((0, 1), repeat=box.shape[1]))) @ box.T
        low, high = corners.min(axis=0), corners.max(axis=0)
    if box.shape[1] < packing.dimension:
        position = wrapped(packing.position, box)
        low = np.minimum(low, (position - radius).min(axis=0))
        high = np.maximum(high, (position + radius).max(axis=0))
    return low - margin, high + margin


def corners_of(box: np.ndarray) -> np.ndarray:
    """Return the corners of the box, shape (2^d, d); in 2D in the order in which they are walked around."""
    d = box.shape[0]
    walk = [(0, 0), (1, 0), (1, 1), (0, 1)] if d == 2 else list(itertools.product((0, 1), repeat=d))
    return np.array(walk) @ box.T


def images(
    position: np.ndarray, diameter: np.ndarray, box: np.ndarray, view: tuple[np.ndarray, np.ndarray]
) -> np.ndarray:
    """Return (particle, shift) of every image whose disc shows in the view, the particles themselves first.

    Args:
        position: Positions inside the box, shape (n, d).
        diameter: Diameters, shape (n,).
        box: Lattice vectors as columns.
        view: Lower and upper corner of the picture.

    Returns:
        Indices of particles and of ``shifts(box)``, shape (m, 2).
    """
    centres = position[None] + shifts(box)[:, None]
    radius = 0.5 * diameter[:, None]
    shown = np.all((centres + radius > view[0]) & (centres - radius < view[1]), axis=-1)
    shown[0] = True
    return np.argwhere(shown)[:, ::-1]


def contact_lines(
    packing: Packing, position: np.ndarray, view: tuple[np.ndarray, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the lines between touching particles, images included, that cross the view.

    Returns:
        Ends of every line, shape (m, 2, d), and the number of the contact it belongs to, shape (m,).
    """
    first = position[packing.contacts.reshape(-1, 2)[:, 0]]
    second = first + packing.bonds
    # a contact across the border is drawn at both borders: from i to an image of j, and from an image of i to j
    ends = np.stack([first, second], axis=1)[None] + shifts(packing.box)[:, None, None]
    shown = np.all((ends.max(axis=2) > view[0]) & (ends.min(axis=2) < view[1]), axis=-1)
    return ends[shown], np.argwhere(shown)[:, 1]


def mean_spacing(position: np.ndarray) -> float:
    """Return the edge of the square or cube that a particle has for itself, units of length; 1 where all are in one."""
    n, dimension = position.shape
    extents = np.ptp(position, axis=0)  # of a line: one of them, and the others as wide as its spacing
    return float((np.prod(np.maximum(extents, extents.max() / n)) / n) ** (1 / dimension)) or 1.0
