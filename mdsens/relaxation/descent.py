"""A minimiser in compiled segments that list pairs anew whenever the skin is used up."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from mdsens.energy import PairPotential, State, energy_and_forces
from mdsens.energy.kinds import native_ranges
from mdsens.neighbors import Grid, PairList, compiled_pairs, grid_for, in_order, no_pairs, standard_capacity
from mdsens.neighbors.listing import Cell, listed
from mdsens.relaxation.masses import lightness, longest_step, softness
from mdsens.relaxation.minimizer import Minimizer, Point, Surface, largest_norm
from mdsens.relaxation.scales import Scales
from mdsens.types import Position, Scalar, replaced

SEGMENT = 200  # most steps between two looks from the host: progress, history, path


class Segment(eqx.Module):
    """What one compiled stretch of a minimiser returns.

    Attributes:
        point: Where the minimiser stands, to continue from.
        steps: Steps taken, <= SEGMENT.
        energy: Energy after every step, shape (SEGMENT,), NaN beyond ``steps``.
        max_force: Largest force after every step, same shape.
        pairs: The pair list at the end.
        reference: Positions for which it was made, shape (n, d).
        stale: Whether the list lacks pairs, because they did not fit: the caller must list them before going on.
        largest: Largest force at the end (also when no step was needed).
        resting: Whether forces and momenta are below the tolerance.
    """

    point: Point
    steps: Int[Array, ""]
    energy: Float[Array, " s"]
    max_force: Float[Array, " s"]
    pairs: PairList
    reference: Position
    stale: Bool[Array, ""]
    largest: Scalar
    resting: Bool[Array, ""]


class Reach(eqx.Module):
    """How far pairs are listed.

    Attributes:
        longest: Largest interaction range, units of length; infinite where pairs are not listed.
        skin: Extra reach of the list, units of length: it is stale once a particle has moved half of it.
        grid: How candidate pairs are found; no candidates where pairs are not listed.
    """

    longest: Scalar | float
    skin: Scalar | float
    grid: Grid = eqx.field(static=True)


def _surface(state: State, scales: Scales) -> Surface:
    energy_and_force: Callable[[Position], tuple[Scalar, Position]]
    if isinstance(state.potential, PairPotential):
        energy_and_force = state.potential.along(state.configuration, state.pairs)
    else:
        energy_and_force = lambda x: energy_and_forces(state.at(x, state.parameters))  # noqa: E731

    def evaluate(position: Position) -> tuple[Scalar, Position]:
        height, force = energy_and_force(position)
        return height / scales.energy, state.configuration.on_free(force) / scales.energy

    return Surface(
        evaluate, softness(state, scales), lightness(state, scales), longest_step(state, scales), scales.length
    )


@jax.jit
def start(minimizer: Minimizer, state: State, scales: Scales | None = None) -> Point:
    """Return the minimiser's first point, in the scales that the law declares where none are given."""
    return minimizer.start(_surface(state, scales or Scales.declared(state)), state.position)


def find_pairs(state: State, position: Position, reach: Reach, capacity: int) -> tuple[PairList, Reach]:
    """List the pairs within reach plus skin from the host, with more room where they do not fit.

    Args:
        state: Law, parameters, species and box; its positions and pairs are not used.
        position: Real coordinates, shape (n, d).
        reach: How far, and by which grid.
        capacity: Number of entries to pad to; 0 for one that fits.

    Returns:
        The list and the reach with a grid that has room for its candidates.
    """
    if not reach.grid.n_candidates:
        return no_pairs(state.configuration.dimension), reach
    ranges = native_ranges(state)
    if ranges is not None:
        found = listed(position, Cell.of(state.configuration.box), ranges.kind, ranges.reach + float(reach.skin))
        return found.padded(room_for(found.n_pairs, len(position), reach.grid, capacity)), reach
    pairs, n_found, lacking = _listed(state, position, reach, max(capacity, 1))
    if bool(lacking):
        reach = Reach(reach.longest, reach.skin, fitting_grid(state, position, reach.longest, reach.skin))
        pairs, n_found, _ = _listed(state, position, reach, max(capacity, 1))
    room = room_for(int(n_found), len(position), reach.grid, capacity)
    if room > capacity:
        pairs, _, _ = _listed(state, position, reach, room)
    return (in_order(pairs) if reach.grid.cells else pairs), reach


