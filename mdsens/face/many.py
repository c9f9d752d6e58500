"""Many systems in the words of one: `md.relax([...])` and what it returns."""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np

from mdsens.batch import BatchSettings, relax_batch, stack_systems
from mdsens.energy import PairPotential, Potential, State
from mdsens.energy.native_law import native_law
from mdsens.errors import UserError
from mdsens.face.relaxed import Relaxed
from mdsens.face.tables import Sensitivity, Table, as_html, as_text, frame
from mdsens.neighbors import SMALL
from mdsens.relaxation import RelaxationSettings
from mdsens.results import Verdict
from mdsens.types import Configuration, replaced

_WORTH = 8  # systems of one size, below which compiling the batch costs more than it saves
_HEAD = ("system", "verdict", "energy", "pressure", "rattlers")


class Many(Sequence[Relaxed]):
    """Relaxed states, in the order of their starts. What one answers, they answer together."""

    def __init__(self, members: Sequence[Relaxed]) -> None:
        """Take them."""
        self._members = tuple(members)

    @overload
    def __getitem__(self, k: int) -> Relaxed: ...

    @overload
    def __getitem__(self, k: slice) -> Many: ...

    def __getitem__(self, k: int | slice) -> Relaxed | Many:
        """Return one of them, or some."""
        return Many(self._members[k]) if isinstance(k, slice) else self._members[k]

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._members)

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        """What became of each."""
        return tuple(member.verdict for member in self._members)

    @property
    def converged(self) -> np.ndarray:
        """True for the minima, shape (b,)."""
        return np.array([verdict is Verdict.CONVERGED for verdict in self.verdicts])

    @property
    def energy(self) -> np.ndarray:
        """Potential energies, shape (b,), units of energy."""
        return np.array([member.energy for member in self._members])

    @property
    def pressure(self) -> np.ndarray:
        """Pressures, shape (b,), units of energy per volume; NaN where there is none."""
        return np.array([member.pressure for member in self._members])

    def sensitivity(self, parameters: str | Sequence[str] | None = None) -> tuple[Sensitivity | None, ...]:
        """Return dx/dp of each; None for one that is no minimum.

        Raises:
            UserError: When there is no such parameter; the message names the nearest.
            NumericalError: When a derivative cannot be found as well as it should.
        """
        return tuple(self._asked(lambda member: member.sensitivity(parameters)))

    def observables(self, names: str | Sequence[str], parameters: str | Sequence[str] | None = None) -> Tables:
        """Return the observables of each with their total derivatives.

        Raises:
            UserError: When there is no such observable or parameter; the message names the nearest.
            NumericalError: As for ``sensitivity``.
        """
        return Tables(tuple(self._asked(lambda member: member.observables(names, parameters))))

    def save(self, folder: str | Path, *, overwrite: bool = False) -> tuple[Path, ...]:
        """Write each to ``folder/K.h5``, numbered from 0, with all that has been asked of it; return the paths.

        Raises:
            UserError: When one cannot be written, or exists and must not be replaced.
        """
        place, width = Path(folder), len(str(max(len(self) - 1, 0)))
        place.mkdir(parents=True, exist_ok=True)
        paths = tuple(place / f"{k:0{width}}.h5" for k in range(len(self)))
        for path, member in zip(paths, self._members, strict=True):
            member.save(path, overwrite=overwrite)
        return paths

    def _asked(self, ask: Callable[[Relaxed], Any]) -> Iterator[Any]:
        for member in self._members:
            yield ask(member) if member.verdict is Verdict.CONVERGED else None

    def _rows(self) -> list[tuple[object, ...]]:
        return [
            (k, one.verdict.value, f"{one.energy:.10g}", f"{one.pressure:.6g}", len(one.rattlers))
            for k, one in enumerate(self._members)
        ]

    def __repr__(self) -> str:
        """Return how many ended how, and the first of them."""
        return f"{self._counts()}\n{as_text(_HEAD, self._rows())}"

    def _counts(self) -> str:
        counts = collections.Counter(verdict.value for verdict in self.verdicts)
        return f"{len(self)} systems: " + ", ".join(f"{count} {name}" for name, count in counts.items())

    def _repr_html_(self) -> str:
        return f"<p>{self._counts()}</p>{as_html(_HEAD, self._rows())}"


