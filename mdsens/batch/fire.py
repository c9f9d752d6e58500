"""FIRE of all members at once, each with its own time step, until it comes to rest.

The steps are those of jax-md's ``fire_descent`` (velocity Verlet, then mixing); its norms are taken member by member.
"""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from mdsens.batch.kernels import Fields, Lists, forces, list_pairs
from mdsens.batch.stack import Stack, positions, taken
from mdsens.energy import largest_reach
from mdsens.energy.stiffness import scales
from mdsens.relaxation.masses import LONGEST_STEP
from mdsens.types import replaced

DT_START, DT_MAX = 0.1, 0.4
ALPHA_START, ALPHA_FACTOR = 0.1, 0.99
FASTER, SLOWER, PATIENCE = 1.1, 0.5, 5
WAITING = 0.3  # of the moving members may have used up their skins before pairs are listed anew
_NORM_FLOOR = 1e-6  # jax-md adds it to the squared norm of the force, there in units of epsilon/sigma

Numbers = Float[Array, " b"]


class Units(eqx.Module):
    """What the members measure with, each (b,).

    Attributes:
        length: Largest length parameter.
        energy: Largest energy parameter.
        reach: Largest interaction range.
        skin: Extra reach of the pair lists.
    """

    length: Numbers
    energy: Numbers
    reach: Numbers
    skin: Numbers

    @property
    def force(self) -> Numbers:
        """Unit epsilon/sigma of forces."""
        return self.energy / self.length


def units(stack: Stack) -> Units:
    """Return the units of every member, without a skin."""
    b = positions(stack).shape[0]
    length, energy = jax.vmap(lambda state: scales(state.potential, state.configuration))(stack)
    reach = jax.vmap(lambda state: largest_reach(state.potential, state.configuration))(stack)
    ones = jnp.ones(b)
    return Units(length * ones, energy * ones, reach, jnp.zeros(b))


def with_skin(unit: Units, skin: float) -> Units:
    """Return the units with a skin of that many reaches."""
    return replaced(unit, {"skin": skin * unit.reach})


class Walk(eqx.Module):
    """Where every member stands on its way down.

    Attributes:
        position: Positions, shape (b, d, n), units of length.
        momentum: Momenta in FIRE's units, same shape.
        force: Forces over the unit of energy, same shape.
        dt: Time steps, shape (b,).
        alpha: Mixing weights, shape (b,).
        n_positive: Steps since the power was last negative, shape (b,).
        steps: Steps taken, shape (b,).
        threshold: Largest force and momentum at which to rest, shape (b,), units of energy per length.
        largest: Largest force, shape (b,), same units.
        resting: Whether force and momentum are below the threshold (or not finite), shape (b,).
        overflow: Whether the pairs did not fit, shape (b,): the member then stands still.
        limit: Most steps to take, shape (b,).
    """

    position: Fields
    momentum: Fields
    force: Fields
    dt: Numbers
    alpha: Numbers
    n_positive: Int[Array, " b"]
    steps: Int[Array, " b"]
    threshold: Numbers
    largest: Numbers
    resting: Bool[Array, " b"]
    overflow: Bool[Array, " b"]
    limit: Int[Array, " b"]

    @property
    def standing(self) -> Bool[Array, " b"]:
        """Whether a member does not move: at rest, at its limit, or without a complete list of pairs."""
        return self.resting | self.overflow | (self.steps >= self.limit)


def start_walk(stack: Stack, unit: Units, threshold: Numbers, limit: Int[Array, " b"], capacity: int) -> Walk:
    """Return all members without momentum where they start."""
    position = jnp.swapaxes(positions(stack), 1, 2)
    b = position.shape[0]
    lists = list_pairs(stack, position, unit.skin, capacity)
    force = forces(stack, position, lists) / _each(unit.energy)
    walk = Walk(
        position=position,
        momentum=jnp.zeros_like(position),
        force=force,
        dt=jnp.full(b, DT_START),
        alpha=jnp.full(b, ALPHA_START),
        n_positive=jnp.zeros(b, jnp.int32),
        steps=jnp.zeros(b, jnp.int32),
        threshold=threshold,
        largest=_largest(force) * unit.energy,
        resting=jnp.zeros(b, bool),
        overflow=lists.overflow,
        limit=limit,
    )
    return replaced(walk, {"resting": _at_rest(walk, unit)})


def rest_at(walk: Walk, unit: Units, threshold: Numbers) -> Walk:
    """Set thresholds and look who is at rest."""
    walk = replaced(walk, {"threshold": threshold})
    return replaced(walk, {"resting": _at_rest(walk, unit)})


def _each(numbers: Array) -> Array:
    return numbers[:, None, None]


def _largest(fields: Fields) -> Numbers:
    return jnp.sqrt(jnp.max(jnp.sum(fields * fields, axis=1), axis=1))


