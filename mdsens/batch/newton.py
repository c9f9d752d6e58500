r"""The last digits of a group of members, and the judgement of what they arrived at.

Newton steps :math:`\delta = (M + \mu)^{-1} F` with a dense Cholesky factor, taken only where it is safe. M is the
Hessian, in which pairs that touch a rattler keep their stiffness along the contact but lose their prestress: a rattler
is then moved out of its contacts, which a Hessian with its negative eigenvalues would not do.
"""

from __future__ import annotations

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from mdsens.batch.fire import Numbers, Units
from mdsens.batch.kernels import (
    Fields,
    Lists,
    Values,
    dense_hessians,
    flat_index,
    gather,
    interaction_range,
    law,
    list_pairs,
    pair_curvatures,
    pair_energies,
    pull,
    separations,
)
from mdsens.batch.lapack import cholesky_factor, cholesky_solve
from mdsens.batch.stack import Stack, positions
from mdsens.contacts import TOUCH, least_overlaps
from mdsens.energy import State
from mdsens.linear import SHIFT
from mdsens.neighbors import numbered_pairs
from mdsens.types import Components, PeriodicBox

MOST_STEPS = 8
_LONGEST = 0.05  # of the skin: the list stays valid for all steps
_ROUNDING = 1e-13  # relative rounding error of an energy, below which it cannot judge a step


class Contacts(NamedTuple):
    """Which pairs bear load, which particles are held.

    Attributes:
        held: Contacts between backbone particles, shape (b, k, n), each twice.
        backbone: True for backbone particles, shape (b, n).
        one_sided: Whether a backbone pair is at a kink, shape (b,).
    """

    held: Bool[Array, "b k n"]
    backbone: Bool[Array, "b n"]
    one_sided: Bool[Array, " b"]


class Judged(eqx.Module):
    """What members arrived at.

    Attributes:
        position: Positions, shape (b, d, n).
        energy: Potential energy, shape (b,).
        largest: Largest force, shape (b,).
        pressure: Pressure, NaN for free systems, shape (b,).
        backbone: True for backbone particles, shape (b, n).
        n_contacts: Number of backbone contacts, shape (b,).
        one_sided: Whether a backbone contact is at a kink, shape (b,).
        n_newton: Newton steps taken, shape (b,).
        settled: Whether the backbone and its contacts are those before the Newton steps, shape (b,).
        stable: Whether the backbone Hessian has no negative eigenvalue, shape (b,).
        overflow: Whether the pairs did not fit, shape (b,).
    """

    position: Fields
    energy: Numbers
    largest: Numbers
    pressure: Numbers
    backbone: Bool[Array, "b n"]
    n_contacts: Int[Array, " b"]
    one_sided: Bool[Array, " b"]
    n_newton: Int[Array, " b"]
    settled: Bool[Array, " b"]
    stable: Bool[Array, " b"]
    overflow: Bool[Array, " b"]


class PairValues(NamedTuple):
    """Everything about the pairs at one place."""

    parts: Components
    distance: Values
    slope: Values
    curvature: Values


class _Point(NamedTuple):
    """Where the Newton iterations stand."""

    position: Fields
    force: Fields
    energy: Numbers
    largest: Numbers


def contacts(stack: Stack, distance: Values, lists: Lists) -> Contacts:
    """Find the backbones, by the rules of ``contact_network``."""
    contact = law(stack).contact
    overlap, least = 1.0 - distance / interaction_range(stack, lists), jax.vmap(_least_overlaps)(stack, lists.j)
    touching = lists.mask & (overlap > least)
    backbone = _pruned(touching, lists, positions(stack).shape[2] + 1 if contact else 1)
    both = both_on(backbone, lists)
    close = jnp.abs(overlap) <= jnp.where(least > 0, least, TOUCH)  # of laws that attract, too
    kinked = lists.mask & both & close & (law(stack).smoothness < 2)
    return Contacts(touching & both, backbone, jnp.any(kinked, axis=(1, 2)))


