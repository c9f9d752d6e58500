r"""Sensitivities of all members of a relaxed batch, each number with its certificate.

Forward: :math:`dx/dp = -H^{+} U_{xp}`; adjoint: :math:`dO/dp = O_p - U_{px} H^{+} O_x`. Members that did not converge
get NaN; their verdicts say why.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from mdsens.batch.algebra import Response, respond
from mdsens.batch.fire import Units, units, with_skin
from mdsens.batch.kernels import count_pairs, expanded, list_pairs
from mdsens.batch.lapack import one_by_one
from mdsens.batch.newton import Contacts, PairValues, backbone_hessian, contacts, pairs_at
from mdsens.batch.relaxation import RelaxationBatch
from mdsens.batch.sharding import compiled, n_shards
from mdsens.batch.stack import Stack, member, positions, taken
from mdsens.energy import State
from mdsens.energy.parameters import Parameters
from mdsens.energy.paths import select
from mdsens.neighbors import PairList
from mdsens.response.linear import WORST_RESIDUAL, is_loaded
from mdsens.results import Verdict
from mdsens.rounding import UNIT, position_rounding
from mdsens.sensitivity.certified import relative
from mdsens.sensitivity.derivatives import (
    Observable,
    adjoint_residual_drift,
    adjoint_slope_drift,
    observable_slopes,
    pulled_parameters,
)
from mdsens.sensitivity.slopes import rounded
from mdsens.types import Box, Scalar


@dataclasses.dataclass(frozen=True)
class BatchCertificate:
    """How good the sensitivities of a batch are; NaN (and zero counts) for members without an answer.

    Attributes:
        residual: Relative residual of every linear solve after projection, shape (b, k).
        error: Estimated absolute error of every answer, as in ``mdsens.sensitivity.Certificate``, shape (b, k).
        relative_error: ``error`` over the norm of the answer, shape (b, k); NaN where that is zero within its error.
        bound: Upper bound of the same error, shape (b, k).
        smallest_eigenvalue: Smallest non-zero eigenvalue of the backbone Hessian, shape (b,).
        largest_eigenvalue: Upper bound of its largest one, shape (b,).
        translations: Number of translations projected out, shape (b,).
        rotations: Number of rotations projected out, shape (b,).
        rattlers: Number of rattlers, whose rows are zero, shape (b,).
        floppy: Number of further zero modes projected out, shape (b,).
        one_sided: Whether a backbone contact is just touching at a kink, shape (b,).
    """

    residual: np.ndarray
    error: np.ndarray
    relative_error: np.ndarray
    bound: np.ndarray
    smallest_eigenvalue: np.ndarray
    largest_eigenvalue: np.ndarray
    translations: np.ndarray
    rotations: np.ndarray
    rattlers: np.ndarray
    floppy: np.ndarray
    one_sided: np.ndarray


@dataclasses.dataclass(frozen=True)
class PositionSensitivities:
    """dx/dp of all members for k parameter entries.

    Attributes:
        paths: Name of every parameter entry.
        units: Their units.
        values: dx/dp, shape (b, k, n, d), backbone mean zero, rattler rows zero; NaN without an answer.
        answered: True for members with an answer, shape (b,): converged, every solve below a residual of 1e-6, and no
            mode loaded that counts as floppy.
        verdicts: What became of every member's relaxation.
        certificate: How good they are.
    """

    paths: tuple[str, ...]
    units: tuple[str, ...]
    values: np.ndarray
    answered: np.ndarray
    verdicts: tuple[Verdict, ...]
    certificate: BatchCertificate


@dataclasses.dataclass(frozen=True)
class ObservableSensitivities:
    """dO/dp of all members for k parameter entries.

    Attributes:
        value: The observable, shape (b,).
        paths: Name of every parameter entry.
        units: Their units.
        values: dO/dp, shape (b, k); NaN without an answer.
        answered: As in ``PositionSensitivities``.
        verdicts: What became of every member's relaxation.
        certificate: How good they are.
    """

    value: np.ndarray
    paths: tuple[str, ...]
    units: tuple[str, ...]
    values: np.ndarray
    answered: np.ndarray
    verdicts: tuple[Verdict, ...]
    certificate: BatchCertificate


class _Answer(eqx.Module):
    """What compiled code returns per member."""

    values: Array
    value: Scalar
    residual: Float[Array, " k"]
    error: Float[Array, " k"]
    bound: Float[Array, " k"]
    size: Float[Array, " k"]
    smallest: Scalar
    norm: Scalar
    n_rotations: Int[Array, ""]
    n_floppy: Int[Array, ""]
    loaded: Bool[Array, " k"]


def position_sensitivities(batch: RelaxationBatch, paths: Sequence[str]) -> PositionSensitivities:
    """Return dx/dp of every converged member along the named parameter entries, with certificates.

    Args:
        batch: The relaxed members.
        paths: Names of parameter entries, as for ``mdsens.energy.paths.select``.
    """
    names, kinds, tangents = _directions(batch, paths)
    found = _by_groups(batch, _forward_group, tangents, None)
    answered, certificate = _certified(batch, found)
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
    answered, certificate = _certified(batch, found)
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


def _by_groups(batch: RelaxationBatch, function: Any, tangents: Parameters, observable: Observable | None) -> _Answer:
    """Run a compiled function over groups of converged members; return answers for all, NaN for the others."""
    group = batch.settings.group * n_shards(batch.mesh)
    numbers = np.flatnonzero(batch.converged)
    stack: Stack = jax.tree.map(np.asarray, batch.stack)
    capacity = _capacity(batch, stack)
    call = compiled(function, batch.mesh, capacity, observable)
    chunks = [numbers[k : k + group] for k in range(0, len(numbers), group)] or [np.zeros(1, int)]

    def one(chunk: np.ndarray) -> _Answer:
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


def _certified(batch: RelaxationBatch, found: _Answer) -> tuple[np.ndarray, BatchCertificate]:
    with np.errstate(invalid="ignore"):
        solved = (found.residual <= WORST_RESIDUAL) & (found.loaded == 0)
    answered = batch.converged & solved.all(axis=1)
    blank = lambda values: np.where(answered.reshape(-1, *[1] * (values.ndim - 1)), values, np.nan)  # noqa: E731
    count = lambda values: np.where(answered, values, 0).astype(int)  # noqa: E731
    error = blank(found.error + UNIT * found.size)
    dimension = batch.position.shape[2]
    return answered, BatchCertificate(
        residual=blank(found.residual),
        error=error,
        relative_error=relative(error, np.asarray(found.size)),
        bound=blank(found.bound),
        smallest_eigenvalue=blank(found.smallest),
        largest_eigenvalue=blank(found.norm),
        translations=count(np.full(len(answered), dimension)),
        rotations=count(found.n_rotations),
        rattlers=count(batch.n_rattlers),
        floppy=count(found.n_floppy),
        one_sided=batch.one_sided & answered,
    )


class _Loaded(eqx.Module):
    """One member with its contacts: what forces and their derivatives need.

    Attributes:
        state: The member.
        j: Partners, shape (k, n).
        held: True for backbone contacts, same shape.
    """

    state: State
    j: Int[Array, "k n"]
    held: Bool[Array, "k n"]

    def forces(self, x: Float[Array, "d n"], parameters: Parameters) -> Float[Array, " m"]:
        """Return the forces of the contacts, component by component."""
        parts, distance, own = self._pairs(x, parameters)
        slope = jax.grad(lambda r: jnp.sum(own.pair_energy(r)))(distance)
        tension = jnp.where(self.held, slope, 0.0) / distance
        return jnp.concatenate([-jnp.sum(tension * c, axis=0) for c in parts])

    def _pairs(self, x: Array, parameters: Parameters) -> tuple[tuple[Array, ...], Array, Any]:
        own = expanded(self.state, parameters.potential, self.j)
        parts = parameters.box.nearest(tuple(c - c[self.j] for c in x))
        parts = (jnp.where(self.held, parts[0], 1.0), *(jnp.where(self.held, c, 0.0) for c in parts[1:]))
        return parts, jnp.sqrt(sum(c * c for c in parts)), own

    def stiffness(self, x: Float[Array, "d n"]) -> Float[Array, "c k n"]:
        """Return the d d components of every contact's block."""
        parts, distance, own = self._pairs(x, self.state.parameters)
        slope = jax.grad(lambda r: jnp.sum(own.pair_energy(r)))
        first, second = jax.jvp(slope, (distance,), (jnp.ones_like(distance),))
        across = first / distance
        along = second - across
        unit = [c / distance for c in parts]
        d = range(len(parts))
        blocks = [along * unit[a] * unit[c] + (across if a == c else 0.0) for a in d for c in d]
        return jnp.where(self.held, jnp.stack(blocks), 0.0)

    def row_sum_drift(self, x: Array, step: Array) -> Scalar:
        """Bound the norm of the Hessian's change along a step, as ``mdsens.hessian.directional_row_sum``."""
        change = jax.jvp(self.stiffness, (x,), (step,))[1]
        return 2.0 * jnp.max(jnp.sum(jnp.sqrt(jnp.sum(change**2, axis=0)), axis=0))

    @property
    def with_pairs(self) -> State:
        """The member as a state that lists its backbone contacts."""
        own = jnp.broadcast_to(jnp.arange(self.j.shape[1], dtype=self.j.dtype), self.j.shape)
        mask = (self.held & (own < self.j)).ravel()
        i, j = (jnp.where(mask, index.ravel(), 0) for index in (own, self.j))
        apart = tuple(x[i] - x[j] for x in self.state.position.T)
        shift = jnp.stack(self.state.configuration.box.images(apart)).astype(jnp.int32)
        return self.state.with_pairs(PairList(i, j, mask, shift))


