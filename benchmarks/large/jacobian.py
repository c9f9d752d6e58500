"""The Jacobian to every particle's diameter beside matrix-free conjugate gradients, column by column."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse.linalg as spla

from benchmarks.large.clock import median_seconds, peak_memory, timed
from benchmarks.large.options import Config
from benchmarks.large.parts import Part, Result, Spec
from benchmarks.large.problems import directions, packing, with_own_diameters
from benchmarks.large.stages import bare
from mdsens.energy import gradient_at
from mdsens.energy.paths import select
from mdsens.hessian import hessian
from mdsens.hessian.derivatives import mixed
from mdsens.relaxation import relax
from mdsens.response import LinearResponse, linear_response
from mdsens.results import check
from mdsens.sensitivity import PositionSensitivity, position_sensitivity
from workflows.rows import Row

REPEATS = 5
_TOLERANCES = (1e-8, 1e-9, 1e-10, 1e-11, 1e-12)
_ERROR = 1e-9  # that the peer must reach, too


def specs(config: Config, peer: str) -> list[Spec]:
    """Return the one measurement."""
    options = config.relaxation
    return [
        {
            "n_particles": config.jacobian.n_particles,
            "n_columns": min(config.jacobian.n_columns, config.jacobian.n_particles),
            "diameters": options.diameters,
            "packing_fraction": options.packing_fraction,
            "max_force": config.benchmark.max_force,
        }
    ]


def measure(spec: Spec) -> dict[str, Any]:
    """Time the whole Jacobian with its certificate, and some of the peer's columns."""
    sizes = spec["n_particles"], 2, spec["packing_fraction"], tuple(spec["diameters"])
    problem = packing(*sizes, seed=0, max_force=spec["max_force"])
    relaxation = relax(problem.potential, problem.configuration, problem.settings)
    check(relaxation.verdict, reason=relaxation.reason)
    relaxation = bare(with_own_diameters(relaxation))

    selection = select(relaxation.state, ["soft_sphere.sigma"])

    def ours() -> PositionSensitivity:
        return position_sensitivity(linear_response(relaxation), selection)

    cold, sensitivity = timed(ours)
    warm, memory = median_seconds(ours, REPEATS), peak_memory()
    response = linear_response(relaxation)
    everyone = np.arange(spec["n_particles"])
    chosen = np.random.default_rng(0).choice(everyone, spec["n_columns"], replace=False)
    return {"cold": cold, "warm": warm, "memory": memory, **_best(_columns(response, sensitivity.values, chosen))}


@dataclasses.dataclass(frozen=True)
class _Columns:
    """Some columns of the Jacobian as linear systems on the backbone's unknowns.

    Attributes:
        operator: The Hessian by compiled Hessian-vector products.
        diagonal: Its diagonal, shape (m,).
        rhs: Right-hand sides, shape (k, m).
        exact: Solutions of minimum norm, shape (k, m).
        dimension: Spatial dimension.
    """

    operator: spla.LinearOperator
    diagonal: np.ndarray
    rhs: np.ndarray
    exact: np.ndarray
    dimension: int

    def solve(self, way: str, tolerance: float) -> tuple[float, float]:
        """Return the median seconds and the median relative error of a column."""
        jacobi = spla.LinearOperator(self.operator.shape, matvec=lambda v: v / self.diagonal, dtype=float)
        preconditioner = jacobi if way == "Jacobi" else None
        seconds, errors = [], []
        for rhs, exact in zip(self.rhs, self.exact, strict=True):
            begun = time.perf_counter()
            found, _ = spla.cg(self.operator, rhs, rtol=tolerance, M=preconditioner, maxiter=20 * len(rhs))
            seconds.append(time.perf_counter() - begun)
            field = found.reshape(-1, self.dimension)
            errors.append(np.linalg.norm((field - field.mean(axis=0)).ravel() - exact) / np.linalg.norm(exact))
        return float(np.median(seconds)), float(np.median(errors))


def _columns(response: LinearResponse, reference: np.ndarray, chosen: np.ndarray) -> _Columns:
    state, held = response.state, response.network.backbone
    chosen = chosen[held[chosen]]  # a rattler's diameter moves nothing
    unknowns = np.flatnonzero(np.repeat(held, state.configuration.dimension))

    @jax.jit
    def image(vector: jax.Array) -> jax.Array:
        field = jnp.zeros(state.position.size).at[unknowns].set(vector).reshape(state.position.shape)
        product = jax.jvp(lambda x: gradient_at(state, x, state.parameters), (state.position,), (field,))[1]
        return product.ravel()[unknowns]

    weights = np.zeros((len(chosen), state.configuration.n_particles))
    weights[np.arange(len(chosen)), chosen] = 1.0
    slopes = np.asarray(mixed(state, directions(state, weights).tangents)).reshape(len(chosen), -1)
    operator = spla.LinearOperator(
        (len(unknowns), len(unknowns)), matvec=lambda v: np.asarray(image(jnp.asarray(v))), dtype=float
    )
    operator.matvec(np.zeros(len(unknowns)))  # compiled before the clock starts
    diagonal = hessian(state, held).diagonal()
    exact = reference[chosen].reshape(len(chosen), -1)[:, unknowns]
    return _Columns(operator, diagonal, -slopes[:, unknowns], exact, state.configuration.dimension)


def _best(columns: _Columns) -> dict[str, Any]:
    """Solve the columns plainly and Jacobi-preconditioned, as loosely as the error allows; return the faster way."""
    found = []
    for way in ("plain", "Jacobi"):
        for tolerance in _TOLERANCES:
            seconds, error = columns.solve(way, tolerance)
            if error <= _ERROR or tolerance == _TOLERANCES[-1]:
                found.append((seconds, error, way, tolerance))
                break
    seconds, error, way, tolerance = min(found)
    return {"column": seconds, "column_error": error, "column_way": way, "column_tolerance": tolerance}


def rows(config: Config, results: Sequence[Result]) -> list[Row]:
    """Return the row of the Jacobian."""
    return [_row(result) for result in results]


def _row(result: Result) -> Row:
    n, theirs = int(result["n_particles"]), float(result["column"]) * float(result["n_particles"])
    note = (
        f"{1e3 * result['warm']:.3g} ms with certificate (first call {result['cold']:.3g} s) against {theirs:.3g} s: "
        f"{int(result['n_columns'])} columns measured, {1e3 * result['column']:.3g} ms each to an error of "
        f"{result['column_error']:.0e} ({result['column_way']} CG, Hessian-vector products), extrapolated"
    )
    ratio = theirs / float(result["warm"])
    return Row(f"Jacobian to all diameters, N = {n}: CG per column / ours", ratio, 100, "at least", note)


PART = Part("Jacobian to all diameters", specs, measure, rows)