def _least_overlaps(state: State, j: Int[Array, "k n"]) -> Float[Array, "k n"]:
    """Return the overlaps from which on the pairs of one member are contacts."""
    own = jnp.broadcast_to(jnp.arange(j.shape[1], dtype=j.dtype), j.shape)
    pairs = numbered_pairs(own.ravel(), j.ravel(), state.configuration.dimension)
    least = jnp.asarray(least_overlaps(state.with_pairs(pairs)))
    return jnp.broadcast_to(least, (j.size,)).reshape(j.shape)


def both_on(flags: Bool[Array, "b n"], lists: Lists) -> Bool[Array, "b k n"]:
    """Return for which pairs both particles are flagged."""
    return flags[:, None, :] & gather(flags.reshape(-1), flat_index(lists))


def _pruned(touching: Bool[Array, "b k n"], lists: Lists, least: int) -> Bool[Array, "b n"]:
    """Remove particles with fewer than ``least`` contacts until none is left to remove."""

    def remaining(alive: Array) -> Array:
        return alive & (jnp.sum(touching & both_on(alive, lists), axis=1) >= least)

    def step(carry: tuple[Array, Array]) -> tuple[Array, Array]:
        alive, _ = carry
        fewer = remaining(alive)
        return fewer, jnp.any(fewer != alive)

    everyone = jnp.ones((touching.shape[0], touching.shape[2]), bool)
    return jax.lax.while_loop(lambda carry: carry[1], step, (everyone, jnp.array(True)))[0]


def pairs_at(stack: Stack, position: Fields, lists: Lists) -> PairValues:
    """Return separations and the law's derivatives on all pairs."""
    parts, distance = separations(position, lists)
    return PairValues(parts, distance, *pair_curvatures(stack, distance, lists))


def _point(stack: Stack, position: Fields, lists: Lists) -> tuple[_Point, PairValues]:
    pairs = pairs_at(stack, position, lists)
    force = pull(pairs.parts, pairs.slope / pairs.distance)
    largest = jnp.sqrt(jnp.max(jnp.sum(force**2, axis=1), axis=1))
    energy = 0.5 * jnp.sum(pair_energies(stack, pairs.distance, lists), axis=(1, 2))
    return _Point(position, force, energy, largest), pairs


def row_norms(matrix: Float[Array, "b m m"]) -> Numbers:
    """Return the largest absolute row sum of every matrix."""
    return jnp.max(jnp.sum(jnp.abs(matrix), axis=1), axis=1)


def cholesky(matrix: Float[Array, "b m m"], shift: Numbers) -> Float[Array, "b m m"]:
    """Factor every matrix with a shift on its diagonal; NaN where it is not positive definite."""
    shifted = matrix + shift[:, None, None] * jnp.eye(matrix.shape[-1])
    return jax.vmap(cholesky_factor)(shifted)


def polish(stack: Stack, unit: Units, position: Fields, tolerance: Numbers, capacity: int) -> Judged:
    """Finish a group by Newton steps and judge where it is.

    A step is taken only when the matrix is positive definite, no particle moves by more than a twentieth of the skin,
    and the energy falls (or, once the predicted gain drowns in rounding, the largest force).

    Args:
        stack: The systems; their own positions are not used.
        unit: Their units; the skin is that of this list.
        position: Where they are, shape (b, d, n).
        tolerance: Largest force to reach, shape (b,).
        capacity: Length of the pair lists, static.
    """
    lists = list_pairs(stack, position, unit.skin, capacity)
    first, pairs = _point(stack, position, lists)
    before = contacts(stack, pairs.distance, lists)
    loose = ~both_on(before.backbone, lists)

    def unfinished(carry: tuple[_Point, PairValues, Array, Array]) -> Array:
        return jnp.any(carry[3])

    def step(carry: tuple[_Point, PairValues, Array, Array]) -> tuple[_Point, PairValues, Array, Array]:
        point, pairs, taken, going = carry
        move = _newton_move(point, pairs, loose, lists)
        new, new_pairs = _point(stack, point.position + move, lists)
        good = going & _acceptable(point, new, move, _LONGEST * unit.skin)
        point, pairs = (
            jax.tree.map(lambda a, b: jnp.where(good.reshape(-1, *[1] * (a.ndim - 1)), a, b), *both)
            for both in ((new, point), (new_pairs, pairs))
        )
        taken = taken + good
        return point, pairs, taken, good & (point.largest > tolerance) & (taken < MOST_STEPS)

    going = (first.largest > tolerance) & ~lists.overflow
    start = (first, pairs, jnp.zeros(len(going), jnp.int32), going)
    point, pairs, taken, _ = jax.lax.while_loop(unfinished, step, start)
    return _judged(stack, point, pairs, before, taken, lists)


