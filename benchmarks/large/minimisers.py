"""Every minimiser from three kinds of starts: random, close to a minimum, and a sheared lattice."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.large.clock import timed
from benchmarks.large.options import Config
from benchmarks.large.parts import Part, Result, Spec
from benchmarks.large.problems import Lattice, lattice, packing
from mdsens.relaxation import MINIMIZERS, Relaxation, RelaxationSettings, relax
from mdsens.types import replaced
from workflows.problem import Problem

STARTS = {"random": "a random start", "perturbed": "close to a minimum", "sheared": "a sheared lattice"}
_NUDGE = 0.01  # largest displacement from the minimum along each axis, diameters of A
_SHEAR = 0.05


def specs(config: Config, peer: str) -> list[Spec]:
    """Return one measurement per minimiser and start."""
    common = {
        "n_particles": config.minimisers.n_particles,
        "packing_fraction": config.relaxation.packing_fraction,
        "diameters": config.relaxation.diameters,
        "lattice_fraction": config.growth.packing_fraction,
        "spread": config.growth.spread,
        "max_force": config.benchmark.max_force,
    }
    return [{"minimiser": name, "begin": begin, **common} for name in MINIMIZERS for begin in STARTS]


def measure(spec: Spec) -> dict[str, Any]:
    """Relax the start twice; the second time counts."""
    problem = _problem(spec)
    settings = RelaxationSettings(problem.settings.max_force, minimizer=MINIMIZERS[spec["minimiser"]])

    def work() -> Relaxation:
        return relax(problem.potential, problem.configuration, settings)

    work()
    warm, relaxation = timed(work)
    return {
        "warm": warm,
        "steps": len(relaxation.history.energy),
        "newton_steps": int(relaxation.history.newton.sum()),
        "verdict": relaxation.verdict.value,
        "energy": relaxation.energy,
    }


def _problem(spec: Spec) -> Problem:
    if spec["begin"] == "sheared":
        options = Lattice(spec["n_particles"], spec["lattice_fraction"], spec["spread"], 0.0, seed=0, shear=_SHEAR)
        return lattice(options, max_force=spec["max_force"])
    sizes = spec["n_particles"], 2, spec["packing_fraction"], tuple(spec["diameters"])
    problem = packing(*sizes, seed=0, max_force=spec["max_force"])
    if spec["begin"] == "random":
        return problem
    relaxed = relax(problem.potential, problem.configuration, problem.settings).state
    nudge = np.random.default_rng(0).uniform(-_NUDGE, _NUDGE, relaxed.position.shape) * spec["diameters"][0]
    return dataclasses.replace(
        problem, configuration=replaced(relaxed.configuration, {"position": relaxed.position + nudge})
    )


def remarks(results: Sequence[Result]) -> list[str]:
    """Return a line for every kind of start."""
    found = []
    for begin, words in STARTS.items():
        group = [result for result in results if result["begin"] == begin]
        if group:
            found.append(f"From {words}, N = {int(group[0]['n_particles'])}: " + ", ".join(map(_words, group)))
    return found


def _words(result: Result) -> str:
    steps = f"{int(result['steps'])} steps"
    verdict = "" if result["verdict"] == "converged" else f", {result['verdict']}"
    return f"{result['minimiser']} {float(result['warm']):.3g} s ({steps}{verdict})"


PART = Part("minimisers from three starts", specs, measure, remarks=remarks)