def _loaded(stack: Stack, capacity: int) -> tuple[_Loaded, Response]:
    """Return the members with their contacts, and their responses."""
    position = jnp.swapaxes(positions(stack), 1, 2)
    unit: Units = with_skin(units(stack), 0.0)
    lists = list_pairs(stack, position, unit.skin, capacity)
    pairs: PairValues = pairs_at(stack, position, lists)
    network: Contacts = contacts(stack, pairs.distance, lists)
    matrix, norm = backbone_hessian(pairs, network, lists)
    box: Box = stack.configuration.box
    response = jax.vmap(respond)(matrix, norm, position, network.backbone, box)
    return jax.vmap(_Loaded)(stack, lists.j, network.held), response


def _forward_group(stack: Stack, tangents: Parameters, capacity: int, observable: None) -> _Answer:
    one = lambda stack, tangents: jax.vmap(_forward)(*_loaded(stack, capacity), tangents)  # noqa: E731
    return one_by_one(one)(stack, tangents)


def _forward(loaded: _Loaded, response: Response, tangents: Parameters) -> _Answer:
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
) -> _Answer:
    counts = response.n_rotations, response.n_floppy
    return _Answer(values, value, *quality, response.smallest, response.norm, *counts, loaded)


def _adjoint_group(stack: Stack, tangents: Parameters, capacity: int, observable: Observable) -> _Answer:
    single = functools.partial(_adjoint, observable)
    one = lambda stack, tangents: jax.vmap(single)(*_loaded(stack, capacity), tangents)  # noqa: E731
    return one_by_one(one)(stack, tangents)


def _adjoint(observable: Observable, loaded: _Loaded, response: Response, tangents: Parameters) -> _Answer:
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
