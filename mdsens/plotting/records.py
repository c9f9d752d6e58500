"""Tables of a results file as the records that figures are drawn from."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from mdsens.errors import UserError

Record = TypeVar("Record")
_MADE: Mapping[Any, Callable[[Any], Any]] = {
    "int": int,
    "float": float,
    "tuple[str, ...]": lambda words: tuple(map(str, words)),
}  # by a field's annotation, a text; arrays stay as they are


def record_of(kind: type[Record], groups: Mapping[str, Mapping[str, Any]], name: str) -> Record:
    """Return a table as a record.

    Args:
        kind: The record, a dataclass.
        groups: The tables of the file by name.
        name: The table.

    Raises:
        UserError: When the table lacks an array.
    """
    table, fields = groups[name], dataclasses.fields(kind)  # type: ignore[arg-type]  # a dataclass
    missing = [field.name for field in fields if field.name not in table]
    if missing:
        raise UserError(f"the table {name!r} of the file lacks {', '.join(missing)}: make the file again.")
    return kind(**{field.name: _MADE.get(field.type, _kept)(table[field.name]) for field in fields})


def _kept(array: Any) -> Any:
    return array
