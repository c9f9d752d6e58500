"""Replicas of one system under jax-md's thermostats, in compiled segments that list their pairs themselves.

All replicas of a group advance together under ``vmap``. Their pairs are listed anew as soon as any of them has used up
its skin: the decision is taken over the whole group, so that it stays a branch and does not become work that is thrown
away.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from mdsens.energy import PairPotential, State, energy, energy_and_forces
from mdsens.energy.parameters import Parameters
from mdsens.equilibrium.observables import Observable, sampled_energy, value_and_slopes
from mdsens.equilibrium.samples import Integrator
from mdsens.machine.jax_md import part
from mdsens.neighbors import Grid, PairList, compiled_pairs, on_device, padded_pairs
from mdsens.types import Position, Scalar, replaced

_REPLICAS = "replicas"  # name of the axis over which all replicas agree to list pairs
_COMING = 2.0  # the next step is expected to be no longer than this many of the last

Walker = Any  # a state of jax-md's integrator: position, momentum, and what the thermostat remembers
Step = Callable[[Walker], Walker]


class Plan(eqx.Module):
    """What is compiled.

    Attributes:
        integrator: The thermostat.
        observables: What is measured.
        sample_every: Steps between samples.
        n_samples: Samples per segment.
        grid: How candidate pairs are found; no candidates where pairs are not listed.
        capacity: Room for listed pairs.
        moves_box: Whether a derivative is taken in the box.
    """

    integrator: Integrator = eqx.field(static=True)
    observables: tuple[Observable, ...]
    sample_every: int = eqx.field(static=True)
    n_samples: int = eqx.field(static=True)
    grid: Grid = eqx.field(static=True)
    capacity: int = eqx.field(static=True)
    moves_box: bool = eqx.field(static=True)


class Conditions(eqx.Module):
    """The numbers that may change without compiling anew.

    Attributes:
        temperature: k_B T, units of energy.
        timestep: Units of time.
        friction: Of the Langevin thermostat, units of inverse time.
        thermostat_time: Period of the Nose-Hoover chain, units of time.
        longest: Largest interaction range, units of length; infinite where pairs are not listed.
        skin: Extra reach of the pair list, units of length.
    """

    temperature: Scalar
    timestep: Scalar
    friction: Scalar
    thermostat_time: Scalar
    longest: Scalar
    skin: Scalar


class Measured(eqx.Module):
    """Samples of one segment; under ``vmap`` with a leading axis of replicas.

    Attributes:
        values: Observables A, shape (s, o).
        slopes: dA/dp, shape (s, o, k).
        energy_slopes: dU/dp, shape (s, k).
        log_weights: Logarithm of every sample's weight, shape (s,).
        kinetic_temperature: Twice the kinetic energy per degree of freedom, shape (s,).
    """

    values: Float[Array, "*s o"]
    slopes: Float[Array, "*s o k"]
    energy_slopes: Float[Array, "*s k"]
    log_weights: Float[Array, " *s"]
    kinetic_temperature: Float[Array, " *s"]


class _Course(eqx.Module):
    """Where a replica stands within a segment; the flags are common to all replicas of the group."""

    walker: Walker
    pairs: PairList
    reference: Position
    steps: Int[Array, ""]
    spent: Bool[Array, ""]
    lacking: Bool[Array, ""]
    outrun: Bool[Array, ""]


@eqx.filter_jit
def start(plan: Plan, state: State, conditions: Conditions, keys: Array) -> Walker:
    """Return one walker per key, at the positions of a state with its pairs, with momenta of the temperature."""
    begin, _ = _integrator(plan, conditions, lambda position: energy_and_forces(state.moved(position, state.pairs))[1])

    def one(key: Array) -> Walker:
        walker = begin(key, state.position, mass=jnp.ones(()))
        if plan.integrator == "nose_hoover":
            # jax-md counts n d degrees of freedom; the total momentum is conserved, and zero
            walker = walker.set(chain=walker.chain.set(degrees_of_freedom=_degrees_of_freedom(plan, state)))
        return walker

    return jax.vmap(one)(keys)


@eqx.filter_jit
def run_segment(
    plan: Plan, template: State, conditions: Conditions, tangents: Parameters, walkers: Walker
) -> tuple[Walker, Measured, Bool[Array, " r"], Bool[Array, " r"]]:
    """Advance every replica by a segment's samples.

    Args:
        plan: What is compiled.
        template: Law, parameters, species and box; its positions and pairs are not used.
        conditions: Temperature and the like.
        tangents: Directions of the parameters, leading axis k of every leaf.
        walkers: Where the replicas stand, leading axis r of every leaf.

    Returns:
        Where they then stand; the samples; whether pairs found no room in their list, and whether a particle went
        farther than the skin in one step. With either the segment must not be used.
    """

    def one(walker: Walker) -> tuple[Walker, Measured, Array, Array]:
        off = jnp.zeros((), bool)
        none = np.zeros(0, int)
        shift = np.zeros((template.configuration.dimension, 0), int)
        nothing = on_device(padded_pairs(none, none, shift, plan.capacity))
        course = _Course(walker, nothing, walker.position, jnp.zeros((), int), jnp.array(_is_listed(plan)), off, off)

        def sample(held: _Course, _: None) -> tuple[_Course, Measured]:
            held = _advanced(plan, template, conditions, held)
            return held, _measured(plan, template, conditions, tangents, held)

        last, measured = jax.lax.scan(sample, course, None, length=plan.n_samples)
        return last.walker, measured, last.lacking, last.outrun

    return jax.vmap(one, axis_name=_REPLICAS)(walkers)


def _advanced(plan: Plan, template: State, conditions: Conditions, course: _Course) -> _Course:
    """Take the steps of one sample; after one that found no room for its pairs nothing is done any more."""

    def unfinished(held: _Course) -> Bool[Array, ""]:
        return (held.steps < plan.sample_every) & ~held.lacking

    def running(held: _Course) -> Bool[Array, ""]:
        return unfinished(held) & ~held.spent

    def stretch(held: _Course) -> _Course:
        if _is_listed(plan):
            held = jax.lax.cond(held.spent, relisted, lambda same: same, held)
        # pairs and reference stay out of the loop that runs them, where carrying them along would cost
        light = replaced(held, {"pairs": None, "reference": None})
        done = jax.lax.while_loop(running, _stepper(plan, template, conditions, held), light)
        return replaced(done, {"pairs": held.pairs, "reference": held.reference})

    def relisted(held: _Course) -> _Course:
        pairs, lacking = _listed(plan, template, conditions, held.walker.position)
        changes = {"pairs": pairs, "reference": held.walker.position, "lacking": lacking}
        return replaced(held, changes | {"spent": jnp.zeros((), bool)})

    begun = replaced(course, {"steps": jnp.zeros((), int)})
    return jax.lax.while_loop(unfinished, stretch, begun)


def _stepper(plan: Plan, template: State, conditions: Conditions, course: _Course) -> Callable[[_Course], _Course]:
    _, step = _integrator(plan, conditions, _force(plan, template, course.pairs, course.reference))
    reference, skin = course.reference, conditions.skin

    def taken(held: _Course) -> _Course:
        walker = step(held.walker)
        changes: dict[str, Any] = {"walker": walker, "steps": held.steps + 1}
        if _is_listed(plan):
            moved = _largest(walker.position - reference)
            coming = _COMING * _largest(walker.position - held.walker.position)
            changes["spent"] = _anywhere(2.0 * (moved + coming) > skin)
            changes["outrun"] = held.outrun | _anywhere(2.0 * moved > skin)
        return replaced(held, changes)

    return taken


def _measured(plan: Plan, template: State, conditions: Conditions, tangents: Parameters, course: _Course) -> Measured:
    walker = course.walker
    state = template.moved(walker.position, course.pairs)
    found = [value_and_slopes(f, state, tangents, moves_box=plan.moves_box) for f in plan.observables]
    height, energy_slopes = value_and_slopes(energy, state, tangents, moves_box=plan.moves_box)
    twice_kinetic = jnp.sum(walker.momentum**2 / walker.mass)
    return Measured(
        values=jnp.stack([value for value, _ in found]),
        slopes=jnp.stack([slopes for _, slopes in found]),
        energy_slopes=energy_slopes,
        log_weights=(sampled_energy(state) - height) / conditions.temperature,
        kinetic_temperature=twice_kinetic / _degrees_of_freedom(plan, template),
    )


def _integrator(
    plan: Plan, conditions: Conditions, force: Callable[[Position], Position]
) -> tuple[Callable[..., Walker], Step]:
    """Return jax-md's functions that begin and take a step, in positions that are not wrapped."""
    simulate = part("simulate")

    def force_fn(position: Position) -> Position:
        return force(position)

    def shift(position: Position, displacement: Position) -> Position:
        return position + displacement

    dt, temperature = conditions.timestep, conditions.temperature
    if plan.integrator == "langevin":
        return simulate.nvt_langevin(force_fn, shift, dt, temperature, gamma=conditions.friction)
    return simulate.nvt_nose_hoover(force_fn, shift, dt, temperature, tau=conditions.thermostat_time)


