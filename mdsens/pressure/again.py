"""A relaxed state relaxed again with other parameters: the way to follow it, and the witness of its derivatives."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from mdsens.energy import Barostat
from mdsens.energy.parameters import Parameters
from mdsens.energy.strain import periodic_box
from mdsens.pressure.relaxation import relax_under
from mdsens.relaxation import Relaxation, relax
from mdsens.results import Verdict
from mdsens.types import replaced

_TIGHTEST = 1e-13


def rerelaxed(
    relaxation: Relaxation,
    direction: Parameters,
    step: float,
    rate: Float[np.ndarray, "n d"] | None = None,
    box_rate: Float[np.ndarray, "d d"] | None = None,
) -> Relaxation:
    """Relax again with parameters p + step * direction; at fixed box as tightly as the machine allows.

    Args:
        relaxation: The relaxed state x*.
        direction: What the parameters, the pressure among them, do per unit of the step.
        step: The step.
        rate: Derivative of the positions, shape (n, d): the start is x* + step * rate; x* itself without it.
        box_rate: Where the box relaxes, the derivative of its matrix, shape (d, d), from which it starts.
    """
    state = relaxation.state
    moved = jax.tree.map(lambda p, dp: p + step * dp, state.parameters, direction)
    position = state.position if rate is None else state.position + step * jnp.asarray(rate)
    if box_rate is not None and relaxation.box is not None:
        matrix = periodic_box(state).matrix + step * jnp.asarray(box_rate)
        moved = replaced(moved, {"box": replaced(moved.box, {"matrix": matrix})})
    start = state.at(position, moved).configuration
    if relaxation.box is not None and state.barostat is not None:
        barostat = Barostat(moved.pressure, state.barostat.strains)
        return relax_under(barostat, moved.potential, start, relaxation.box.settings)
    tightest = _TIGHTEST * state.potential.stiffness  # stiff laws leave larger forces to rounding
    settings = dataclasses.replace(
        relaxation.settings, max_force=min(relaxation.settings.max_force, tightest), newton=True
    )
    tight = relax(moved.potential, start, settings, refuse=False)
    if tight.verdict is Verdict.CONVERGED:
        return tight
    return relax(moved.potential, start, dataclasses.replace(settings, max_force=1e-12), refuse=False)
