"""FIRE from jax-md in compiled segments: small systems list neighbours inside them, large ones on the host between."""

from __future__ import annotations

import functools
import importlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from mdsens.energy import PairPotential, Potential, State, energy_at, forces, max_force
from mdsens.pairs import SMALL, PairList, compiled_pairs
from mdsens.types import Position, Scalar, is_concrete, replaced

# Most that a particle moves in a step, units of sqrt(epsilon/k) with the law's stiffness k: cores that overlap at a
# random start push without bound. Soft spheres never come near it.
LONGEST_STEP = 0.7
SEGMENT = 200  # most steps between two looks from the host: progress, history, path


class Fire(eqx.Module):
    """Settings of jax-md's FIRE (time in units of sqrt(mass/k) with the law's stiffness k).

    Attributes:
        dt_start: First time step, > 0.
        dt_max: Largest time step, >= dt_start.

    References:
        E. Bitzek, P. Koskinen, F. Gahler, M. Moseler, P. Gumbsch, Phys. Rev. Lett. 97, 170201 (2006),
        doi:10.1103/PhysRevLett.97.170201.
    """

    dt_start: float = eqx.field(static=True, default=0.1)
    dt_max: float = eqx.field(static=True, default=0.4)

    def functions(self, state: State, length: Scalar | float, unit: Scalar | float) -> tuple[Any, Any]:
        """Return jax-md's (init, apply) for the energy U/unit with particles of mass stiffness/length^2."""

        def reduced_force(position: Position, pairs: PairList) -> Position:
            return forces(state.at(position, state.parameters).with_pairs(pairs)) / unit

        longest = LONGEST_STEP * length / state.potential.stiffness**0.5

        def shift(position: Position, step: Position, pairs: PairList) -> Position:
            return position + _shortened(step, longest)

        init, apply = _jax_md_minimize().fire_descent(reduced_force, shift, dt_start=self.dt_start, dt_max=self.dt_max)
        return (lambda position, pairs: init(position, mass=state.potential.stiffness / length**2, pairs=pairs)), apply


@functools.cache
def _jax_md_minimize() -> Any:
    """Import jax-md, which takes seconds, when it is first needed, in a thread of its own.

    It computes constants while it is imported, and we may be inside a trace, which would turn them into tracers that
    stay behind; traces belong to threads.
    """
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(importlib.import_module, "jax_md.minimize").result()


def _shortened(step: Position, longest: Scalar | float) -> Position:
    """Return the step with no particle's move above ``longest``; shorter moves stay what they are, to the last bit."""
    square = jnp.sum(step**2, axis=-1, keepdims=True)
    long = square > longest**2  # the root is not taken elsewhere, where its slope may be infinite
    return jnp.where(long, step * (longest / jnp.sqrt(jnp.where(long, square, 1.0))), step)


class Segment(eqx.Module):
    """What one compiled stretch of FIRE returns.

    Attributes:
        minimizer: jax-md's FIRE state, to continue from.
        steps: Steps taken, <= SEGMENT.
        energy: Energy after every step, shape (SEGMENT,), NaN beyond ``steps``.
        max_force: Largest force after every step, same shape.
        pairs: The pair list at the end.
        reference: Positions for which it was made, shape (n, d).
        stale: Whether the list may lack pairs: the caller must list them before going on.
        largest: Largest force at the end (also when no step was needed).
        resting: Whether forces and momenta are below the tolerance.
    """

    minimizer: Any
    steps: Int[Array, ""]
    energy: Float[Array, " s"]
    max_force: Float[Array, " s"]
    pairs: PairList
    reference: Position
    stale: Bool[Array, ""]
    largest: Scalar
    resting: Bool[Array, ""]


def scales(potential: Potential, params: Any) -> tuple[Scalar | float, Scalar | float]:
    """Return the length and energy units of a potential: the largest entry of each kind, 1 where none is declared."""
    namespace: Any = np if is_concrete(params) else jnp  # on the host NumPy answers 50 times faster

    def largest(kind: str) -> Any:
        fields = [name for name, unit in potential.units.items() if unit == kind]
        leaves = [namespace.asarray(leaf).max() for name in fields for leaf in jax.tree.leaves(getattr(params, name))]
        return functools.reduce(namespace.maximum, leaves) if leaves else 1.0

    return largest("length"), largest("energy")