def _newton_move(point: _Point, pairs: PairValues, loose: Bool[Array, "b k n"], lists: Lists) -> Fields:
    b, d, n = point.position.shape
    # padding lies beyond every range, where slope and curvature vanish
    along = jnp.where(loose, jnp.maximum(pairs.curvature, 0.0), pairs.curvature)
    across = jnp.where(loose, 0.0, pairs.slope / pairs.distance)
    matrix = dense_hessians(pairs.parts, pairs.distance, along, across, lists)
    lower = cholesky(matrix, SHIFT * row_norms(matrix))
    return jax.vmap(cholesky_solve)(lower, point.force.reshape(b, d * n, 1)).reshape(b, d, n)


def _acceptable(point: _Point, new: _Point, move: Fields, longest: Numbers) -> Bool[Array, " b"]:
    gain = jnp.sum(point.force * move, axis=(1, 2))
    short = (gain > 0) & (jnp.max(jnp.sum(move**2, axis=1), axis=1) <= longest**2)  # NaN is not short
    visible = gain > _ROUNDING * jnp.abs(point.energy)
    return short & jnp.where(visible, new.energy < point.energy, new.largest < point.largest)


def _judged(
    stack: Stack, point: _Point, pairs: PairValues, before: Contacts, taken: Int[Array, " b"], lists: Lists
) -> Judged:
    after = contacts(stack, pairs.distance, lists)
    matrix, norm = backbone_hessian(pairs, after, lists)
    lower = cholesky(matrix, SHIFT * norm)
    same = jnp.all(after.held == before.held, axis=(1, 2)) & jnp.all(after.backbone == before.backbone, axis=1)
    return Judged(
        position=point.position,
        energy=point.energy,
        largest=point.largest,
        pressure=_pressure(stack, pairs),
        backbone=after.backbone,
        n_contacts=jnp.sum(after.held, axis=(1, 2)) // 2,
        one_sided=after.one_sided,
        n_newton=taken,
        settled=same,
        stable=jnp.isfinite(jnp.sum(jnp.diagonal(lower, axis1=1, axis2=2), axis=1)),
        overflow=lists.overflow,
    )


def backbone_hessian(pairs: PairValues, network: Contacts, lists: Lists) -> tuple[Float[Array, "b m m"], Numbers]:
    """Return the Hessians of the backbones and their norms; rattlers get the norm on the diagonal."""
    along, across = (jnp.where(network.held, k, 0.0) for k in (pairs.curvature, pairs.slope / pairs.distance))
    matrix = dense_hessians(pairs.parts, pairs.distance, along, across, lists)
    norm = row_norms(matrix)
    rattler = jnp.tile(~network.backbone, (1, len(pairs.parts)))
    filled = jnp.where(rattler, jnp.where(norm > 0, norm, 1.0)[:, None], 0.0)
    every = jnp.arange(matrix.shape[-1])
    return matrix.at[:, every, every].add(filled), norm


def _pressure(stack: Stack, pairs: PairValues) -> Numbers:
    r"""Return :math:`P = -\sum u'(r) r/(d V)` of every member."""
    box = stack.configuration.box
    if not (isinstance(box, PeriodicBox) and box.is_periodic):
        return jnp.full(pairs.distance.shape[0], jnp.nan)
    volume = jax.vmap(lambda one: one.volume)(box)
    return -0.5 * jnp.sum(pairs.slope * pairs.distance, axis=(1, 2)) / (len(pairs.parts) * volume)
