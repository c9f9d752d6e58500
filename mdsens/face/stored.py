"""What a results file holds, as the objects that were saved."""

from __future__ import annotations

import functools
import importlib
import os
from pathlib import Path
from typing import Any

from mdsens.face.drawing import drawn
from mdsens.face.relaxed import Relaxed
from mdsens.face.starts import prepare
from mdsens.face.tables import Sensitivity, Table
from mdsens.io import read_run, restored_potential, restored_settings
from mdsens.io.stored import StoredRun
from mdsens.results import Verdict
from mdsens.types import Configuration
from mdsens.verification.stored import judged


class Stored:
    """A relaxed state and its derivatives, as a file has them.

    Attributes:
        record: The plain record of everything in the file.
    """

    def __init__(self, record: StoredRun) -> None:
        """Take what was read."""
        self.record = record

    @property
    def verdict(self) -> Verdict:
        """What became of the relaxation."""
        return self.record.verdict

    @property
    def energy(self) -> float:
        """Potential energy, units of energy."""
        return self.record.energy

    @property
    def configuration(self) -> Configuration:
        """The relaxed particles, bit for bit."""
        return self.record.configuration

    @property
    def sensitivity(self) -> Sensitivity:
        """dx/dp of every entry that was asked for."""
        return Sensitivity(self.record.positions, functools.partial(drawn, self.record))

    @property
    def observables(self) -> Table:
        """Every observable with its derivatives."""
        return Table(tuple(self.record.observables.values()))

    @functools.cached_property
    def relaxed(self) -> Relaxed:
        """The state itself, judged where it is: it answers more questions.

        Raises:
            UserError: When its law is none of the library's own, so that the file cannot say what it is.
        """
        return _restored(self.record)

    def plot(self) -> Any:
        """Draw the packing; return matplotlib's figure."""
        return drawn(self.record, None)

    def __repr__(self) -> str:
        """Return what the file holds in three lines."""
        n, d = self.record.position.shape
        asked = f"dx/dp in {len(self.record.positions.paths)} parameters, {len(self.record.observables)} observables"
        return f"{n} particles in {d} dimensions: {self.verdict.sentence}\nenergy {self.energy:.10g}; {asked}"


def load(path: str | os.PathLike[str]) -> Stored:
    """Return what ``found.save(path)``, or a workflow for one system, has written.

    Raises:
        UserError: When the file is missing, damaged or of another kind.

    Example:
        >>> import mdsens as md
        >>> law = md.potentials.SoftSphere({"A": 0.6, "B": 1.0})
        >>> found = md.relax(md.systems.bidisperse(n_particles=24, seed=1), law)
        >>> import pathlib, tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "run.h5"
        >>> found.save(path)
        >>> md.load(path).energy == found.energy
        True
    """
    prepare()
    return Stored(read_run(Path(path)))


def _restored(stored: StoredRun) -> Relaxed:
    law = restored_potential(stored, dict(importlib.import_module("potentials").LAWS))
    return Relaxed(judged(stored, law, restored_settings(stored.settings)))
