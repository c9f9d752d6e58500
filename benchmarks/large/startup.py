"""What a command spends before its first useful step: ``python -m benchmarks.large.startup`` prints JSON."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import Any

from benchmarks.large.options import Config
from benchmarks.large.parts import Part, Result, Spec
from benchmarks.processes import ROOT, environment

REPEATS = 3
STAGES = {"jax": "JAX", "workflow": "our modules", "problem": "the problem", "relaxed": "jax-md and the relaxation"}


def specs(config: Config, peer: str) -> list[Spec]:
    """Return the one measurement."""
    return [{"n_particles": 128}]


def measure(spec: Spec) -> dict[str, Any]:
    """Start the shipped ``mdsens sensitivity`` with an empty compilation cache, and with the one it leaves."""
    words = [sys.executable, "-m", "benchmarks.large.startup"]
    with tempfile.TemporaryDirectory() as cache:
        own = environment(JAX_COMPILATION_CACHE_DIR=cache)
        runs = []
        for _ in range(1 + REPEATS):
            begun = time.time()  # a clock that both processes read
            done = subprocess.run(words, capture_output=True, text=True, env=own, check=True)
            marks = json.loads(done.stdout.splitlines()[-1])
            runs.append({name: mark - begun for name, mark in marks.items()})
    later = {f"later_{name}": statistics.median(run[name] for run in runs[1:]) for name in STAGES}
    return {f"first_{name}": runs[0][name] for name in STAGES} | later


def main() -> None:
    """Go the way of the command up to its relaxed state and print when each stage was reached."""
    marks = {}
    from workflows.cli import prepare_jax

    prepare_jax()
    marks["jax"] = time.time()
    from mdsens.config import load
    from mdsens.relaxation import relax
    from workflows.problem import build_problem
    from workflows.sensitivity import Config as Sensitivity

    marks["workflow"] = time.time()
    shipped = ROOT / "workflows" / "sensitivity.toml"
    problem = build_problem(load(shipped, schema=Sensitivity).config)
    marks["problem"] = time.time()
    relax(problem.potential, problem.configuration, problem.settings)
    marks["relaxed"] = time.time()
    print(json.dumps(marks))


def remarks(results: Sequence[Result]) -> list[str]:
    """Return the seconds after which each stage was reached."""
    return [
        f"From the start of a process to a relaxed state ({int(result['n_particles'])} discs), seconds, with an empty "
        "compilation cache / with a filled one: "
        + ", ".join(
            f"{words} {float(result[f'first_{name}']):.2f} / {float(result[f'later_{name}']):.2f}"
            for name, words in STAGES.items()
        )
        for result in results
    ]


PART = Part("startup", specs, measure, remarks=remarks)

if __name__ == "__main__":
    main()
