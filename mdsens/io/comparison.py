"""Two files number by number: what one holds beside what the other holds, and which numbers were not compared."""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from mdsens.io.hdf5 import memory_file, stored_file, write_header
from mdsens.io.run import KIND, Run, fill
from mdsens.io.tables import Groups, fill_tables

Leaves = Mapping[str, Any]

RELATIVE = 2e-8  # difference at which two numbers differ, relative to the number
ROUNDING = 1e-12  # the same, relative to the largest number of an array: what summation in another order may change
_SAFETY = 3.0  # times the number's own error
_SCALES = {"CLASS", "NAME", "REFERENCE_LIST", "DIMENSION_LIST", "_Netcdf4Dimid"}  # of dimension scales
_WRITER = r"(h5md|provenance)[/@].*"


@dataclasses.dataclass(frozen=True)
class Expectation:
    """What a file should hold.

    Attributes:
        leaves: Every array and attribute by its place, from ``run_leaves`` or ``tables_leaves``.
        unverified: Why some cannot be compared, by a regular expression for their places; the first that matches.
        copied: Why some are compared with what a study's members hold but are not computed again, like ``unverified``.
        errors: Own errors of numbers, by place: absolute, of a shape that broadcasts against theirs.
        either_sign: Places of arrays that are right up to their sign.
    """

    leaves: Leaves
    unverified: Mapping[str, str]
    copied: Mapping[str, str] = dataclasses.field(default_factory=dict)
    errors: Mapping[str, np.ndarray | float] = dataclasses.field(default_factory=dict)
    either_sign: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Comparison:
    """What was found.

    Attributes:
        n_compared: How many arrays and attributes agree or differ.
        differences: Place and words of every difference.
        unverified: Places that were not compared, or only with the members, by the reason.
    """

    n_compared: int
    differences: tuple[tuple[str, str], ...]
    unverified: Mapping[str, tuple[str, ...]]


def file_leaves(path: Path) -> dict[str, Any]:
    """Return every array and attribute of one of our files, by its place, such as ``relaxation@energy``.

    Datasets with several names (hard links) appear once.
    """
    with stored_file(Path(path)) as file:
        return _leaves(file)


def run_leaves(run: Run) -> dict[str, Any]:
    """Return what ``write_run`` would store."""
    with _filled(KIND, lambda file: fill(file, run)) as file:
        return _leaves(file)


def tables_leaves(kind: str, groups: Groups, attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return what ``write_tables`` would store, without provenance."""
    with _filled(kind, lambda file: fill_tables(file, groups, attributes)) as file:
        return _leaves(file)


@contextlib.contextmanager
def _filled(kind: str, fill_in: Callable[[Any], None]) -> Iterator[Any]:
    with memory_file() as file:
        write_header(file, kind)
        fill_in(file)
        yield file


def _leaves(file: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    _collect(file, "", found, set())
    return found


def _collect(node: Any, name: str, found: dict[str, Any], seen: set[int]) -> None:
    """Add a node and what is below it, every object once, under the first of its names; viewers' names come last."""
    address = h5py.h5o.get_info(node.id).addr
    if address in seen:
        return
    seen.add(address)
    found.update({f"{name}@{key}": _shareable(value, node) for key, value in node.attrs.items() if key not in _SCALES})
    if isinstance(node, h5py.Dataset):
        found[name] = np.asarray(node.asstr()[()] if h5py.check_string_dtype(node.dtype) else node[()])
        return
    for key in sorted(node, key=lambda key: (key == "AMBER", key)):
        _collect(node[key], f"{name}/{key}".lstrip("/"), found, seen)


def _shareable(value: Any, node: Any) -> Any:
    """Return an attribute's value; of a reference, which means something in its own file only, what it points to."""
    return h5py.h5r.get_name(value, node.id) or b"nothing" if isinstance(value, h5py.Reference) else value


def compare(stored: Leaves, expected: Expectation) -> Comparison:
    """Compare a file with what it should hold.

    Two numbers agree when they differ by less than 2e-8 of themselves, by less than 1e-12 of the largest in their
    array, or by less than three times their own error. Everything else must be the same.

    Args:
        stored: From ``file_leaves``.
        expected: What it should hold.
    """
    differences: list[tuple[str, str]] = []
    unverified: dict[str, list[str]] = {}
    n_compared = 0
    rules = {_WRITER: "says when, where and by what it was made", **expected.unverified}
    for place in sorted(stored.keys() | expected.leaves.keys()):
        reason, known = _reason(rules, place), _reason(expected.copied, place)
        if place in stored and (reason or known):
            unverified.setdefault(reason or known, []).append(place)
        if reason:
            continue
        n_compared += 1
        if place not in stored:
            differences.append((place, "is missing"))
        elif place not in expected.leaves:
            differences.append((place, "does not belong there"))
        else:
            words = _difference(stored[place], expected.leaves[place], expected.errors.get(place, 0.0))
            if words and place in expected.either_sign:
                words = _difference(-stored[place], expected.leaves[place], expected.errors.get(place, 0.0))
            if words:
                differences.append((place, words))
    return Comparison(n_compared, tuple(differences), {why: tuple(places) for why, places in unverified.items()})


def _reason(rules: Mapping[str, str], place: str) -> str:
    return next((why for pattern, why in rules.items() if re.fullmatch(pattern, place)), "")


def _difference(stored: Any, expected: Any, error: np.ndarray | float) -> str:
    """Return in words how two values differ; nothing where they agree."""
    a, b = (np.asarray(value) for value in (stored, expected))
    if a.shape != b.shape:
        return f"has shape {a.shape} and not {b.shape}"
    if a.size == 0:
        return ""
    if not (a.dtype.kind == b.dtype.kind == "f"):
        unlike = np.flatnonzero((a != b).ravel()).tolist()
        return f"is {_shown(a, unlike[0])} and not {_shown(b, unlike[0])}" if unlike else ""
    size = np.abs(np.where(np.isfinite(b), b, 0.0))
    allowed = np.maximum(RELATIVE * size, ROUNDING * size.max()) + _SAFETY * np.nan_to_num(np.abs(error))
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    with np.errstate(invalid="ignore"):  # infinite less infinite
        wrong = ~same & ~(np.abs(a - b) <= allowed)
    if not wrong.any():
        return ""
    with np.errstate(invalid="ignore", divide="ignore"):
        worst = int(np.argmax(np.where(wrong, np.nan_to_num(np.abs(a - b) / allowed, nan=np.inf), 0.0)))
    return f"is {_shown(a, worst)} and not {_shown(b, worst)}"


def _shown(array: np.ndarray, k: int) -> str:
    value, place = array.ravel()[k], np.unravel_index(k, array.shape)
    where = f" at [{','.join(map(str, place))}]" if array.shape else ""
    return (f"{value:.12g}" if array.dtype.kind == "f" else f"{str(value)[:60]!r}") + where
