"""Published parameters of pair laws by name, from ``parameter_sets.toml``: ``[potential] set = "argon"`` in TOML."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

_ABOUT = ("about", "source")


def _read() -> dict[str, dict[str, dict[str, Any]]]:
    text = files("potentials").joinpath("parameter_sets.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


_SETS = _read()
PUBLISHED: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    kind: {name: {key: value for key, value in given.items() if key not in _ABOUT} for name, given in sets.items()}
    for kind, sets in _SETS.items()
}
"""Keys of a law's section by law and set."""

SOURCES: Mapping[str, tuple[str, str]] = {
    name: (given["about"], given["source"]) for sets in _SETS.values() for name, given in sets.items()
}
"""What every set is, with its units, and where it was published."""
