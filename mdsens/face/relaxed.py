"""A relaxed state that answers questions: what `md.relax` returns."""

from __future__ import annotations

import functools
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mdsens.energy.paths import select
from mdsens.face.drawing import drawn
from mdsens.face.tables import Sensitivity, Table
from mdsens.io import Run, collect, no_sensitivity, read_run, to_atoms, write_run
from mdsens.io.stored import StoredRun
from mdsens.observables import Workbench, check_names, made
from mdsens.relaxation import Relaxation
from mdsens.response import LinearResponse, linear_response
from mdsens.results import Verdict, check
from mdsens.sensitivity import (
    ObservableSensitivity,
    PositionSensitivity,
    observable_sensitivities,
    position_sensitivity,
)
from mdsens.types import Configuration


class Relaxed:
    """A relaxed state. What has been asked of it is kept, and saved with it.

    Attributes:
        relaxation: The plain record of it.
    """

    def __init__(self, relaxation: Relaxation) -> None:
        """Take the record."""
        self.relaxation = relaxation
        self._positions: PositionSensitivity | None = None
        self._observables: dict[str, ObservableSensitivity] = {}

    @property
    def verdict(self) -> Verdict:
        """What became of it."""
        return self.relaxation.verdict

    @property
    def energy(self) -> float:
        """Potential energy, units of energy."""
        return self.relaxation.energy

    @property
    def pressure(self) -> float:
        """Pressure, units of energy per volume; NaN where there is none."""
        return self.relaxation.pressure

    @property
    def configuration(self) -> Configuration:
        """The relaxed particles."""
        return self.relaxation.state.configuration

    @property
    def position(self) -> np.ndarray:
        """Their positions, shape (n, d), units of length."""
        return np.asarray(self.relaxation.state.position)

    @property
    def rattlers(self) -> np.ndarray:
        """Numbers of the particles that nothing holds in place."""
        return np.flatnonzero(~self.relaxation.network.backbone)

    @property
    def asked(self) -> tuple[str, ...]:
        """Names of the parameter entries of which dx/dp was asked for last."""
        return () if self._positions is None else self._positions.paths

    def sensitivity(self, parameters: str | Sequence[str] | None = None) -> Sensitivity:
        """Return dx/dp, and at constant pressure what the box adds to it.

        Args:
            parameters: Names of parameter entries, such as ``"soft_sphere.sigma[A]"``; a term's or field's name stands
                for all its entries. By default all of the potential's.

        Raises:
            UserError: When there is no such parameter; the message names the nearest.
            NumericalError: When the state is no minimum, or a derivative cannot be found as well as it should.

        Example:
            >>> import mdsens as md
            >>> law = md.potentials.SoftSphere({"A": 0.6, "B": 1.0})
            >>> found = md.relax(md.systems.bidisperse(n_particles=24, seed=1), law)
            >>> dx = found.sensitivity("soft_sphere.sigma[A]")
            >>> dx.values.shape, bool(dx.error < 1e-9)
            ((24, 2), True)
        """
        names = self._parameters(parameters)
        self._check()
        self._positions = position_sensitivity(self._response, select(self._response.state, names))
        return Sensitivity(self._positions, lambda k: drawn(self._stored(), k))

    def observables(self, names: str | Sequence[str], parameters: str | Sequence[str] | None = None) -> Table:
        """Return observables with their total derivatives.

        Args:
            names: Names of observables: "pressure", "bulk_modulus", "C44", "eigenvalue[0]", ...
            parameters: As for ``sensitivity``.

        Raises:
            UserError: When there is no such observable or parameter; the message names the nearest.
            NumericalError: As for ``sensitivity``.

        Example:
            >>> import mdsens as md
            >>> law = md.potentials.SoftSphere({"A": 0.6, "B": 1.0})
            >>> found = md.relax(md.systems.bidisperse(n_particles=24, seed=1), law)
            >>> table = found.observables(["pressure", "bulk_modulus"], "soft_sphere.sigma[A]")
            >>> table.names, bool(table["pressure"].values[0] > 0)
            (('pressure', 'bulk_modulus'), True)
        """
        wanted, chosen = [names] if isinstance(names, str) else list(names), self._parameters(parameters)
        check_names(wanted)
        self._check()
        selection, bench = select(self._response.state, chosen), Workbench.at(self._response)
        found = observable_sensitivities(self._response, {name: made(name, bench) for name in wanted}, selection)
        self._observables |= {record.name: record for record in found}
        return Table(found)

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Write the state, and all that has been asked of it, to HDF5.

        Args:
            path: The file.
            overwrite: Whether a file of that name may be replaced.

        Raises:
            UserError: When it cannot be written, or exists and must not be replaced.
        """
        provenance = collect("", "", 0, {"relaxation": self.relaxation.seconds})
        positions = self._positions if self._positions is not None else no_sensitivity(self.relaxation)
        observables = tuple(self._observables.values())
        run = Run(self.relaxation, positions, observables, provenance)
        write_run(Path(path), run, overwrite=overwrite)

    def plot(self) -> Any:
        """Draw the packing; return matplotlib's figure."""
        return drawn(self._stored(), None)

    def to_ase(self) -> Any:
        """Return ASE's ``Atoms``.

        Raises:
            UserError: When ASE is missing.
        """
        return to_atoms(self.configuration)

    def __repr__(self) -> str:
        """Return what became of it, its numbers and its rattlers."""
        relaxation = self.relaxation
        n, d = self.position.shape
        box = "" if relaxation.box is None else f"{len(relaxation.box.volumes)} boxes, "
        steps = f"{box}{len(relaxation.history.energy)} steps, {relaxation.seconds:.2g} s"
        numbers = f"energy {self.energy:.10g}, pressure {self.pressure:.6g}, largest force {relaxation.max_force:.1e}"
        why = f"\n{relaxation.reason}" if relaxation.reason else ""
        held = f"{len(self.rattlers)} rattlers, {relaxation.network.n_contacts} contacts"
        return f"{n} particles in {d} dimensions: {self.verdict.sentence} ({steps})\n{numbers}\n{held}{why}"

    def _repr_html_(self) -> str:
        return f"<pre>{self!r}</pre>"

    @functools.cached_property
    def _response(self) -> LinearResponse:
        return linear_response(self.relaxation)

    def _check(self) -> None:
        check(self.verdict, reason=self.relaxation.reason)

    def _parameters(self, given: str | Sequence[str] | None) -> list[str]:
        if given is None:
            return [name for name, _ in self.relaxation.state.potential.terms()]
        return [given] if isinstance(given, str) else list(given)

    def _stored(self) -> StoredRun:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "run.h5"
            self.save(path)
            return read_run(path)
