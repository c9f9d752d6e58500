"""Contacts, moduli and pressure of packings over their distance from jamming."""

from __future__ import annotations

import dataclasses

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatterMathtext, LogLocator, NullFormatter

from mdsens.plotting.style import BLUE, DOUBLE_COLUMN, GREEN, GREY, INK, VERMILION, label_panel, new_figure, style

_PANELS = (
    ("excess_contacts", r"$Z - Z_c$", BLUE, "o"),
    ("modulus_ratio", r"$G/B$", VERMILION, "s"),
    ("pressure", r"$P$ ($\epsilon/\sigma^d$)", GREEN, "D"),
)


@dataclasses.dataclass(frozen=True)
class Compression:
    """Means over packings at common pressures, with their standard errors.

    Attributes:
        pressure: Pressures, shape (k,).
        excess_fraction_mean: Packing fraction beyond that at jamming, shape (k,).
        excess_fraction_sem: Its standard error.
        excess_contacts_mean: Contacts per particle beyond isostaticity, shape (k,).
        excess_contacts_sem: Its standard error.
        modulus_ratio_mean: Shear over bulk modulus, shape (k,).
        modulus_ratio_sem: Its standard error.
        fitted: Whether the power laws were fitted to the point, shape (k,).
    """

    pressure: np.ndarray
    excess_fraction_mean: np.ndarray
    excess_fraction_sem: np.ndarray
    excess_contacts_mean: np.ndarray
    excess_contacts_sem: np.ndarray
    modulus_ratio_mean: np.ndarray
    modulus_ratio_sem: np.ndarray
    fitted: np.ndarray


@dataclasses.dataclass(frozen=True)
class Exponents:
    """Power laws in the excess packing fraction, one per quantity.

    Attributes:
        quantity: Their names, "excess_contacts", "modulus_ratio" and "pressure" among them, shape (q,).
        exponent: Fitted exponents, shape (q,); NaN where there is no law.
        exponent_error: Their standard errors, shape (q,).
        prefactor: Fitted prefactors, shape (q,).
        expected: Exponents to compare with, shape (q,).
    """

    quantity: np.ndarray
    exponent: np.ndarray
    exponent_error: np.ndarray
    prefactor: np.ndarray
    expected: np.ndarray


def draw_compression(compression: Compression, exponents: Exponents, *, ensemble: str = "") -> Figure:
    """Draw Z - Z_c, G/B and P over the excess packing fraction on logarithmic axes.

    Filled symbols are points that the power laws (solid lines) were fitted to, open ones the others; bars are one
    standard error of the mean over packings. The broken line has the expected exponent and stands beside the points. A
    mean that is not positive has no place on these axes and is left out.

    Args:
        compression: The points.
        exponents: The laws.
        ensemble: What was averaged, written into the first panel.

    Returns:
        The figure, two columns wide, three panels.
    """
    with style():
        figure = new_figure(DOUBLE_COLUMN, 2.55)
        panels = figure.subplots(1, 3)
        laws = list(map(str, exponents.quantity))
        for axes, letter, (name, label, colour, marker) in zip(panels, "abc", _PANELS, strict=True):
            mean = compression.pressure if name == "pressure" else getattr(compression, f"{name}_mean")
            error = np.zeros_like(mean) if name == "pressure" else getattr(compression, f"{name}_sem")
            _points(axes, compression, mean, error, colour, marker)
            _law(axes, compression, exponents, laws.index(name))
            _axes(axes, label)
            label_panel(axes, letter)
        panels[0].text(0.96, 0.05, ensemble, transform=panels[0].transAxes, ha="right", va="bottom", fontsize=8)
        return figure


def _points(
    axes: Axes, compression: Compression, mean: np.ndarray, error: np.ndarray, colour: str, marker: str
) -> None:
    x, x_error = compression.excess_fraction_mean, compression.excess_fraction_sem
    for chosen, face, name in ((compression.fitted, colour, "fitted"), (~compression.fitted, "white", "not fitted")):
        shown = chosen & (mean > 0) & np.isfinite(x)
        if not shown.any():
            continue
        lowest = np.minimum(error[shown], 0.9 * mean[shown])  # a bar that reaches zero ends at the axis
        axes.errorbar(
            x[shown], mean[shown], yerr=np.stack([lowest, error[shown]]), xerr=x_error[shown], linestyle="none",
            marker=marker, markersize=4, markerfacecolor=face, markeredgewidth=0.8, color=colour, elinewidth=0.8,
            zorder=3, gid=name,
        )  # fmt: skip


def _law(axes: Axes, compression: Compression, laws: Exponents, row: int) -> None:
    """Draw the fitted law over the fitted points, and the expected exponent beside it; nothing where there is none."""
    if not np.isfinite(laws.exponent[row]):
        return
    x = compression.excess_fraction_mean[compression.fitted]
    ends = np.array([x.min(), x.max()])
    slope, error, expected = (float(column[row]) for column in (laws.exponent, laws.exponent_error, laws.expected))
    fitted = float(laws.prefactor[row]) * ends**slope
    axes.plot(ends, fitted, color=INK, linewidth=1.0, zorder=2, label=rf"${slope:.3f} \pm {error:.3f}$", gid="law")
    middle = np.sqrt(ends.prod())
    height = 0.55 * float(laws.prefactor[row]) * middle**slope
    axes.plot(
        ends, height * (ends / middle) ** expected, color=GREY, linewidth=0.8, linestyle=(0, (4, 2)), zorder=1,
        label=f"{expected:g}", gid="expected",
    )  # fmt: skip
    axes.legend(loc="upper left", bbox_to_anchor=(0.1, 1.0), title="exponent", title_fontsize=8, alignment="left")


def _axes(axes: Axes, label: str) -> None:
    """Set up logarithmic axes with room for the legend above the points; say so where there are none."""
    axes.set_xlabel(r"$\phi - \phi_J$")
    axes.set_ylabel(label)
    if not axes.containers:
        axes.text(0.5, 0.5, "no answer", transform=axes.transAxes, ha="center", va="center")
        return
    axes.set_xscale("log")
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    axes.set_ylim(low, high * (high / low) ** 0.25)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator())
        axis.set_major_formatter(LogFormatterMathtext())
        axis.set_minor_formatter(NullFormatter())
