"""How fast: relaxations, sensitivities and the full Jacobian beside jaxopt, warm, in the same run."""

from __future__ import annotations

import dataclasses
import time
import tracemalloc
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.accuracy import Answer
from benchmarks.large.problems import packed
from benchmarks.peers import JaxoptPeer, unrolled_memory
from mdsens.energy.parameters import PerParticle
from mdsens.energy.paths import select
from mdsens.observables import energy
from mdsens.relaxation import Relaxation, relax
from mdsens.response import linear_response
from mdsens.sensitivity import gradient, position_sensitivity
from mdsens.sweep import default_workers
from mdsens.types import replaced
from workflows.problem import Problem
from workflows.rows import Row

REPEATS = 5


def first_call(problem: Problem, path: str) -> float:
    """Return the seconds of the very first relaxation and sensitivity, compilation (or JAX's cache of it) included."""
    return _seconds(lambda: _relax_and_differentiate(problem, path))


def everything_rows(problems: Sequence[Problem], path: str, theta: float, *, cold_ours: float) -> list[Row]:
    """Time all relaxations and sensitivities of both, and the sensitivity step alone."""
    peer = JaxoptPeer(problems[0].configuration, problems[0].settings.max_force)
    value = jnp.asarray(theta)

    def ours(problem: Problem) -> Relaxation:
        return _relax_and_differentiate(problem, path)

    def theirs(problem: Problem) -> jax.Array:
        position = peer.relax(problem.configuration.position, value)
        return jax.block_until_ready(peer.tangent(position, value))

    cold_theirs = _seconds(lambda: theirs(problems[0]))
    for problem in problems:  # every shape that occurs is compiled before the clock starts
        ours(problem)
    rounds = []
    with ThreadPoolExecutor(default_workers()) as pool:
        for _ in range(REPEATS):  # in turns, so that a busy machine slows both
            theirs_now = _seconds(lambda: [theirs(problem) for problem in problems])
            rounds.append((_seconds(lambda: list(pool.map(ours, problems))), theirs_now))
    warm_ours, warm_theirs = np.median(rounds, axis=0)
    relaxed = [ours(problem) for problem in problems[:10]]

    def our_step(relaxation: Relaxation) -> float:
        selection = select(relaxation.state, [path])  # root_jvp is handed its tangent, too
        return _seconds(lambda: position_sensitivity(linear_response(relaxation), selection))

    def their_step(relaxation: Relaxation) -> float:
        position = relaxation.state.position
        return _seconds(lambda: jax.block_until_ready(peer.tangent(position, value)))

    step_ours = np.median([our_step(relaxation) for relaxation in relaxed for _ in range(REPEATS)])
    bare = [dataclasses.replace(relaxation, factor=None) for relaxation in relaxed]
    step_refactored = np.median([our_step(relaxation) for relaxation in bare for _ in range(REPEATS)])
    step_theirs = np.median([their_step(relaxation) for relaxation in relaxed for _ in range(2)])
    n = len(problems)
    return [
        Row(
            f"{n} relaxations + sensitivities, jaxopt's time / ours",
            float(warm_theirs / warm_ours),
            10,
            "at least",
            f"warm {warm_ours:.2f} s against {warm_theirs:.1f} s; "
            f"first call with compilation {cold_ours:.1f} s and {cold_theirs:.1f} s",
        ),
        Row(
            "sensitivity with certificate, our time / root_jvp's",
            float(step_ours / step_theirs),
            0.25,
            "at most",
            f"{1e3 * step_ours:.1f} ms against {1e3 * step_theirs:.1f} ms, medians; the relaxation brings the factor "
            f"of its verdict along, {1e3 * step_refactored:.1f} ms without it",
        ),
    ]


def _relax_and_differentiate(problem: Problem, path: str) -> Relaxation:
    relaxation = relax(problem.potential, problem.configuration, problem.settings)
    position_sensitivity(linear_response(relaxation), select(relaxation.state, [path]))
    return relaxation


def jacobian_row(answer: Answer) -> Row:
    """Time the Jacobian to all per-particle diameters of one packing."""
    relaxation, configuration = answer.relaxation, answer.problem.configuration
    diameters = packed(relaxation.state.potential).sigma.values[configuration.species]
    law = replaced(relaxation.state.potential, {"sigma": PerParticle(diameters)})
    state, loaded = (replaced(state, {"potential": law}) for state in (relaxation.state, relaxation.loaded))
    polydisperse = dataclasses.replace(relaxation, state=state, loaded=loaded)

    def ours() -> Any:
        return position_sensitivity(linear_response(polydisperse), select(polydisperse.state, ["soft_sphere.sigma"]))

    peer = JaxoptPeer(configuration, 1e-12)
    position = relaxation.state.position
    theirs = lambda: jax.block_until_ready(peer.jacobian(position, diameters))  # noqa: E731
    first, _ = ours(), theirs()
    seconds_ours = float(np.median([_seconds(ours) for _ in range(REPEATS)]))
    seconds_theirs = _seconds(theirs)
    column = first.values[: len(diameters) // 2].sum(axis=0)  # chain rule: theta moves all diameters of species A
    mismatch = np.linalg.norm(column - answer.reference) / np.linalg.norm(answer.reference)
    return Row(
        f"Jacobian to {len(diameters)} diameters, vmapped BiCGSTAB's time / ours",
        seconds_theirs / seconds_ours,
        20,
        "at least",
        f"{seconds_ours:.3f} s (certificate included) against {seconds_theirs:.1f} s; "
        f"columns of A sum to dx/dtheta to {mismatch:.0e}",
    )


def memory_row(problem: Problem) -> Row:
    """Compare the adjoint's memory after few and many relaxation steps; reverse mode through the minimiser beside."""
    peaks = []
    for force in (1e-6, 1e-13):
        settings = dataclasses.replace(problem.settings, max_force=force, newton=False)
        relaxation = relax(problem.potential, problem.configuration, settings)
        _adjoint(relaxation)
        tracemalloc.start()
        _adjoint(relaxation)
        peaks.append((len(relaxation.history.energy), tracemalloc.get_traced_memory()[1]))
        tracemalloc.stop()
    unrolled = [unrolled_memory(problem.configuration, steps) / 1e9 for steps in (300, 1000, 3000)]
    (few, small), (many, large) = peaks
    note = (
        f"{large / 1e6:.1f} MB after {few} and after {many} steps; reverse mode through 300/1000/3000 unrolled steps: "
        + "/".join(f"{size:.2f}" for size in unrolled)
        + " GB"
    )
    return Row("adjoint's memory, many steps / few steps", large / small, 1.05, "at most", note)


def _adjoint(relaxation: Relaxation) -> None:
    jax.block_until_ready(gradient(linear_response(relaxation, at_any_point=True), energy))


def _seconds(work: Callable[[], Any]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun
