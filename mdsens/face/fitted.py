"""`md.fit`: the parameters whose relaxed structure is the one that is given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mdsens.energy import Potential
from mdsens.face.relaxed import Relaxed
from mdsens.face.starts import configuration_of, law_for
from mdsens.face.tables import as_html, as_text, frame
from mdsens.fitting import Fit, FitSettings, Outcome, Target, fit_positions
from mdsens.relaxation import PressureSettings, RelaxationSettings
from mdsens.relaxation.freedom import BoxKind
from mdsens.types import Configuration

_HEAD = ("parameter", "start", "fitted", "relative error")


def fit(
    target: Any,
    law: Potential,
    parameters: str | Sequence[str] | None = None,
    *,
    pressure: float | None = None,
    box: BoxKind = "isotropic",
    settings: FitSettings | None = None,
    relaxation: RelaxationSettings | None = None,
) -> Fitted:
    """Find the parameters whose relaxed positions, at a pressure those and the box, are the target's.

    Args:
        target: The structure, as ``md.relax`` takes atoms.
        law: The potential where the fit starts; what is not fitted keeps its values.
        parameters: Names of the entries to fit; a term's or field's name stands for all its entries. By default all of
            the potential's. At a pressure, "pressure" is one, too.
        pressure: Where the box relaxes, too, the pressure, units of energy per volume.
        box: What of the box is then free: "isotropic", "orthorhombic" or "triclinic".
        settings: How to fit.
        relaxation: How to relax.

    Returns:
        The best parameters found, whatever became of the fit: its ``outcome`` says so.

    Raises:
        UserError: When there is no such parameter, one is zero, or the target is no structure for this law.

    Example:
        >>> import mdsens as md
        >>> law = md.potentials.SoftSphere({"A": 0.6, "B": 1.0})
        >>> target = md.relax(md.systems.bidisperse(n_particles=24, seed=1), law).configuration
        >>> found = md.fit(target, md.potentials.SoftSphere({"A": 0.602, "B": 1.0}), "soft_sphere.sigma[A]")
        >>> print(found.outcome.value, f"{found.values['soft_sphere.sigma[A]']:.8f}")
        converged 0.60000000
    """
    atoms = configuration_of(target)
    potential = law_for(law, atoms)
    patterns = None if parameters is None else (parameters,) if isinstance(parameters, str) else tuple(parameters)
    relaxation = relaxation or RelaxationSettings()
    how = relaxation if pressure is None else PressureSettings(box=box, relaxation=relaxation)
    wanted = Target(atoms, potential, patterns, how, pressure)
    return Fitted(fit_positions(wanted, settings), wanted)


class Fitted:
    """What a fit found.

    Attributes:
        record: The plain record, with its history.
        law: The potential with the fitted values.
        values: The fitted values by name of the parameter.
        error: Their estimated errors, relative, by name.
    """

    def __init__(self, record: Fit, target: Target) -> None:
        """Take the record and what was fitted to."""
        self.record, self._target = record, target
        self.law: Potential = target.parameters_at(np.log(np.abs(record.values))).potential
        self.values = dict(zip(record.paths, map(float, record.values), strict=True))
        self.error = dict(zip(record.paths, map(float, record.error), strict=True))

    @property
    def outcome(self) -> Outcome:
        """How the fit ended."""
        return self.record.outcome

    @property
    def target(self) -> Configuration:
        """The structure that was fitted to."""
        return self._target.configuration

    def relax(self) -> Relaxed:
        """Return the target relaxed under the fitted law: a state that answers questions."""
        target = self._target
        parameters = target.parameters_at(np.log(np.abs(self.record.values)))
        return Relaxed(target.relaxed(parameters, target.configuration))

    def to_pandas(self) -> Any:
        """Return a DataFrame: a row per parameter entry."""
        return frame(("parameter", "start", "fitted", "relative_error"), self._numbers())

    def _numbers(self) -> list[tuple[str, float, float, float]]:
        starts = map(float, self._target.selection.values)
        return [
            (name, start, self.values[name], self.error[name]) for name, start in zip(self.values, starts, strict=True)
        ]

    def _rows(self) -> list[tuple[object, ...]]:
        return [(name, f"{a:.8g}", f"{b:.12g}", f"{error:.1e}") for name, a, b, error in self._numbers()]

    def __repr__(self) -> str:
        """Return how it ended, the parameters, and what the target does not determine."""
        record = self.record
        head = f"{record.outcome.sentence} ({record.n_relaxations} relaxations, residual {record.residual:.2e})"
        return "\n".join([head, as_text(_HEAD, self._rows()), *record.identified.words])

    def _repr_html_(self) -> str:
        return f"<p>{self.outcome.sentence}</p>{as_html(_HEAD, self._rows())}"
