"""Elastic moduli of a packing beside jax-md's ``athermal_moduli``, and what their derivatives cost."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax_md import elasticity, space
from jax_md.energy import soft_sphere

from mdsens.energy import State
from mdsens.energy.parameters import at_pairs
from mdsens.observables import bulk_modulus, elastic_tensor
from mdsens.relaxation import relax
from mdsens.response import linear_response
from mdsens.results import check
from mdsens.sensitivity import gradient
from workflows.problem import Problem
from workflows.rows import Row

REPEATS = 7


def elasticity_rows(problem: Problem) -> list[Row]:
    """Relax a packing and time its moduli: ours with the response, jax-md's compiled, and one modulus' gradient."""
    relaxation = relax(problem.potential, problem.configuration, problem.settings)
    check(relaxation.verdict, reason=relaxation.reason)
    peer = _peer(relaxation.state)
    ours = lambda: elastic_tensor(linear_response(relaxation))  # noqa: E731
    found, expected = ours(), np.asarray(peer())
    response, modulus = linear_response(relaxation), bulk_modulus(found)
    slope = lambda: jax.block_until_ready(gradient(response, modulus))  # noqa: E731
    slope()
    mine, slopes = (_median(work, REPEATS) for work in (ours, slope))
    theirs = _median(lambda: jax.block_until_ready(peer()), 2)
    n = relaxation.state.configuration.n_particles
    difference = float(np.abs(found.curvature - expected).max() / np.abs(expected).max())
    note = (
        f"{1e3 * mine:.1f} ms with its response, {theirs:.2f} s over a half list of pairs, cg_tol 1e-12; medians, warm"
    )
    return [
        Row(f"elastic tensor, N = {n}: jax-md's time / ours", theirs / mine, 10, "at least", note),
        Row("elastic tensor against jax-md's", difference, 1e-6, "at most", "largest component, relative"),
        Row(
            "gradient of the bulk modulus in all parameters / tensor",
            slopes / mine,
            5,
            "at most",
            f"{1e3 * slopes:.1f} ms, adjoint",
        ),
    ]


def _peer(state: State) -> Callable[[], Any]:
    """Return jax-md's moduli of a harmonic packing, its energy summed over every listed pair once."""
    configuration, pairs = state.configuration, state.pairs
    mask = np.asarray(pairs.mask)
    i, j = (jnp.asarray(np.asarray(index)[mask]) for index in (pairs.i, pairs.j))
    expanded: Any = at_pairs(state.potential, configuration.species, i, j)
    box = np.asarray(configuration.box.matrix)  # type: ignore[attr-defined]
    displacement, _ = space.periodic_general(jnp.asarray(box), fractional_coordinates=False)

    def energy(position: jax.Array, perturbation: jax.Array | None = None) -> jax.Array:
        change = {} if perturbation is None else {"perturbation": perturbation}
        apart = jax.vmap(functools.partial(displacement, **change))(position[i], position[j])
        return jnp.sum(soft_sphere(space.distance(apart), sigma=expanded.sigma, epsilon=expanded.epsilon, alpha=2))

    moduli = jax.jit(elasticity.athermal_moduli(energy, tether_strength=1e-12, cg_tol=1e-12))
    position, edges = configuration.position, jnp.asarray(np.diag(box))
    return lambda: moduli(position, edges)


def _median(work: Callable[[], Any], repeats: int) -> float:
    times = []
    for _ in range(repeats):
        begun = time.perf_counter()
        work()
        times.append(time.perf_counter() - begun)
    return float(np.median(times))
