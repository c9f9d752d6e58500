"""What a results file holds, as the objects that were saved."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Any

from mdsens.face.starts import require_x64
from mdsens.face.tables import Sensitivity, Table
from mdsens.io.stored import StoredRun
from mdsens.results import Verdict
from mdsens.types import Configuration


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
    """
    require_x64()
    from mdsens.io import read_run

    return Stored(read_run(Path(path)))


def drawn(run: StoredRun, k: int | None) -> Any:
    """Draw a packing, with the arrows of its k-th parameter if there is one."""
    from mdsens.plotting.files import arrows_of, packing_of
    from mdsens.plotting.packing import draw_packing
    from mdsens.plotting.slab import draw_slab

    packing = packing_of(run)
    draw = draw_packing if packing.dimension == 2 else draw_slab
    return draw(packing) if k is None else draw(packing, arrows_of(run, k))
