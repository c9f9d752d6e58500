"""The sizes of LammpsImplicitDerivative: ten species, one derivative for each of their 55 pair diameters.

References:
    I. Maliyov, P. Grigorev, T. D. Swinburne, npj Comput. Mater. (2025): wall times of 55 parameters on two cores,
    with the dearer SNAP potential and on another machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.large.clock import median_seconds, peak_memory, timed
from benchmarks.large.options import Config
from benchmarks.large.parts import Part, Result, Spec, by_size, largest, median
from benchmarks.large.problems import many_species
from benchmarks.large.stages import bare
from mdsens.energy.paths import select
from mdsens.relaxation import Relaxation, relax
from mdsens.response import linear_response
from mdsens.results import Verdict
from mdsens.sensitivity import PositionSensitivity, position_sensitivity
from mdsens.verification import dense_reference
from workflows.rows import Row

PUBLISHED = {15: 1.2, 53: 9.1, 249: 131.0}  # seconds
REPEATS = 15
_MOST_SEEDS = 100


def specs(config: Config, peer: str) -> list[Spec]:
    """Return one measurement per size and start."""
    starts, force = range(config.benchmark.n_starts), config.benchmark.max_force
    return [
        {"n_particles": n, "start": start, "max_force": force}
        for n in config.pair_diameters.n_particles
        for start in starts
    ]


def measure(spec: Spec) -> dict[str, Any]:
    """Time all 55 derivatives of one jammed packing, nothing carried over; compare with the pseudo-inverse."""
    relaxation = bare(_jammed(spec))
    selection = select(relaxation.state, ["soft_sphere.sigma"])

    def ours() -> PositionSensitivity:
        return position_sensitivity(linear_response(relaxation), selection)

    cold, sensitivity = timed(ours)
    warm = median_seconds(ours, REPEATS)
    response = linear_response(relaxation)
    reference = dense_reference(response.state, response.network, selection.tangents)
    error = np.linalg.norm(sensitivity.values - reference) / np.linalg.norm(reference)
    return {
        "cold": cold,
        "warm": warm,
        "memory": peak_memory(),
        "error": float(error),
        "n_parameters": len(sensitivity.paths),
    }


def _jammed(spec: Spec) -> Relaxation:
    """Relax random starts until one is jammed."""
    for seed in range(_MOST_SEEDS * spec["start"], _MOST_SEEDS * (spec["start"] + 1)):
        problem = many_species(spec["n_particles"], seed=seed, max_force=spec["max_force"])
        relaxation = relax(problem.potential, problem.configuration, problem.settings)
        if relaxation.verdict is Verdict.CONVERGED:
            return relaxation
    raise RuntimeError(f"none of {_MOST_SEEDS} random starts is jammed")


def rows(config: Config, results: Sequence[Result]) -> list[Row]:
    """Return two rows per size: how much faster, and how right."""
    return [row for n, group in by_size(results).items() for row in _rows(n, group)]


def _rows(n: int, group: Sequence[Result]) -> list[Row]:
    warm, error = median(group, "warm"), largest(group, "error")
    note = (
        f"{1e3 * warm:.3g} ms with certificate, {int(group[0]['n_parameters'])} parameters (first call "
        f"{median(group, 'cold'):.2g} s), against {PUBLISHED[n]:g} s published, measured on another machine with a "
        f"dearer potential (SNAP); {len(group)} packings"
    )
    return [
        Row(f"55 pair diameters, N = {n}: published time / ours", PUBLISHED[n] / warm, 1000, "at least", note),
        Row(
            f"55 pair diameters, N = {n}: error, worst",
            error,
            1e-9,
            "at most",
            "against the pseudo-inverse; published errors: 6e-3 dense, 1e-6 sparse",
        ),
    ]


PART = Part("55 pair diameters", specs, measure, rows)
