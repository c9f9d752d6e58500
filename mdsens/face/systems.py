"""The kinds of systems by name: `md.systems.bidisperse(n_particles=128)` is a start that `md.relax` takes."""

from __future__ import annotations

import importlib
from typing import Any


def _kinds() -> dict[str, Any]:
    return dict(importlib.import_module("systems").REGISTRY)


def __getattr__(name: str) -> Any:
    """Return the options of a kind of system: called with some of them, what `md.relax` takes."""
    kinds = _kinds()
    if name not in kinds:
        raise AttributeError(f"there is no system {name!r}; there are {', '.join(kinds)}")
    return kinds[name].Options


def __dir__() -> list[str]:
    return sorted(_kinds())
