"""Vibrations of a relaxed state: density of states and participation ratios."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from mdsens.plotting.style import BLUE, DOUBLE_COLUMN, label_panel, new_figure, style


def draw_vibrations(frequencies: np.ndarray, participation_ratios: np.ndarray, *, complete: bool) -> Figure:
    r"""Draw the density of states and how many particles take part in every mode.

    Args:
        frequencies: Angular frequencies at unit masses, shape (k,).
        participation_ratios: Shape (k,), between 1/N and 1.
        complete: Whether these are all modes; the density is then normalised to one.

    Returns:
        The figure, two columns wide: (a) density of states, (b) participation ratios.
    """
    with style():
        figure = new_figure(DOUBLE_COLUMN, 2.5)
        left, right = figure.subplots(1, 2, sharex=True)
        bins = int(np.clip(np.sqrt(2 * len(frequencies)), 5, 60))
        left.hist(frequencies, bins=bins, density=complete, color=BLUE, alpha=0.35, edgecolor=BLUE, linewidth=0.6)
        left.set_ylabel(r"$D(\omega)$ ($\sqrt{m\sigma^2/\epsilon}$)" if complete else "modes")
        right.plot(frequencies, participation_ratios, "o", color=BLUE, markersize=2.2, markeredgewidth=0, alpha=0.7)
        right.set_ylim(0, 1)
        right.set_ylabel("participation ratio")
        for axes, letter in ((left, "a"), (right, "b")):
            axes.set_xlim(left=0)
            axes.set_xlabel(r"$\omega$ ($\sqrt{\epsilon/m\sigma^2}$)")
            label_panel(axes, letter, x=0.92)
        return figure
