"""A relaxed state relaxed again with other parameters: the way to follow it, and the witness of its derivatives."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from mdsens.energy.parameters import Parameters
from mdsens.relaxation.minimum import relax
from mdsens.relaxation.records import Relaxation
from mdsens.results import Verdict

_TIGHTEST = 1e-13


def rerelaxed(
    relaxation: Relaxation, direction: Parameters, step: float, rate: Float[np.ndarray, "n d"] | None = None
) -> Relaxation:
    """Relax again with parameters p + step * direction, as tightly as the machine allows.

    Args:
        relaxation: The relaxed state x*.
        direction: What the parameters do per unit of the step.
        step: The step.
        rate: Derivative of the positions, shape (n, d): the start is x* + step * rate; x* itself without it.
    """
    state = relaxation.state
    moved = jax.tree.map(lambda p, dp: p + step * dp, state.parameters, direction)
    position = state.position if rate is None else state.position + step * jnp.asarray(rate)
    start = state.at(position, moved).configuration
    tightest = _TIGHTEST * state.potential.stiffness  # stiff laws leave larger forces to rounding
    settings = dataclasses.replace(
        relaxation.settings, max_force=min(relaxation.settings.max_force, tightest), newton=True
    )
    tight = relax(moved.potential, start, settings, refuse=False)
    if tight.verdict is Verdict.CONVERGED:
        return tight
    return relax(moved.potential, start, dataclasses.replace(settings, max_force=1e-12), refuse=False)
