"""One thing that was checked, and the line that says how it went."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Check:
    """A number that must not exceed another.

    Attributes:
        label: What was checked.
        value: The number; NaN never holds.
        tolerance: What it may be at most.
        remark: Said instead of the numbers, where there is one.
    """

    label: str
    value: float
    tolerance: float
    remark: str = ""

    @property
    def holds(self) -> bool:
        """Whether it does not."""
        return bool(self.value <= self.tolerance)

    @property
    def line(self) -> str:
        """The line on the terminal."""
        numbers = self.remark or f"{self.value:.1e} (at most {self.tolerance:.0e})"
        return f"{'ok  ' if self.holds else 'FAIL'}  {self.label}: {numbers}"


def same(label: str, agree: bool, remark: str = "") -> Check:
    """Return the check of something that is either right or wrong."""
    return Check(label, 0.0 if agree else 1.0, 0.0, remark or ("the same" if agree else "not the same"))
