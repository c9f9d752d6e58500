"""Lattices from a thousand to a million particles: how the cost of a response grows, and how much memory it takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.large.clock import peak_memory, timed
from benchmarks.large.options import Config
from benchmarks.large.parts import Part, Result, Spec, by_size, median
from benchmarks.large.problems import Lattice, lattice, random_half
from benchmarks.large.stages import response_stages
from mdsens.relaxation import relax
from mdsens.results import check
from workflows.rows import Row

MILLION = 1_000_000
_MEMORY = 24.0  # GiB that a million particles may take
_FEW = 200_000  # particles: above, stages are timed once


def specs(config: Config, peer: str) -> list[Spec]:
    """Return one measurement per size."""
    options = config.growth
    common = {
        "packing_fraction": options.packing_fraction,
        "spread": options.spread,
        "perturbation": options.perturbation,
        "max_force": config.benchmark.max_force,
    }
    return [{"n_particles": n, **common} for n in options.n_particles]


def measure(spec: Spec) -> dict[str, Any]:
    """Relax one lattice and time its response to the diameter of a random half."""
    n = spec["n_particles"]
    options = Lattice(n, spec["packing_fraction"], spec["spread"], spec["perturbation"], seed=0)
    problem = lattice(options, max_force=spec["max_force"])
    seconds, relaxation = timed(lambda: relax(problem.potential, problem.configuration, problem.settings))
    check(relaxation.verdict, reason=relaxation.reason)
    memory = peak_memory()
    stages = response_stages(relaxation, random_half(relaxation.state), 1 if n > _FEW else 5)
    return {
        "n_discs": problem.configuration.n_particles,
        "relax_cold": seconds,
        "relax_memory": memory,
        "steps": len(relaxation.history.energy),
        "memory": peak_memory(),
        **{f"response_{stage}": value for stage, value in stages.items()},
    }


def rows(config: Config, results: Sequence[Result]) -> list[Row]:
    """Return the exponent, and the memory of a million particles."""
    fitted = [result for result in results if result["n_particles"] >= config.growth.fit_from]
    found = []
    if len(fitted) > 1:
        largest_n = max(int(result["n_discs"]) for result in fitted)
        costs = ", ".join(f"{1e3 * median(group, 'response_response'):.3g}" for group in by_size(fitted).values())
        note = f"N = {min(int(r['n_discs']) for r in fitted)} to {largest_n}: {costs} ms; hexagonal lattices"
        found.append(Row("growth of the response's cost: exponent of N", exponent(fitted), 1.3, "at most", note))
    for result in results:
        if result["n_particles"] >= MILLION:
            note = (
                f"N = {int(result['n_discs'])}: relaxation {result['relax_cold']:.3g} s (first call), one forward and "
                f"one adjoint {result['response_response']:.3g} s, certificate {result['response_certificate']:.3g} s"
            )
            found.append(
                Row("a million particles: peak memory, GiB", float(result["memory"]), _MEMORY, "at most", note)
            )
    return found


def exponent(results: Sequence[Result]) -> float:
    """Return the slope of log cost over log N, by least squares."""
    n = np.array([float(result["n_discs"]) for result in results])
    cost = np.array([float(result["response_response"]) for result in results])
    return float(np.polyfit(np.log(n), np.log(cost), 1)[0])


PART = Part("growth on lattices", specs, measure, rows)
