"""Wall times and memory of this process."""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

Result = TypeVar("Result")


def timed(work: Callable[[], Result]) -> tuple[float, Result]:
    """Do the work once; return its wall time in seconds and its result."""
    begun = time.perf_counter()
    result = work()
    return time.perf_counter() - begun, result


def median_seconds(work: Callable[[], object], repeats: int) -> float:
    """Return the median wall time of so many calls, seconds."""
    return statistics.median(timed(work)[0] for _ in range(repeats))


def peak_memory() -> float:
    """Return the largest resident memory of this process so far, GiB.

    Linux counts what the parent held when it started this process into ``ru_maxrss``, but not into ``VmHWM``.
    """
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        kilobytes = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return kilobytes / 2**20
