"""The implicit module on packings: every mode against the reference, what wrapping a solver costs, and compiling."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.accuracy import Answer
from mdsens import implicit
from mdsens.energy import gradient_at
from mdsens.energy.strain import Unknowns
from mdsens.sensitivity import relaxed_condition
from workflows.rows import Row

REPEATS = 15


def two_by_two_rows(label: str, found: Sequence[Answer], done: Callable[[], None]) -> list[Row]:
    """Compare forward and adjoint, of invariant and other observables, with the dense reference: worst errors.

    The observables are <w, x>: w random with mean zero over the backbone (invariant under translations), and one-hot.
    Errors are relative to |w| |dx/dp|.
    """
    if not found:
        return []
    problem = found[0].problem
    condition, null_space = relaxed_condition(problem.potential, problem.configuration)
    errors = []
    for seed, answer in enumerate(found):
        errors.append(_errors(answer, condition, null_space, np.random.default_rng(seed)))
        done()
    worst = {name: max(error[name] for error in errors) for name in errors[0]}
    note = f"{len(found)} jammed packings, mdsens.implicit on the list of all pairs"
    return [Row(f"{label}: implicit, {name}", value, 1e-9, "at most", note) for name, value in worst.items()]


def _errors(answer: Answer, condition: Any, null_space: Any, generator: np.random.Generator) -> dict[str, float]:
    state, reference = answer.relaxation.state, answer.reference
    x, p = state.position, (state.parameters,)
    q = Unknowns.of(state)
    held = answer.response.network.backbone[:, None]
    tangent = jax.tree.map(lambda leaf: jnp.asarray(leaf[0]), answer.selection.tangents)
    options = {"linear_solver": implicit.DenseCholesky(), "null_space": null_space}
    dx = implicit.jvp(condition, q, p, (tangent,), **options)[0].position
    random = np.where(held, generator.standard_normal(x.shape), 0.0)
    invariant = np.where(held, random - random.sum(axis=0) / held.sum(), 0.0)
    one_hot = np.zeros(x.shape)
    one_hot[generator.integers(len(x)), 0] = 1.0
    errors = {}
    for name, w in (("invariant observable", invariant), ("one-hot observable", one_hot)):
        scale = np.linalg.norm(w) * np.linalg.norm(reference)
        expected = np.vdot(w, reference)
        (slope,), _ = implicit.vjp(condition, q, p, q._replace(position=jnp.asarray(w)), **options)
        adjoint = sum(np.vdot(a, b) for a, b in zip(jax.tree.leaves(slope), jax.tree.leaves(tangent), strict=True))
        errors[f"forward, {name}"] = float(abs(np.vdot(w, dx) - expected) / scale)
        errors[f"adjoint, {name}"] = float(abs(adjoint - expected) / scale)
    return errors


def cost_rows(answer: Answer) -> list[Row]:
    """Time what `root` adds to a solver, and one jvp against the bare dense computation."""
    state = answer.relaxation.state
    condition, null_space = relaxed_condition(answer.problem.potential, state.configuration)
    gradient = jax.jit(lambda x, p: gradient_at(state, x, p))

    def solver(start: Unknowns, p: Any) -> Unknowns:
        position = jax.lax.fori_loop(0, 2000, lambda _, x: x - 0.01 * gradient(x, p), start.position)
        return start._replace(position=position)

    wrapped = implicit.root(condition, linear_solver=implicit.DenseCholesky(), null_space=null_space)
    x, p = Unknowns.of(state), state.parameters
    bare, rooted = jax.jit(solver), jax.jit(wrapped(solver))
    overhead = _ratio(lambda: rooted(x, p), lambda: bare(x, p))
    tangent = jax.tree.map(lambda leaf: jnp.asarray(leaf[0]), answer.selection.tangents)
    known = wrapped(lambda x0, q: x0)
    derivative = jax.jit(lambda q, dq: jax.jvp(lambda r: known(x, r), (q,), (dq,))[1])
    n, size = len(state.position), state.position.size

    def dense(q: Any, dq: Any) -> jax.Array:
        force = lambda y, r: condition(x._replace(position=y), r).position  # noqa: E731
        matrix = jax.jacfwd(force)(x.position, q).reshape(size, size)
        slope = jax.jvp(lambda r: force(x.position, r), (q,), (dq,))[1]
        return jnp.linalg.solve(matrix + jnp.eye(size), -slope.ravel())

    plain = jax.jit(dense)
    cost = _ratio(lambda: derivative(p, tangent), lambda: plain(p, tangent))
    fresh = jax.jit(lambda q, dq: jax.jvp(lambda r: known(x, r), (q,), (dq,)))
    compiling = _seconds(lambda: fresh.lower(p, tangent).compile())
    return [
        Row("root's overhead in the primal, wrapped / bare", overhead, 1.02, "at most", "2000 gradient steps, jitted"),
        Row("implicit jvp / Hessian by jacfwd + bare dense solve", cost, 3.0, "at most", f"N = {n}, jitted, warm"),
        Row(
            "compile time of an implicit jvp, seconds",
            compiling,
            5.0,
            "at most",
            "taken from JAX's persistent cache where an earlier process compiled it",
        ),
    ]


def _ratio(first: Callable[[], Any], second: Callable[[], Any]) -> float:
    """Return the ratio of median times, measured in turns."""
    for work in (first, second):
        jax.block_until_ready(work())
    times = []
    for _ in range(REPEATS):
        times.append([_seconds(functools.partial(_finish, work)) for work in (first, second)])
    return float(np.divide(*np.median(times, axis=0)))


def _finish(work: Callable[[], Any]) -> None:
    jax.block_until_ready(work())


def _seconds(work: Callable[[], Any]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun
