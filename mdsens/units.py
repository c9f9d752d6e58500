"""Units as powers of the two that a potential has, a length and an energy: ``{"energy": 1, "length": -2}``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from fractions import Fraction

Powers = Mapping[str, int | float | Fraction]
NONE = "none"
KINDS = ("energy", "length")


def unit_text(powers: Powers) -> str:
    """Return a unit in words: ``length``, ``energy/length^2``, ``1/length``, ``none`` where there is none.

    Raises:
        ValueError: When a power is of something else than a length or an energy.
    """
    unknown = set(powers) - set(KINDS)
    if unknown:
        raise ValueError(f"a unit is made of powers of {' and '.join(KINDS)}, not of {sorted(unknown)[0]!r}.")
    exact = {kind: Fraction(powers.get(kind, 0)).limit_denominator(100) for kind in KINDS}
    above = [_power(kind, exact[kind]) for kind in KINDS if exact[kind] > 0]
    below = [_power(kind, -exact[kind]) for kind in KINDS if exact[kind] < 0]
    if not above and not below:
        return NONE
    return "/".join(["*".join(above) or "1", *below])


def unit_powers(text: str) -> dict[str, Fraction]:
    """Return the powers that ``unit_text`` has put into words.

    Raises:
        ValueError: When the text is no unit.
    """
    if text == NONE:
        return {}
    powers: dict[str, Fraction] = {}
    above, *below = re.split(r"/(?![^(]*\))", text)
    for sign, factors in ((1, [] if above == "1" else above.split("*")), (-1, below)):
        for factor in factors:
            kind, _, power = factor.partition("^")
            if kind not in KINDS:
                raise ValueError(f"{text!r} is no unit: it must be made of {' and '.join(KINDS)}.")
            powers[kind] = sign * Fraction(power.strip("()") or 1)
    return powers


def _power(kind: str, power: Fraction) -> str:
    return kind if power == 1 else f"{kind}^{power}" if power.denominator == 1 else f"{kind}^({power})"
