"""``mdsens benchmark CONFIG.toml``: measure accuracy and speed beside peers in one run, print and keep the table.

``benchmark.suite`` chooses: "accuracy" on the seed experiment beside jaxopt, "large" beside LAMMPS.
"""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path

import numpy as np

from mdsens import io
from workflows.checks import Check

SUITES = {"accuracy": "workflows.benchmark.seed_experiment", "large": "workflows.benchmark.large.run"}


def run(arguments: argparse.Namespace) -> int:
    """Run the suite that the configuration names."""
    return int(importlib.import_module(SUITES[_suite(arguments)]).run(arguments))


def expected(stored: io.Tables, config: None, members: Path) -> tuple[io.Expectation, list[Check]]:
    """Return what the file should hold: its verdicts, made again from what was measured; the rest was measured."""
    groups = {name: dict(table) for name, table in stored.groups.items()}
    rows = groups["benchmark"]
    measured, target = (np.asarray(rows[name]) for name in ("measured", "target"))
    at_most = np.asarray(rows["sense"]) == "at most"
    rows["reached"] = np.where(at_most, measured <= target, measured >= target)
    leaves = io.tables_leaves("benchmark", groups, stored.attributes)
    return io.Expectation(leaves, {r"(?!benchmark/reached|@).*": "measured, once"}), []


def _suite(arguments: argparse.Namespace) -> str:
    from mdsens.config import ConfigError, read_toml
    from mdsens.config.validation import choice_sentence

    section = read_toml(arguments.config)[1].get("benchmark", {})
    suite = section.get("suite", "accuracy") if isinstance(section, dict) else "accuracy"
    if not isinstance(suite, str) or suite not in SUITES:
        raise ConfigError(f"{arguments.config}: {choice_sentence('benchmark.suite', suite, list(SUITES))}")
    return str(suite)
