"""`md.verify`: derivatives beside independent witnesses, and what a file holds beside what is computed again."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from mdsens.errors import UserError
from mdsens.face.relaxed import Relaxed
from mdsens.face.stored import Stored, load
from mdsens.face.tables import as_html
from mdsens.given import shown
from mdsens.observables import is_known
from mdsens.verification import Check, same, witnesses

_TOLERANCE = 1e-6  # of a number that is computed again, relative
_ERRORS = 4.0  # of its own, by which it may differ besides


class Verified:
    """What was checked, and how it went; true where everything holds.

    Attributes:
        checks: One by one.
    """

    def __init__(self, checks: Sequence[Check]) -> None:
        """Take the checks."""
        self.checks = tuple(checks)

    @property
    def holds(self) -> bool:
        """Whether every check does."""
        return all(check.holds for check in self.checks)

    def __bool__(self) -> bool:
        """Return whether every check holds."""
        return self.holds

    def __repr__(self) -> str:
        """Return a line for every check, and the verdict."""
        return "\n".join([*(check.line for check in self.checks), "verified" if self.holds else "NOT verified"])

    def _repr_html_(self) -> str:
        head = ("check", "value", "at most", "holds")
        rows = [(check.label, f"{check.value:.1e}", f"{check.tolerance:.0e}", check.holds) for check in self.checks]
        return as_html(head, rows)


def verify(found: Any, parameters: str | Sequence[str] | None = None) -> Verified:
    """Compare derivatives with differences of re-relaxed states and with exact scale identities.

    Of a file, what it holds is compared with what is found at its positions besides; ``mdsens verify FILE`` compares
    every number in it.

    Args:
        found: What ``md.relax`` or ``md.load`` returned, or the path of what was saved.
        parameters: The entries that are compared, each by relaxing twice; by default those asked for before, or all.

    Raises:
        UserError: When it is something else, or its law is none of the library's own.
        NumericalError: When the state is no minimum.

    Example:
        >>> import mdsens as md
        >>> law = md.potentials.SoftSphere({"A": 0.6, "B": 1.0})
        >>> found = md.relax(md.systems.bidisperse(n_particles=24, seed=1), law)
        >>> bool(md.verify(found, "soft_sphere.sigma[A]"))
        True
    """
    if isinstance(found, str | os.PathLike):
        found = load(found)
    if isinstance(found, Stored):
        state = found.relaxed
        return Verified([*_as_stored(found, state), *_witnessed(state, parameters or found.sensitivity.parameters)])
    if not isinstance(found, Relaxed):
        raise UserError(f"{shown(found)} is given; verify what md.relax returned, or the path of a file.")
    return Verified(list(_witnessed(found, parameters or found.asked)))


def _witnessed(found: Relaxed, parameters: str | Sequence[str] | None) -> Iterator[Check]:
    found = Relaxed(found.relaxation)  # what is asked here is not saved with the other
    positions = found.sensitivity(parameters or None).record
    slopes = found.observables(["energy", "pressure"] if np.isfinite(found.pressure) else "energy", positions.paths)
    return witnesses(found.relaxation, positions, list(slopes.records.values()))


def _as_stored(stored: Stored, found: Relaxed) -> Iterator[Check]:
    yield same("verdict", found.verdict is stored.verdict, f"{stored.verdict.value}, now {found.verdict.value}")
    yield _alike("energy", stored.energy, found.energy, 0.0)
    asked = stored.sensitivity
    if asked.parameters:
        again = found.sensitivity(asked.parameters).record
        for name, before, now, error in zip(
            asked.parameters, asked.record.values, again.values, again.certificate.error, strict=True
        ):
            yield _alike(f"dx/d {name}", before, now, float(error))
    for record in stored.observables.records.values():
        if not is_known(record.name):
            yield same(record.name, True, "not verified: the author's own")
            continue
        one = found.observables(record.name, record.paths)[record.name]
        yield _alike(record.name, record.value, one.value, 0.0)
        yield _alike(f"slopes of {record.name}", record.values, one.values, float(one.certificate.error.max(initial=0)))


def _alike(label: str, before: object, now: object, error: float) -> Check:
    first, second = np.asarray(before), np.asarray(now)
    allowed = _TOLERANCE * float(np.linalg.norm(second)) + _ERRORS * error + 1e-13
    return Check(f"{label}, as stored (absolute)", float(np.linalg.norm(first - second)), allowed)
