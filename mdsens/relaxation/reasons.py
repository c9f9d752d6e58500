"""Which particle keeps a relaxation from its end, in words."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from mdsens.energy import State, free_forces
from mdsens.relaxation.relaxed import History

_HIGH = 10.0  # times the median: a force that stands out
_forces = jax.jit(free_forces)


def reason(state: State, history: History) -> str:
    """Return a sentence that names the particle with the largest force, its neighbour, and how the energy went."""
    sizes = np.linalg.norm(np.asarray(_forces(state)), axis=1)
    worst = int(np.argmax(np.where(np.isfinite(sizes), sizes, np.inf)))
    species = state.configuration.species_names[int(state.configuration.species[worst])]
    who = f"particle {worst} (species {species}) feels the largest force, {sizes[worst]:.1e}"
    median = float(np.median(sizes))
    if not np.isfinite(sizes[worst]):
        who = f"particle {worst} (species {species}) has the force {sizes[worst]}"
    elif sizes[worst] > _HIGH * median:
        who += f", {sizes[worst] / max(median, 1e-300):.0e} times the median"
    parts = [who, _nearest(state, worst), _trend(history)]
    sentence = "; ".join(part for part in parts if part)
    return f"{sentence[0].upper()}{sentence[1:]}."


def _nearest(state: State, particle: int) -> str:
    """Say who is near."""
    position = np.asarray(state.position)
    if len(position) == 1 or not np.isfinite(position).all():
        return ""
    separation = position - position[particle]
    apart = np.linalg.norm(np.asarray(state.configuration.box.displacement(jnp.asarray(separation))), axis=1)
    apart[particle] = np.inf
    nearest = int(np.argmin(apart))
    return f"its nearest neighbour is particle {nearest} at {apart[nearest]:.3g}"


def _trend(history: History) -> str:
    """Say what the energy did, from half of the way on."""
    height = history.energy
    if len(height) < 2:
        return ""
    if not np.isfinite(height[-1]):
        return f"the energy is {height[-1]}"
    change = height[-1] - height[len(height) // 2]
    did, n_steps = "rose" if change > 0 else "fell", len(height) - len(height) // 2
    return f"over the last {n_steps} steps the energy {did} by {abs(change):.1e} to {height[-1]:.6g}"