@jax.jit
def start(fire: Fire, state: State) -> Any:
    """Return FIRE's initial state, at rest."""
    init, _ = fire.functions(state, *scales(state.potential, state.params))
    return init(state.position, state.pairs)


@jax.jit
def advance(
    fire: Fire,
    minimizer: Any,
    template: State,
    pairs: PairList,
    reference: Position,
    tolerance: Scalar | float,
    reach: Scalar | float,
    skin: Scalar | float,
    n_steps: Int[Array, ""] | int,
) -> Segment:
    """Run FIRE until it comes to rest, its pair list is stale, or it has taken ``n_steps``.

    At rest means that neither a force nor a momentum (in FIRE's units, where frequencies are of order one) exceeds the
    tolerance: small forces alone also occur on the way through a shallow basin or past a saddle.

    Args:
        fire: Settings.
        minimizer: FIRE's state.
        template: The state whose law, parameters and species are meant; its positions and pairs are not used, so that
            the caller need not rebuild it for every segment.
        pairs: The pairs within reach plus skin.
        reference: Positions for which they were listed, shape (n, d).
        tolerance: Largest force and momentum at which to stop, units of energy per length.
        reach: Largest interaction range, units of length; infinite for energies without pairs.
        skin: Extra reach of the list, units of length: it is stale once a particle has moved half of it.
        n_steps: Most steps to take, at most SEGMENT.
    """
    state = template.moved(minimizer.position, pairs)
    length, unit = jax.lax.stop_gradient(scales(state.potential, state.params))
    _, apply = fire.functions(state, length, unit)
    lists_inside = state.configuration.n_particles <= SMALL and isinstance(state.potential, PairPotential)

    def relisted(segment: Segment) -> Segment:
        found, overflow = compiled_pairs(
            segment.minimizer.position, state.configuration.box, reach + skin, pairs.mask.shape[0]
        )
        where = lambda s: (s.pairs, s.reference, s.stale)  # noqa: E731
        return eqx.tree_at(where, segment, (found, segment.minimizer.position, overflow))

    def at_rest(minimizer: Any) -> Bool[Array, ""]:
        # written so that NaN counts as at rest and ends the loop
        return ~(jnp.maximum(max_force(minimizer.force), max_force(minimizer.momentum)) * unit > tolerance)

    def unfinished(segment: Segment) -> Bool[Array, ""]:
        return (segment.steps < n_steps) & ~segment.resting & ~segment.stale

    def stretch(segment: Segment) -> Segment:
        # pairs and reference stay out of the loop that runs them: carried along they cost a quarter of its time
        listed, reference = state.with_pairs(segment.pairs), segment.reference

        def step(held: Segment) -> Segment:
            new = apply(held.minimizer, pairs=listed.pairs)
            largest = max_force(new.force) * unit
            energy = energy_at(listed, new.position, state.parameters)
            moved = jnp.max(jnp.sum((new.position - reference) ** 2, axis=-1))
            changes = {
                "minimizer": new,
                "steps": held.steps + 1,
                "energy": held.energy.at[held.steps].set(energy),
                "max_force": held.max_force.at[held.steps].set(largest),
                "stale": moved > (0.5 * skin) ** 2,
                "largest": largest,
                "resting": at_rest(new),
            }
            return replaced(held, changes)

        light = replaced(segment, {"pairs": None, "reference": None})
        done = jax.lax.while_loop(unfinished, step, light)
        done = replaced(done, {"pairs": segment.pairs, "reference": reference})
        return jax.lax.cond(done.stale, relisted, lambda same: same, done) if lists_inside else done

    blank = jnp.full(SEGMENT, jnp.nan)
    first = Segment(
        minimizer=minimizer,
        steps=jnp.zeros((), int),
        energy=blank,
        max_force=blank,
        pairs=jax.tree.map(jnp.asarray, pairs),
        reference=reference,
        stale=jnp.zeros((), bool),
        largest=max_force(minimizer.force) * unit,
        resting=at_rest(minimizer),
    )
    return jax.lax.while_loop(unfinished, stretch, first)
