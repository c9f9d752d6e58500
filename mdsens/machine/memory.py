"""How much memory the machine has left."""

from __future__ import annotations

import re
from pathlib import Path


def free_memory() -> float:
    """Return the memory that is free on this machine or allowed to this process, bytes; infinite if nothing says."""
    available = re.findall(r"^MemAvailable:\s*(\d+) kB", _content("/proc/meminfo"), re.MULTILINE)
    allowed = re.findall(r"^\d+$", _content("/sys/fs/cgroup/memory.max"), re.MULTILINE)
    return min([*(1024.0 * int(size) for size in available), *map(float, allowed)], default=float("inf"))


def _content(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""
