"""The lines of an extended XYZ file, checked before ASE reads them: what is wrong is said, and where."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

_ELEMENTS = 118
_DEFAULT = "species:S:1:pos:R:3"


def last_frame(lines: Sequence[str]) -> list[str]:
    """Return the lines of a file's last frame.

    Args:
        lines: The file: per frame the number of particles n, a comment with ``Properties``, n lines of columns.

    Returns:
        Its n + 2 lines.

    Raises:
        ValueError: When a frame is incomplete, or the last one's columns are not what its comment announces.
    """
    begin, end = 0, _end_of_frame(lines, 0)
    while end < len(lines):
        begin, end = end, _end_of_frame(lines, end)
    _check_columns(lines[begin:end], begin)
    return list(lines[begin:end])


def _end_of_frame(lines: Sequence[str], begin: int) -> int:
    if not re.fullmatch(r"\s*0*[1-9][0-9]{0,11}\s*", lines[begin]):
        raise ValueError(f"line {begin + 1} is {lines[begin][:60]!r}; it must be the number of particles, at least 1.")
    n = int(lines[begin])
    if begin + 2 + n > len(lines):
        raise ValueError(
            f"line {begin + 1} announces {n} particles, but only {max(len(lines) - begin - 2, 0)} of their lines "
            "follow."
        )
    return begin + 2 + n


def _check_columns(frame: Sequence[str], begin: int) -> None:
    found = re.search(r'Properties="?([^\s"]*)', frame[1])
    columns = _columns(found[1] if found else _DEFAULT)
    if columns.count(("pos", "R")) != 3:
        raise ValueError(f"line {begin + 2} announces no positions; Properties must have pos:R:3.")
    numbered = any(name == "Z" for name, _ in columns)
    checks = [_check_of(name, kind, numbered) for name, kind in columns]
    for number, line in enumerate(frame[2:], start=begin + 3):
        words = line.split()
        if len(words) != len(columns):
            raise ValueError(f"line {number} has {len(words)} columns; its frame announces {len(columns)}.")
        for word, (name, _), (check, allowed) in zip(words, columns, checks, strict=True):
            if not check(word):
                raise ValueError(f"line {number} has {word[:60]!r} as {name}; it must be {allowed}.")


def _columns(properties: str) -> list[tuple[str, str]]:
    """Return name and type of every column."""
    parts = properties.split(":")
    triples = list(zip(parts[::3], parts[1::3], parts[2::3], strict=False))
    if 3 * len(triples) != len(parts) or any(not re.fullmatch(r"[1-9][0-9]?", count) for _, _, count in triples):
        raise ValueError(
            f"Properties={properties[:60]} is not a list of columns; it must be name:type:count, as in {_DEFAULT}."
        )
    return [(name, kind) for name, kind, count in triples for _ in range(int(count))]


def _check_of(name: str, kind: str, numbered: bool) -> tuple[Callable[[str], bool], str]:
    if name == "Z":
        return _is_atomic_number, f"an atomic number, 0 to {_ELEMENTS}"
    if name == "species" and not numbered:
        return _is_element, "a chemical element, or a column Z:I:1 must number the species"
    return _KINDS.get(kind, (bool, "text"))


def _is_element(word: str) -> bool:
    from ase.data import atomic_numbers

    return word.capitalize() in atomic_numbers


def _is_atomic_number(word: str) -> bool:
    return re.fullmatch("[0-9]{1,3}", word) is not None and int(word) <= _ELEMENTS


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _is_integer(word: str) -> bool:
    return re.fullmatch(r"[+-]?[0-9]{1,18}", word) is not None


_KINDS: Mapping[str, tuple[Callable[[str], bool], str]] = {
    "R": (_is_number, "a number"),
    "I": (_is_integer, "an integer"),
}