def _degrees_of_freedom(plan: Plan, template: State) -> int:
    n, d = template.position.shape
    return n * d - (d if plan.integrator == "nose_hoover" else 0)


def _force(plan: Plan, template: State, pairs: PairList, reference: Position) -> Callable[[Position], Position]:
    """Return the forces as a function of the position, pairs held."""
    if isinstance(template.potential, PairPotential):
        evaluate = template.potential.along(template.configuration, pairs)
        return lambda position: evaluate(position)[1]
    return lambda position: energy_and_forces(template.moved(position, pairs))[1]


def _listed(
    plan: Plan, template: State, conditions: Conditions, position: Position
) -> tuple[PairList, Bool[Array, ""]]:
    """Return the pairs within reach plus skin, and whether there was no room for them in any replica."""
    law, configuration = template.potential, template.configuration

    def within(pairs: PairList) -> Array:
        return law.pair_ranges(configuration, pairs) + conditions.skin

    reach = conditions.longest + conditions.skin
    pairs, n_found, lacking = compiled_pairs(
        position, configuration.box, reach, within, grid=plan.grid, capacity=plan.capacity
    )
    return pairs, _anywhere((n_found > plan.capacity) | lacking)


def _is_listed(plan: Plan) -> bool:
    return plan.grid.n_candidates > 0


def _anywhere(flag: Bool[Array, ""]) -> Bool[Array, ""]:
    """Return whether the flag is set in any replica: one truth value for the whole group."""
    return jax.lax.pmax(flag.astype(jnp.int32), _REPLICAS) > 0


def _largest(displacement: Position) -> Scalar:
    return jnp.sqrt(jnp.max(jnp.sum(displacement**2, axis=-1)))
