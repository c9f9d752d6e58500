"""The ready-made configurations: each loads, builds its system, names known parameters, and explains every key."""

import importlib
import re
import tomllib
from pathlib import Path

import pytest

import workflows
from mdsens.config import load
from mdsens.energy import State
from mdsens.energy.paths import select
from mdsens.observables import check_names
from workflows.cli import COMMANDS
from workflows.problem import build_problem

FILES = [
    *sorted(Path(workflows.__file__).parent.glob("*.toml")),
    *sorted((Path(__file__).parents[2] / "benchmarks").glob("*.toml")),
]
MODULES = {
    "accuracy": "benchmarks.seed_experiment",
    "large": "benchmarks.large.run",
    "paper": "workflows.paper.run",
}
WITH_PROBLEM = [path for path in FILES if path.stem != "large"]  # that one names sizes, not a system


def command(path):
    """Return the command that a file is for: its name, or the beginning of it."""
    return path.stem.split("_")[0]


def schema(path):
    return importlib.import_module(MODULES.get(path.stem, f"workflows.{command(path)}")).Config


def test_every_command_that_reads_a_configuration_has_one():
    wanted = {name for name, entry in COMMANDS.items() if entry.overridable and name != "verify"}
    assert {command(path) for path in FILES if path.parent.name == "workflows"} == wanted


@pytest.mark.parametrize("path", WITH_PROBLEM, ids=lambda path: path.stem)
def test_a_shipped_file_builds_its_problem(path):
    config = load(path, schema=schema(path), overrides=[]).config
    problem = build_problem(config)
    state = State.unlisted(problem.configuration, problem.potential)
    assert config.output.name == ("benchmark" if path.stem == "accuracy" else path.stem)
    if path.stem == "sensitivity":
        select(state, config.sensitivity.parameters)
        check_names(config.sensitivity.observables)
    elif path.stem == "observables":
        assert len(select(state, config.observables.parameters).paths) > len(config.observables.names)
        check_names(config.observables.names)
    elif path.stem == "spectrum":
        select(state, config.spectrum.parameters)
    elif path.stem == "thermal":
        assert len(select(state, config.thermal.parameters).paths) == 2
    elif command(path) == "fit":
        assert len(select(state, config.fit.parameters).paths) == 6
    elif path.stem not in ("relax", "compress"):
        select(state, [getattr(config, "benchmark" if path.stem == "accuracy" else path.stem).parameter])


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_key_of_a_shipped_file_has_a_comment(path):
    text = path.read_text()
    lines = [line for line in text.splitlines() if re.match(r"\w+ *=", line)]
    n_keys = sum(len(section) for section in tomllib.loads(text).values())
    assert len(lines) == n_keys
    assert [line for line in lines if not re.search(r" # \S", line)] == []
    run = "python -m benchmarks measure" if path.stem in ("accuracy", "large") else f"mdsens {command(path)}"
    assert f"{run} {path.parent.name}/{path.name}" in text  # how to run it


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_shipped_file_shows_every_section_of_its_schema(path):
    text = path.read_text()
    shown, fields = tomllib.loads(text).keys(), schema(path).model_fields
    assert shown <= fields.keys()
    for name in fields.keys() - shown:  # what may be left out is shown as a comment
        assert fields[name].default is None
        assert f"# [{name}]" in text


def test_the_shipped_ensemble_is_the_seed_experiment():
    path = next(path for path in FILES if path.stem == "ensemble")
    config = load(path, schema=schema(path), overrides=[]).config
    assert (config.ensemble.n_starts, config.ensemble.checkpoints) == (40, (300, 1000, 3000))
    assert (config.system.n_particles, config.system.diameters) == (128, (0.6, 1.0))
    assert (len(config.sweep.diameters), config.sweep.diameters[0], config.sweep.diameters[-1]) == (10, 0.4, 1.0)


def test_the_shipped_large_benchmark_is_what_its_schema_does_by_itself():
    path = next(path for path in FILES if path.stem == "large")
    config = load(path, schema=schema(path), overrides=[]).config
    assert config == schema(path)(benchmark={"suite": "large"})
