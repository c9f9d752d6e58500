"""`md.thermal`: averages at a temperature, and how they change with the potential."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from mdsens.energy import Potential, State, has_pressure
from mdsens.energy.paths import select
from mdsens.equilibrium import (
    Averages,
    Equilibration,
    ThermalSettings,
    averages,
    replica_keys,
    sample,
    thermal_observable,
    without_overlaps,
)
from mdsens.face.starts import configuration_of, law_for
from mdsens.face.tables import as_html, as_text, frame

_HEAD = ("observable", "mean", "error", "parameter", "derivative", "error")
_COLUMNS = ("observable", "mean", "error", "parameter", "derivative", "derivative_error")


def thermal(
    atoms: Any,
    law: Potential,
    temperature: float,
    observables: str | Sequence[str] | None = None,
    parameters: str | Sequence[str] | None = None,
    *,
    n_replicas: int = 4,
    seed: int = 0,
    settings: ThermalSettings | None = None,
) -> Thermal:
    """Return averages over the canonical ensemble at fixed box with their derivatives, each with a standard error.

    Args:
        atoms: Where every replica starts, as ``md.relax`` takes atoms; overlaps are relaxed away first.
        law: The potential.
        temperature: k_B T, units of energy.
        observables: Names; by default "energy_per_particle", and "pressure" where there is one.
        parameters: Names of parameter entries; a term's or field's name stands for all its entries. By default all of
            the potential's.
        n_replicas: Number of independent runs.
        seed: Of momenta and noise.
        settings: How to sample; the temperature given here holds.

    Returns:
        The averages, whether this is equilibrium or not: the ``verdict`` says so.

    Raises:
        UserError: When a name is unknown or a setting out of its range.
        NumericalError: When a trajectory does not stay finite.
    """
    start = configuration_of(atoms)
    potential = law_for(law, start)
    state = State.unlisted(start, potential)
    if observables is None:
        observables = ("energy_per_particle", *(["pressure"] if has_pressure(state) else []))
    names = [observables] if isinstance(observables, str) else list(observables)
    patterns = [parameters] if isinstance(parameters, str) else parameters
    how = ThermalSettings(temperature) if settings is None else dataclasses.replace(settings, temperature=temperature)
    wanted = {name: thermal_observable(name, temperature) for name in names}
    selection, keys = select(state, patterns), replica_keys(seed, range(n_replicas))
    return Thermal(averages(sample(without_overlaps(state), wanted, selection, how, keys)))


class Thermal:
    """Averages over the canonical ensemble and their derivatives.

    Attributes:
        record: The plain record, with autocorrelation times.
    """

    def __init__(self, record: Averages) -> None:
        """Take the record."""
        self.record = record

    @property
    def verdict(self) -> Equilibration:
        """Whether this is equilibrium."""
        return self.record.verdict

    @property
    def mean(self) -> dict[str, float]:
        """The averages by name of the observable."""
        return dict(zip(self.record.observables, map(float, self.record.mean), strict=True))

    @property
    def error(self) -> dict[str, float]:
        """Their standard errors."""
        return dict(zip(self.record.observables, map(float, self.record.error), strict=True))

    def to_pandas(self) -> Any:
        """Return a DataFrame: a row per observable and parameter entry."""
        return frame(_COLUMNS, self._numbers())

    def _numbers(self) -> list[tuple[str, float, float, str, float, float]]:
        record = self.record
        return [
            (name, float(record.mean[o]), float(record.error[o]), path, float(slope), float(error))
            for o, name in enumerate(record.observables)
            for path, slope, error in zip(record.paths, record.slope[o], record.slope_error[o], strict=True)
        ]

    def _rows(self) -> list[tuple[object, ...]]:
        return [
            (name, f"{mean:.6g}", f"{error:.1e}", path, f"{slope:.5g}", f"{slope_error:.1e}")
            for name, mean, error, path, slope, slope_error in self._numbers()
        ]

    def __repr__(self) -> str:
        """Return whether this is equilibrium, and a table of averages, derivatives and standard errors."""
        return f"{self.verdict.sentence}\n{as_text(_HEAD, self._rows())}"

    def _repr_html_(self) -> str:
        return f"<p>{self.verdict.sentence}</p>{as_html(_HEAD, self._rows())}"
