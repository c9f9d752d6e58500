"""Tables, counts and numbers with errors, as they are printed."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Sequence

from rich.table import Table


def table(
    title: str,
    headers: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    left: Collection[str] = (),
    caption: str | None = None,
) -> Table:
    """Return a table to print.

    Args:
        title: What stands above it.
        headers: Name of every column.
        rows: The cells of every line.
        left: Columns that begin at the left; the others end at the right.
        caption: What stands below it.
    """
    found = Table(title=title, caption=caption)
    for header in headers:
        found.add_column(header, justify="left" if header in left else "right", no_wrap=True)
    for row in rows:
        found.add_row(*row)
    return found


def tally(values: Iterable[str]) -> str:
    """Write how often every text occurs: "38 converged, 2 unjammed"."""
    return ", ".join(f"{count} {name}" for name, count in sorted(Counter(map(str, values)).items()))


def with_error(value: float, error: float) -> str:
    """Write a number and its standard error, both to the second significant digit of the error."""
    if not (math.isfinite(error) and error > 0):
        return f"{value:.6g} ± {error:.2g}"
    digits = max(0, 1 - math.floor(math.log10(error)))
    return f"{value:.{digits}f} ± {error:.{digits}f}"


def with_last_digit(value: float, error: float) -> str:
    """Write a number with its standard error in units of its last digit: 0.071(2)."""
    if not (math.isfinite(error) and error > 0):
        return f"{value:.3g}"
    digits = max(0, -int(f"{error:.0e}".split("e")[1]))
    return f"{value:.{digits}f}({error * 10**digits:.0f})"
