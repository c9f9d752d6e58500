"""What a part of the suite is, and the list of them."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from benchmarks.large.options import Config
from workflows.rows import Row

Spec = Mapping[str, Any]  # what to measure: text, numbers and lists, as JSON writes them
Result = Mapping[str, Any]  # a spec together with what was measured: numbers and texts


@dataclasses.dataclass(frozen=True)
class Part:
    """One part of the suite.

    Attributes:
        title: What it measures, in words.
        specs: Its measurements, from the configuration and LAMMPS's version (empty without it).
        measure: Does one of them, in a process of its own; returns numbers, lists of numbers and texts.
        rows: The rows of the table, from the configuration and what was measured.
        remarks: Lines below the table, from what was measured: comparisons without a target.
    """

    title: str
    specs: Callable[[Config, str], list[Spec]]
    measure: Callable[[Spec], dict[str, Any]]
    rows: Callable[[Config, Sequence[Result]], list[Row]] = lambda config, results: []
    remarks: Callable[[Sequence[Result]], list[str]] = lambda results: []


def by_size(results: Sequence[Result]) -> dict[int, list[Result]]:
    """Return the results of every size, small sizes first."""
    found = sorted({int(result["n_particles"]) for result in results})
    return {n: [result for result in results if result["n_particles"] == n] for n in found}


def median(results: Sequence[Result], name: str) -> float:
    """Return the median over results of one number."""
    return float(statistics.median(result[name] for result in results))


def largest(results: Sequence[Result], name: str) -> float:
    """Return the largest over results of one number."""
    return float(max(result[name] for result in results))
