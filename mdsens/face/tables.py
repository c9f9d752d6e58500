"""Derivatives as people look at them: printed, drawn, or handed to pandas."""

from __future__ import annotations

import html
import importlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from mdsens.errors import UserError
from mdsens.sensitivity import ObservableSensitivity, PositionSensitivity

_SHOWN = 12  # rows of a table on the screen
_AXES = "xyz"
Row = Sequence[object]


class Sensitivity:
    """dx/dp of a relaxed state.

    Attributes:
        record: The plain record, with its certificate.
        parameters: Names of the k parameter entries.
        values: dx/dp, shape (n, d) for one entry, (k, n, d) for several; units of length per unit of the parameter.
        error: Its estimated error in the 2-norm, a number or shape (k,).
    """

    def __init__(self, record: PositionSensitivity, draw: Callable[[int], Any]) -> None:
        """Take the record, and what draws one of its entries."""
        self.record, self._draw = record, draw
        self.parameters = record.paths
        single = len(record.paths) == 1
        self.values = record.values[0] if single else record.values
        self.error = float(record.certificate.error[0]) if single else record.certificate.error

    def plot(self, parameter: str | None = None) -> Any:
        """Draw the packing with the arrows of dx/dp; return matplotlib's figure.

        Args:
            parameter: The entry; the first one by default.

        Raises:
            UserError: When there is none of that name.
        """
        if parameter is not None and parameter not in self.parameters:
            raise UserError(f"there is no sensitivity in {parameter!r}; there is {', '.join(self.parameters[:8])}.")
        return self._draw(0 if parameter is None else self.parameters.index(parameter))

    def to_pandas(self) -> Any:
        """Return a DataFrame: a row per parameter entry and particle, a column per axis."""
        pandas = _pandas()
        k, n, d = self.record.values.shape
        index = pandas.MultiIndex.from_product([self.parameters, range(n)], names=["parameter", "particle"])
        return pandas.DataFrame(self.record.values.reshape(k * n, d), index, list(_AXES[:d]))

    def _rows(self) -> Iterator[Row]:
        sizes = np.linalg.norm(self.record.values.reshape(len(self.parameters), -1), axis=1)
        entries = zip(self.parameters, self.record.parameter_values, sizes, self.record.certificate.error, strict=True)
        for name, value, size, error in entries:
            yield name, f"{value:.6g}", f"{size:.6g}", f"{error:.1e}"

    def __repr__(self) -> str:
        """Return a table of the entries, the size of each derivative and its error."""
        n = self.record.values.shape[1]
        return f"dx/dp of {n} particles\n" + as_text(("parameter", "value", "|dx/dp|", "error"), list(self._rows()))

    def _repr_html_(self) -> str:
        return as_html(("parameter", "value", "|dx/dp|", "error"), list(self._rows()))


class Table:
    """Observables of a relaxed state and their total derivatives.

    Attributes:
        records: The plain records by name, each with its certificate.
    """

    COLUMNS = ("observable", "value", "parameter", "parameter_value", "derivative", "error")

    def __init__(self, records: Sequence[ObservableSensitivity]) -> None:
        """Take the records."""
        self.records = {record.name: record for record in records}

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the observables."""
        return tuple(self.records)

    def __getitem__(self, name: str) -> ObservableSensitivity:
        """Return the record of one observable.

        Raises:
            UserError: When it is not in the table.
        """
        if name not in self.records:
            raise UserError(f"{name!r} is not in the table; it holds {', '.join(self.records) or 'nothing'}.")
        return self.records[name]

    def __len__(self) -> int:
        """Return the number of observables."""
        return len(self.records)

    def to_pandas(self) -> Any:
        """Return a DataFrame: a row per observable and parameter entry."""
        return frame(self.COLUMNS, list(self.rows()))

    def rows(self) -> Iterator[Row]:
        """Yield what stands in every row: ``COLUMNS``."""
        for name, record in self.records.items():
            rows = zip(record.paths, record.parameter_values, record.values, record.certificate.error, strict=True)
            yield from ((name, record.value, *map(_plain, row)) for row in rows)

    def _rows(self) -> Iterator[Row]:
        for name, value, path, _, slope, error in self.rows():
            assert isinstance(slope, float)
            assert isinstance(error, float)
            known = f"{slope:.6g}" if abs(slope) > error else "0 within its error"
            yield name, f"{value:.8g}", path, known, f"{error:.1e}"

    def __repr__(self) -> str:
        """Return a table of values, derivatives and errors."""
        return as_text(("observable", "value", "parameter", "derivative", "error"), list(self._rows()))

    def _repr_html_(self) -> str:
        return as_html(("observable", "value", "parameter", "derivative", "error"), list(self._rows()))


def as_text(head: Row, rows: Sequence[Row]) -> str:
    """Return rows as aligned columns, the first dozen of them."""
    shown = [head, *rows[:_SHOWN]]
    widths = [max(len(str(row[k])) for row in shown) for k in range(len(head))]
    lines = ["  ".join(str(cell).ljust(width) for cell, width in zip(row, widths, strict=True)) for row in shown]
    more = [f"... and {len(rows) - _SHOWN} more"] if len(rows) > _SHOWN else []
    return "\n".join(line.rstrip() for line in [*lines, *more])


def as_html(head: Row, rows: Sequence[Row]) -> str:
    """Return rows as an HTML table, the first dozen of them."""

    def line(cells: Row, tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(str(cell))}</{tag}>" for cell in cells) + "</tr>"

    body = "".join(line(row, "td") for row in rows[:_SHOWN])
    more = f"<p>... and {len(rows) - _SHOWN} more</p>" if len(rows) > _SHOWN else ""
    return f"<table>{line(head, 'th')}{body}</table>{more}"


def frame(columns: Sequence[str], rows: Sequence[Row]) -> Any:
    """Return a DataFrame.

    Raises:
        UserError: When pandas is missing.
    """
    return _pandas().DataFrame([list(row) for row in rows], columns=list(columns))


def _plain(cell: object) -> object:
    return cell if isinstance(cell, str) else float(cell)  # type: ignore[arg-type]


def _pandas() -> Any:
    try:
        return importlib.import_module("pandas")
    except ImportError:
        raise UserError("to_pandas needs pandas, which is missing: pip install pandas.") from None
