"""Differentiation through the iterations of FIRE: what implicit differentiation replaces, kept for comparison.

The tangent of every iterate is carried forward with it (forward mode, memory independent of the number of steps), so
that one run gives the unrolled derivative after any number of steps. It is not the derivative of the relaxed state: it
is wrong before the minimiser has converged, and it drifts along zero modes after.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, Int, PyTree

from mdsens.energy import Potential, State, max_reach
from mdsens.energy.parameters import Parameters
from mdsens.errors import NumericalError
from mdsens.relaxation import Fire
from mdsens.relaxation.descent import SEGMENT, Reach, advance, find_pairs, fitting_grid, start
from mdsens.response import response_at
from mdsens.sensitivity.positions import forward
from mdsens.types import Configuration


@dataclasses.dataclass(frozen=True)
class Iterates:
    """Sensitivities along the iterations of one minimisation.

    Attributes:
        step: FIRE steps taken, shape (s,).
        max_force: Largest force at those iterates, shape (s,).
        position: The iterates, shape (s, n, d).
        unrolled: Derivative of the iterate through all iterations before it, shape (s, n, d).
        implicit: :math:`-H^{+} U_{xp}` at the same iterates (labelled "at any point": no derivative of a relaxed state
            before convergence), NaN where no backbone exists, shape (s, n, d).
    """

    step: np.ndarray
    max_force: np.ndarray
    position: np.ndarray
    unrolled: np.ndarray
    implicit: np.ndarray


def differentiate_iterates(
    potential: Potential,
    configuration: Configuration,
    tangent: Parameters,
    steps: Sequence[int],
    *,
    fire: Fire | None = None,
    skin: float = 0.4,
) -> Iterates:
    """Run FIRE from a configuration and differentiate its iterates in one parameter direction.

    Args:
        potential: The law, with pairwise range.
        configuration: Where to start (the start does not depend on the parameter).
        tangent: Direction dp, shaped like the parameters.
        steps: Increasing step counts at which to record, >= 1.
        fire: Settings of FIRE.
        skin: Extra reach of the pair list in units of the range.
    """
    fire = fire or Fire()
    longest = max_reach(potential, configuration)
    state = State.unlisted(configuration, potential)
    reach = Reach(longest, skin * longest, fitting_grid(state, state.position, longest, skin * longest))
    state, reach = _listed(state, reach)
    point, change = _start_with_tangent(fire, state, tangent)
    taken, records = 0, []
    for step in steps:
        while taken < step:
            n_steps = min(SEGMENT, step - taken)
            segment, change = _advance_with_tangent(fire, point, change, state, tangent, reach, n_steps)
            point, taken = segment.point, taken + int(segment.steps)
            state, reach = _listed(state.moved(point.position, state.pairs), reach)
        records.append(
            (float(segment.largest), np.asarray(state.position), np.asarray(change.position), _implicit(state, tangent))
        )
    largest, position, unrolled, implicit = (np.stack(part) for part in zip(*records, strict=True))
    return Iterates(np.asarray(steps), largest, position, unrolled, implicit)


def _implicit(state: State, tangent: Parameters) -> np.ndarray:
    stacked = jax.tree.map(lambda leaf: leaf[None], tangent)
    try:
        return forward(response_at(state), stacked)[0]
    except NumericalError:
        return np.full(state.position.shape, np.nan)


def _listed(state: State, reach: Reach) -> tuple[State, Reach]:
    pairs, reach = find_pairs(state, state.position, reach, len(state.pairs.mask))
    return state.with_pairs(pairs), reach


@jax.jit
def _start_with_tangent(fire: Fire, state: State, tangent: Parameters) -> tuple[PyTree, PyTree]:
    return eqx.filter_jvp(lambda p: start(fire, state.at(state.position, p)), (state.parameters,), (tangent,))


@jax.jit
def _advance_with_tangent(
    fire: Fire,
    point: PyTree,
    change: PyTree,
    state: State,
    tangent: Parameters,
    reach: Reach,
    n_steps: Int[Array, ""] | int,
) -> tuple[PyTree, PyTree]:
    def run(m: PyTree, p: Parameters) -> PyTree:
        return advance(fire, m, state.at(state.position, p), state.pairs, state.position, -1.0, reach, n_steps)

    segment, segment_change = eqx.filter_jvp(run, (point, state.parameters), (change, tangent))
    return segment, segment_change.point
