r"""Sensitivities of all members of a relaxed batch, each number with its certificate.

Forward: :math:`dx/dp = -H^{+} U_{xp}`; adjoint: :math:`dO/dp = O_p - U_{px} H^{+} O_x`. Members that did not converge
get NaN; their verdicts say why.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mdsens.batch.algebra import Response
from mdsens.batch.certified import Answer, ObservableSensitivities, PositionSensitivities, certified
from mdsens.batch.fire import units
from mdsens.batch.kernels import count_pairs
from mdsens.batch.lapack import one_by_one
from mdsens.batch.loaded import Loaded, loaded_members
from mdsens.batch.relaxation import RelaxationBatch
from mdsens.batch.sharding import compiled, n_shards
from mdsens.batch.stack import Stack, member, positions, taken
from mdsens.energy import State
from mdsens.energy.parameters import Parameters
from mdsens.energy.paths import select
from mdsens.response.linear import is_loaded
from mdsens.rounding import UNIT, position_rounding
from mdsens.sensitivity.derivatives import (
    Observable,
    adjoint_residual_drift,
    adjoint_slope_drift,
    observable_slopes,
    pulled_parameters,
)
from mdsens.sensitivity.slopes import rounded
from mdsens.types import Scalar


def position_sensitivities(batch: RelaxationBatch, paths: Sequence[str]) -> PositionSensitivities:
    """Return dx/dp of every converged member along the named parameter entries, with certificates.

    Args:
        batch: The relaxed members.
        paths: Names of parameter entries, as for ``mdsens.energy.paths.select``.
    """
    names, kinds, tangents = _directions(batch, paths)
    found = _by_groups(batch, _forward_group, tangents, None)
    answered, certificate = certified(batch, found)
    values = np.where(answered[:, None, None, None], found.values, np.nan)
    return PositionSensitivities(names, kinds, values, answered, batch.verdicts, certificate)


def observable_sensitivities(
    batch: RelaxationBatch, observable: Observable, paths: Sequence[str]
) -> ObservableSensitivities:
    """Return dO/dp of every converged member by one adjoint solve each, with certificates.

    Args:
        batch: The relaxed members.
        observable: Any JAX function ``State -> scalar``; the state lists backbone contacts only.
        paths: Names of parameter entries.
    """
    names, kinds, tangents = _directions(batch, paths)
    found = _by_groups(batch, _adjoint_group, tangents, observable)
    answered, certificate = certified(batch, found)
    values = np.where(answered[:, None], found.values, np.nan)
    value = np.where(answered, found.value, np.nan)
    return ObservableSensitivities(value, names, kinds, values, answered, batch.verdicts, certificate)


def _directions(batch: RelaxationBatch, paths: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...], Parameters]:
    """Return names, units and directions of the entries, every leaf (b, k, ...)."""
    stack = jax.tree.map(np.asarray, batch.stack)
    boxes = [leaf.reshape(len(leaf), -1) for leaf in jax.tree.leaves(stack.configuration.box)]
    alike = all((rows == rows[0]).all() for rows in boxes)  # the direction of box.length depends on the box
    b = len(batch.verdicts)
    selections = [select(jax.tree.map(jnp.asarray, member(stack, k)), paths) for k in range(1 if alike else b)]
    tangents = jax.tree.map(
        lambda *leaves: np.broadcast_to(np.stack([np.asarray(leaf) for leaf in leaves]), (b, *np.shape(leaves[0]))),
        *(selection.tangents for selection in selections),
    )
    return selections[0].paths, selections[0].units, tangents


def _by_groups(batch: RelaxationBatch, function: Any, tangents: Parameters, observable: Observable | None) -> Answer:
    """Run a compiled function over groups of converged members; return answers for all, NaN for the others."""
    group = batch.settings.group * n_shards(batch.mesh)
    numbers = np.flatnonzero(batch.converged)
    stack: Stack = jax.tree.map(np.asarray, batch.stack)
    capacity = _capacity(batch, stack)
    call = compiled(function, batch.mesh, capacity, observable)
    chunks = [numbers[k : k + group] for k in range(0, len(numbers), group)] or [np.zeros(1, int)]

    def one(chunk: np.ndarray) -> Answer:
        index = np.resize(chunk, group)
        answer = jax.tree.map(np.asarray, call(taken(stack, index), taken(tangents, index)))
        return taken(answer, np.arange(len(chunk)))

    answers = [one(chunk) for chunk in chunks]

    def filled(*leaves: np.ndarray) -> np.ndarray:
        whole = np.full((len(batch.verdicts), *leaves[0].shape[1:]), np.nan)
        if len(numbers):
            whole[numbers] = np.concatenate(leaves)
        return whole

    return jax.tree.map(filled, *answers)


def _capacity(batch: RelaxationBatch, stack: Stack) -> int:
    """Return the largest number of partners within range."""
    unit = compiled(units, None)(stack)
    counts = np.asarray(compiled(count_pairs, None)(stack, np.swapaxes(positions(stack), 1, 2), unit.skin))
    return max(1, int(counts[batch.converged].max(initial=1)))


def _forward_group(stack: Stack, tangents: Parameters, capacity: int, observable: None) -> Answer:
    one = lambda stack, tangents: jax.vmap(_forward)(*loaded_members(stack, capacity), tangents)  # noqa: E731
    return one_by_one(one)(stack, tangents)


def _forward(loaded: Loaded, response: Response, tangents: Parameters) -> Answer:
    """Return dx/dp along every direction, with what its certificate is made of."""
    x, here = loaded.state.position.T, loaded.state.parameters

    def pushed(y: Array, tangent: Parameters, answer: Array) -> tuple[Array, Array]:
        """Return H J + U_xp and U_xp alone at a place, J held."""
        slope = -jax.jvp(lambda p: loaded.forces(y, p), (here,), (tangent,))[1]
        bent = -jax.jvp(lambda z: loaded.forces(z, here), (y,), (answer.reshape(x.shape),))[1]
        return bent + slope, slope

    slopes = jax.vmap(lambda t: -jax.jvp(lambda p: loaded.forces(x, p), (here,), (t,))[1])(tangents)
    force = loaded.forces(x, here)
    solutions, residual = response.solve(jnp.concatenate([-slopes, force[None]]).T)
    values, step = solutions.T[:-1], solutions.T[-1].reshape(x.shape) + position_rounding(x)
    drift, slope_drift = jax.vmap(lambda t, v: jax.jvp(lambda y: pushed(y, t, v), (x,), (step,))[1])(tangents, values)
    norm = lambda rows: jnp.linalg.norm(rows, axis=-1)  # noqa: E731
    change = norm(response.shifted_inverse(drift.T).T)
    smallest, size = response.smallest, norm(slopes)
    error = change + residual[:-1] * size / smallest
    bound = (norm(slope_drift) + loaded.row_sum_drift(x, step) * size / smallest) / smallest
    d, n = x.shape
    shaped = jnp.swapaxes(values.reshape(-1, d, n), 1, 2)
    soft = is_loaded(response.load(slopes.T), size, norm(slope_drift))
    return _answer(response, shaped, jnp.zeros(()), (residual[:-1], error, bound, norm(values)), soft)


def _answer(
    response: Response, values: Array, value: Scalar, quality: tuple[Array, Array, Array, Array], loaded: Array
) -> Answer:
    counts = response.n_rotations, response.n_floppy
    return Answer(values, value, *quality, response.smallest, response.norm, *counts, loaded)


def _adjoint_group(stack: Stack, tangents: Parameters, capacity: int, observable: Observable) -> Answer:
    single = functools.partial(_adjoint, observable)
    one = lambda stack, tangents: jax.vmap(single)(*loaded_members(stack, capacity), tangents)  # noqa: E731
    return one_by_one(one)(stack, tangents)


def _adjoint(observable: Observable, loaded: Loaded, response: Response, tangents: Parameters) -> Answer:
    """Return dO/dp along every direction, with what its certificate is made of."""
    state = loaded.with_pairs
    x, here = state.position.T, state.parameters
    still = jnp.zeros(0)
    value, by_position, _, partial = observable_slopes(observable, state, still)
    slope = by_position.T.ravel()
    force = loaded.forces(x, here)
    solutions, residual = response.solve(jnp.stack([slope, force], axis=1))
    adjoint, step = (solution.reshape(x.shape).T for solution in solutions.T)
    contract = lambda gradient: _contract(tangents, gradient)  # noqa: E731
    step = step + position_rounding(state.position)
    terms = contract(partial), -contract(_pulled(state, adjoint))
    values = terms[0] + terms[1]
    blurred, times = rounded(state)
    vague = contract(observable_slopes(observable, blurred, still)[3]), -contract(_pulled(blurred, adjoint))
    blur = sum(jnp.abs(b - a) / times + UNIT * jnp.abs(a) for a, b in zip(terms, vague, strict=True))
    bent = adjoint_residual_drift(observable, state, adjoint, step).T.ravel()
    change = response.shifted_inverse(bent[:, None])[:, 0].reshape(x.shape).T
    drift = jnp.abs(contract(adjoint_slope_drift(observable, state, adjoint, change, step))) + blur
    mixed = lambda y: jax.vmap(lambda t: jax.jvp(lambda p: loaded.forces(y, p), (here,), (t,))[1])(tangents)  # noqa: E731
    pushed, push_drift = jax.jvp(mixed, (x,), (step.T,))
    size, size_drift = (jnp.linalg.norm(part, axis=1) for part in (pushed, push_drift))
    scale = jnp.linalg.norm(slope) * size / response.smallest
    error = drift + residual[0] * scale
    bound = drift + loaded.row_sum_drift(x, step.T) * scale / response.smallest
    residuals = jnp.broadcast_to(residual[0], values.shape)
    soft = is_loaded(response.load(pushed.T), size, size_drift)
    return _answer(response, values, value, (residuals, error, bound, jnp.abs(values)), soft)


def _pulled(state: State, adjoint: Array) -> Parameters:
    pulled = pulled_parameters(state, jnp.zeros(0), adjoint[None], jnp.zeros((1, 0)))
    return jax.tree.map(lambda leaf: leaf[0], pulled)


def _contract(tangents: Parameters, gradient: Parameters) -> Float[Array, " k"]:
    products = jax.tree.map(lambda t, g: t.reshape(t.shape[0], -1) @ g.ravel(), tangents, gradient)
    return sum(jax.tree.leaves(products), start=jnp.zeros(()))
