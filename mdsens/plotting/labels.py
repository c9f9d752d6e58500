"""Words and numbers on figures: units, parameter names, reference lengths, certificates."""

from __future__ import annotations

import math
from fractions import Fraction

from matplotlib.axis import Axis
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from mdsens.units import unit_powers

_SYMBOLS = {"energy": r"\epsilon", "length": r"\sigma"}  # of the reduced units


def derivative_label(unit: str) -> str:
    """Return the axis label of |dx_i/dp| with its unit (none where p is a length)."""
    own = derivative_unit(unit)
    return r"$|\partial\mathbf{x}_i/\partial p|$" + (f" ({own})" if own else "")


def derivative_unit(unit: str) -> str:
    """Return the unit of dx/dp, a length over that of p, in mathematical notation; empty where it has none."""
    powers = {kind: (kind == "length") - power for kind, power in ({"length": 0} | unit_powers(unit)).items()}
    above = "".join(_factor(kind, power) for kind, power in powers.items() if power > 0)
    below = [_factor(kind, -power) for kind, power in powers.items() if power < 0]
    under = "".join(below) if len(below) < 2 else f"({''.join(below)})"
    return f"${above or 1}{'/' if under else ''}{under}$" if above or under else ""


def _factor(kind: str, power: int | Fraction) -> str:
    return _SYMBOLS[kind] + ("" if power == 1 else f"^{{{power}}}")


def scientific(value: float, digits: int = 1) -> str:
    r"""Write a number as :math:`1.2\times10^{-13}` in mathematical notation; plainly between 0.01 and 10 000."""
    if not math.isfinite(value):
        return "not finite" if math.isnan(value) else r"$\infty$"
    if value == 0:
        return "0"
    mantissa, power = f"{value:.{digits}e}".split("e")
    exponent = int(power)
    if -3 < exponent < 4:
        return f"{value:.{max(digits + 1, 3, exponent + 1)}g}".replace("-", "−")
    if float(mantissa) == 1:
        return rf"$10^{{{exponent}}}$"
    return rf"${mantissa}\times10^{{{exponent}}}$"


def round_down(value: float) -> float:
    """Return the largest of 1, 2, 5 times a power of ten that is not above a positive value."""
    power = 10.0 ** math.floor(math.log10(value))
    return float(power * max(step for step in (1, 2, 5) if step * power <= value * (1 + 1e-12)))


def certificate_lines(relative_error: float, note: str) -> list[str]:
    """Return the lines that say how good a derivative is; NaN stands for one that is zero within its error."""
    lines = ["zero within its error" if math.isnan(relative_error) else f"relative error {scientific(relative_error)}"]
    return [*lines, note] if note else lines


def log_axis(axis: Axis) -> None:
    """Label a logarithmic axis at 1, 2, 5 times powers of ten with plain numbers."""
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: scientific(value, 0)))
    axis.set_minor_formatter(NullFormatter())
