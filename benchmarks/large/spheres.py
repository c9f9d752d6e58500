"""One response in three dimensions beside Jacobi-preconditioned conjugate gradients on the assembled matrix."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp
import scipy.sparse.linalg as spla

from benchmarks.large.clock import median_seconds, peak_memory, timed
from benchmarks.large.options import Config
from benchmarks.large.parts import Part, Result, Spec, by_size, largest, median
from benchmarks.large.problems import packing
from mdsens.energy.paths import Selection, select
from mdsens.hessian import LinearSolver, factorise, hessian
from mdsens.hessian.derivatives import mixed
from mdsens.relaxation import relax
from mdsens.response import LinearResponse, linear_response
from mdsens.results import check
from mdsens.sensitivity import forward, position_sensitivity
from workflows.rows import Row

REPEATS = 3
_TOLERANCE = 1e-10  # of the peer's residual


def specs(config: Config, peer: str) -> list[Spec]:
    """Return one measurement per start."""
    options = config.spheres
    common = {
        "n_particles": options.n_particles,
        "packing_fraction": options.packing_fraction,
        "diameters": config.relaxation.diameters,
        "max_force": config.benchmark.max_force,
    }
    return [{"start": start, **common} for start in range(config.benchmark.n_starts)]


def measure(spec: Spec) -> dict[str, Any]:
    """Relax one start; time one derivative, bare, certified and without the relaxation's factor, and the peer's."""
    sizes = spec["n_particles"], 3, spec["packing_fraction"], tuple(spec["diameters"])
    problem = packing(*sizes, seed=spec["start"], max_force=spec["max_force"])
    relaxing, relaxation = timed(lambda: relax(problem.potential, problem.configuration, problem.settings))
    check(relaxation.verdict, reason=relaxation.reason)
    selection = select(relaxation.state, ["soft_sphere.sigma[A]"])
    response = linear_response(relaxation)
    state, held = response.state, response.network.backbone

    def forward_anew(solver: LinearSolver) -> np.ndarray:
        factor = factorise(state, held, solver=solver)
        return forward(dataclasses.replace(response, factor=factor), selection.tangents)

    anew: dict[str, float] = {}
    for solver in ("direct", "krylov"):
        forward_anew(solver)
        anew[solver] = median_seconds(functools.partial(forward_anew, solver), REPEATS)
    cold, answer = timed(lambda: forward(response, selection.tangents))
    warm, memory = median_seconds(lambda: forward(response, selection.tangents), REPEATS), peak_memory()
    certified = median_seconds(lambda: position_sensitivity(linear_response(relaxation), selection), REPEATS)
    theirs, (solution, iterations) = timed(lambda: _conjugate_gradients(response, selection))
    error = np.linalg.norm(solution - answer[0]) / np.linalg.norm(answer)
    return {
        "relax_cold": relaxing,
        "cold": cold,
        "warm": warm,
        "certified": certified,
        **{f"anew_{solver}": seconds for solver, seconds in anew.items()},
        "memory": memory,
        "peer": theirs,
        "peer_iterations": iterations,
        "peer_error": float(error),
    }


def _conjugate_gradients(response: LinearResponse, selection: Selection) -> tuple[np.ndarray, int]:
    """Return dx/dp by SciPy's CG on the assembled matrix, and how many iterations it took."""
    state, held = response.state, response.network.backbone
    matrix = sp.csr_array(hessian(state, held))
    diagonal, unknowns = matrix.diagonal(), np.repeat(held, state.configuration.dimension)
    jacobi = spla.LinearOperator(matrix.shape, matvec=lambda v: v / diagonal, dtype=float)
    count = 0

    def counted(_: np.ndarray) -> None:
        nonlocal count
        count += 1

    rhs = -np.asarray(mixed(state, selection.tangents)).ravel()[unknowns]
    found, _ = spla.cg(matrix, rhs, rtol=_TOLERANCE, M=jacobi, maxiter=10 * len(rhs), callback=counted)
    field = np.zeros(state.position.shape)
    moved = found.reshape(-1, state.configuration.dimension)
    field[held] = moved - moved.mean(axis=0)
    return field, count


def rows(config: Config, results: Sequence[Result]) -> list[Row]:
    """Return the row of three dimensions."""
    return [_row(n, group) for n, group in by_size(results).items()]


def _row(n: int, group: Sequence[Result]) -> Row:
    ours, theirs = median(group, "warm"), median(group, "peer")
    note = (
        f"{ours:.3g} s with the factor by which the relaxation was judged, residual 1e-14, against {theirs:.3g} s "
        f"({median(group, 'peer_iterations'):.0f} iterations, error {median(group, 'peer_error'):.0e}); with the "
        f"certificate {median(group, 'certified'):.3g} s; factored anew {median(group, 'anew_direct'):.3g} s; by our "
        f"own conjugate gradients {median(group, 'anew_krylov'):.3g} s; {largest(group, 'memory'):.2g} GiB"
    )
    return Row(f"3D, N = {n}, one forward: Jacobi-CG's time / ours", theirs / ours, 3, "at least", note)


PART = Part("three dimensions", specs, measure, rows)