def _at_rest(walk: Walk, unit: Units) -> Bool[Array, " b"]:
    # written so that NaN counts as at rest
    return ~(jnp.maximum(walk.largest, _largest(walk.momentum) * unit.energy) > walk.threshold)


def descend(stack: Stack, unit: Units, walk: Walk, capacity: int, lanes: int) -> Walk:
    """Take steps of FIRE with every member until it stands: at rest, at its limit, or without room for its pairs.

    ``lanes`` members move at a time, the first ones that do not stand; the others queue. Few of them stay in a core's
    cache and waste little on those that wait; an accelerator wants many.
    """
    lanes = min(lanes, len(walk.steps))

    def unfinished(walk: Walk) -> Array:
        return ~jnp.all(walk.standing)

    def stretch(walk: Walk) -> Walk:
        chosen = jnp.argsort(walk.standing, stable=True)[:lanes]
        part, own, before = taken((stack, unit, walk), chosen)
        moved = _stretch(part, own, before, capacity)
        return jax.tree.map(lambda whole, new: whole.at[chosen].set(new, unique_indices=True), walk, moved)

    return jax.lax.while_loop(unfinished, stretch, walk)


def _stretch(stack: Stack, unit: Units, walk: Walk, capacity: int) -> Walk:
    """List pairs, then take steps until too many members stand or have used up their skins; those wait meanwhile."""
    lists = list_pairs(stack, walk.position, unit.skin, capacity)
    reference = walk.position
    walk = replaced(walk, {"overflow": lists.overflow})
    enough = (1 - WAITING) * jnp.sum(~walk.standing)

    def moving(carry: tuple[Walk, Array]) -> Array:
        walk, stale = carry
        return jnp.sum(~walk.standing & ~stale) > enough

    def step(carry: tuple[Walk, Array]) -> tuple[Walk, Array]:
        walk, stale = carry
        new = _stepped(stack, unit, walk, lists, walk.standing | stale)
        moved = jnp.max(jnp.sum((new.position - reference) ** 2, axis=1), axis=1)
        return new, moved > (0.5 * unit.skin) ** 2

    return jax.lax.while_loop(moving, step, (walk, jnp.zeros_like(walk.resting)))[0]


def _stepped(stack: Stack, unit: Units, walk: Walk, lists: Lists, held: Bool[Array, " b"]) -> Walk:
    """Take one step with every member that is not held."""
    mass = stack.potential.stiffness / unit.length**2
    half = _each(0.5 * walk.dt)
    kicked = walk.momentum + half * walk.force
    move = _shortened(_each(walk.dt / mass) * kicked, LONGEST_STEP * unit.length / stack.potential.stiffness**0.5)
    position = jnp.where(_each(held), walk.position, walk.position + move)
    force = forces(stack, position, lists) / _each(unit.energy)
    momentum = kicked + half * force
    axes = (1, 2)
    power = jnp.sum(force * momentum, axis=axes)
    ratio = jnp.sqrt(jnp.sum(momentum**2, axis=axes) / (jnp.sum(force**2, axis=axes) + _NORM_FLOOR / unit.length**2))
    mixed = (1 - _each(walk.alpha)) * momentum + _each(walk.alpha * ratio) * force
    momentum = jnp.where(_each(held), walk.momentum, jnp.where(_each(power >= 0), mixed, 0.0))
    n_positive = jnp.where(power >= 0, walk.n_positive + 1, 0)
    patient = (power > 0) & (n_positive > PATIENCE)
    dt = jnp.where(patient, jnp.minimum(walk.dt * FASTER, DT_MAX), walk.dt)
    new = Walk(
        position=position,
        momentum=momentum,
        force=force,
        dt=jnp.where(power < 0, walk.dt * SLOWER, dt),
        alpha=jnp.where(power < 0, ALPHA_START, jnp.where(patient, walk.alpha * ALPHA_FACTOR, walk.alpha)),
        n_positive=n_positive,
        steps=walk.steps + 1,
        threshold=walk.threshold,
        largest=_largest(force) * unit.energy,
        resting=walk.resting,
        overflow=walk.overflow,
        limit=walk.limit,
    )
    numbers = ("dt", "alpha", "n_positive", "steps", "largest")
    kept = {name: jnp.where(held, getattr(walk, name), getattr(new, name)) for name in numbers}
    new = replaced(new, kept)
    return replaced(new, {"resting": _at_rest(new, unit)})


def _shortened(move: Fields, longest: Numbers) -> Fields:
    """Return the move with no particle's above ``longest``."""
    square = jnp.sum(move**2, axis=1, keepdims=True)
    cap = _each(longest)
    return jnp.where(square > cap**2, move * (cap / jnp.sqrt(jnp.maximum(square, 1e-300))), move)