def room_for(n_found: int, n: int, grid: Grid, capacity: int) -> int:
    """Return the capacity, or a standard one with a twentieth to spare where that does not suffice."""
    if n_found <= capacity:
        return capacity
    least = math.ceil(standard_capacity(1.05 * n_found / n) * n)
    return max(1, least if grid.cells else min(least, n * (n - 1) // 2))


def fitting_grid(state: State, position: Position, longest: float | Scalar, skin: float | Scalar) -> Grid:
    """Return a grid with room for the candidate pairs at these positions."""
    return grid_for(np.asarray(position), state.configuration.box, float(longest + skin))


def _list(state: State, position: Position, reach: Reach, capacity: int) -> tuple[PairList, Array, Array]:
    law, configuration = state.potential, state.configuration

    def within(pairs: PairList) -> Array:
        return law.pair_ranges(configuration, pairs) + reach.skin

    return compiled_pairs(
        position,
        configuration.box,
        reach.longest + reach.skin,
        within,
        grid=reach.grid,
        capacity=capacity,
    )


_listed = functools.partial(jax.jit, static_argnums=3)(_list)


@jax.jit
def advance(
    minimizer: Minimizer,
    point: Point,
    template: State,
    pairs: PairList,
    reference: Position,
    tolerance: Scalar | float,
    reach: Reach,
    n_steps: Int[Array, ""] | int,
    momentum: Scalar | float = jnp.inf,
    scales: Scales | None = None,
) -> Segment:
    """Run a minimiser until it comes to rest, its pairs no longer fit into their list, or it has taken ``n_steps``.

    Args:
        minimizer: The rule.
        point: Where it stands.
        template: The state whose law, parameters and species are meant; its positions and pairs are not used, so that
            the caller need not rebuild it for every segment.
        pairs: The pairs within reach plus skin.
        reference: Positions for which they were listed, shape (n, d).
        tolerance: Largest force at which to stop, units of energy per length.
        reach: How far pairs are listed.
        n_steps: Most steps to take, at most SEGMENT.
        momentum: Largest momentum at which to stop, same units (FIRE's, where frequencies are of order one). Where
            nothing else judges the state this should be the tolerance: small forces alone also occur on the way through
            a shallow basin or past a saddle. But rattlers fly on for thousands of steps.
        scales: Units and how masses are found, the same in all segments; by default those that the law declares.
    """
    state = template.moved(point.position, pairs)
    measure = scales or Scales.declared(state)
    unit = measure.energy
    paired, measured = reach.grid.n_candidates > 0, measure.from_pairs

    def relisted(segment: Segment) -> Segment:
        position = segment.point.position
        found, n_found, lacking = _list(state, position, reach, pairs.mask.shape[0])
        changes = {"pairs": found, "reference": position, "stale": (n_found > pairs.mask.shape[0]) | lacking}
        return replaced(segment, changes)

    def at_rest(point: Point) -> Bool[Array, ""]:
        # written so that NaN counts as at rest and ends the loop
        return ~(
            (largest_norm(point.force) * unit > tolerance)
            | (minimizer.momentum(point) * (unit / measure.length) > momentum)
        )

    def unfinished(segment: Segment) -> Bool[Array, ""]:
        return (segment.steps < n_steps) & ~segment.resting & ~segment.stale

    def stretch(segment: Segment) -> Segment:
        # pairs and reference stay out of the loop that runs them: carried along they cost a quarter of its time
        reference, begun = segment.reference, segment.steps
        surface = _surface(state.moved(segment.point.position, segment.pairs), measure)
        # where masses are measured they change fast at first
        until = jnp.minimum(n_steps, jnp.maximum(12, 2 * begun)) if measured else n_steps

        def step(held: Segment) -> Segment:
            new = minimizer.step(surface, held.point)
            largest = largest_norm(new.force) * unit
            changes = {
                "point": new,
                "steps": held.steps + 1,
                "energy": held.energy.at[held.steps].set(new.energy * unit),
                "max_force": held.max_force.at[held.steps].set(largest),
                "stale": 2.0 * largest_norm(new.position - reference) > reach.skin if paired else jnp.array(False),
                "largest": largest,
                "resting": at_rest(new),
            }
            return replaced(held, changes)

        light = replaced(segment, {"pairs": None, "reference": None})
        done = jax.lax.while_loop(lambda held: unfinished(held) & (held.steps < until), step, light)
        done = replaced(done, {"pairs": segment.pairs, "reference": reference})
        return jax.lax.cond(done.stale, relisted, lambda same: same, done) if paired else done

    blank = jnp.full(SEGMENT, jnp.nan)
    first = Segment(
        point=point,
        steps=jnp.zeros((), int),
        energy=blank,
        max_force=blank,
        pairs=jax.tree.map(jnp.asarray, pairs),
        reference=reference,
        stale=jnp.zeros((), bool),
        largest=largest_norm(point.force) * unit,
        resting=at_rest(point),
    )
    return jax.lax.while_loop(unfinished, stretch, first)
