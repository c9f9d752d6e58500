"""``python -m benchmarks measure CONFIG.toml``: accuracy and speed beside peers in one run, printed and kept.

``benchmark.suite`` chooses: "accuracy" on the seed experiment beside jaxopt, "large" beside LAMMPS.
"""

from __future__ import annotations

import argparse
import importlib

SUITES = {"accuracy": "benchmarks.seed_experiment", "large": "benchmarks.large.run"}


def run(arguments: argparse.Namespace) -> int:
    """Run the suite that the configuration names."""
    return int(importlib.import_module(SUITES[_suite(arguments)]).run(arguments))


def _suite(arguments: argparse.Namespace) -> str:
    from mdsens.config import ConfigError, read_toml
    from mdsens.config.validation import choice_sentence

    section = read_toml(arguments.config)[1].get("benchmark", {})
    suite = section.get("suite", "accuracy") if isinstance(section, dict) else "accuracy"
    if not isinstance(suite, str) or suite not in SUITES:
        raise ConfigError(f"{arguments.config}: {choice_sentence('benchmark.suite', suite, list(SUITES))}")
    return str(suite)