class Tables(Sequence[Table | None]):
    """Observables of many systems and their total derivatives; None for a system that is no minimum."""

    def __init__(self, tables: Sequence[Table | None]) -> None:
        """Take them."""
        self._tables = tuple(tables)

    @overload
    def __getitem__(self, k: int) -> Table | None: ...

    @overload
    def __getitem__(self, k: slice) -> Tables: ...

    def __getitem__(self, k: int | slice) -> Table | Tables | None:
        """Return the table of one system, or those of some."""
        return Tables(self._tables[k]) if isinstance(k, slice) else self._tables[k]

    def __len__(self) -> int:
        """Return the number of systems."""
        return len(self._tables)

    def values(self, name: str) -> np.ndarray:
        """Return an observable of all systems, shape (b,); NaN for those that are no minimum.

        Raises:
            UserError: When it is not in the tables.
        """
        return np.array([np.nan if table is None else table[name].value for table in self._tables])

    def derivatives(self, name: str) -> np.ndarray:
        """Return its derivatives in the k parameter entries, shape (b, k); NaN for systems that are no minimum.

        Raises:
            UserError: When it is not in the tables.
        """
        rows = [None if table is None else table[name].values for table in self._tables]
        k = next((len(row) for row in rows if row is not None), 0)
        return np.array([np.full(k, np.nan) if row is None else row for row in rows]).reshape(len(rows), k)

    def to_pandas(self) -> Any:
        """Return a DataFrame: a row per system, observable and parameter entry."""
        rows = [(k, *row) for k, table in enumerate(self._tables) if table is not None for row in table.rows()]
        return frame(("system", *Table.COLUMNS), rows)

    def __repr__(self) -> str:
        """Return mean and standard deviation of every observable over the systems."""
        known = [table for table in self._tables if table is not None]
        names = known[0].names if known else ()
        rows = [(name, f"{np.nanmean(self.values(name)):.8g}", f"{np.nanstd(self.values(name)):.3g}") for name in names]
        head = f"{len(known)} of {len(self)} systems answer\n"
        return head + as_text(("observable", "mean", "standard deviation"), rows)


def nearly_relaxed(
    laws: Sequence[Potential], starts: Sequence[Configuration], settings: RelaxationSettings | None
) -> list[Configuration]:
    """Return better starts: where XLA runs the minimiser, systems of one size run down together, which is faster.

    Args:
        laws: The law of each.
        starts: The particles.
        settings: How each is relaxed in the end; a minimiser that was asked for by name goes all the way itself.
    """
    better, groups = list(starts), collections.defaultdict(list)
    for k, (law, start) in enumerate(zip(laws, starts, strict=True)):
        small = start.n_particles <= SMALL and start.held is None
        if isinstance(law, PairPotential) and small and (settings is None or settings.minimizer is None):
            groups[law.name, start.position.shape, type(start.box), start.species_names].append(k)
    for members in groups.values():
        first = members[0]
        if len(members) < _WORTH or native_law(State.unlisted(starts[first], laws[first])) is not None:
            continue
        options = settings or RelaxationSettings()
        try:
            stack = stack_systems([laws[k] for k in members], [starts[k] for k in members])
            found = relax_batch(stack, BatchSettings(options.max_force, options.max_steps))
        except UserError:  # laws or boxes that a batch does not know
            continue
        for k, position, verdict in zip(members, found.position, found.verdicts, strict=True):
            if verdict is Verdict.CONVERGED:
                better[k] = replaced(starts[k], {"position": position})
    return better
