"""Where a relaxation of contacts of very unlike energies begins: at the minimum of milder ones.

Clusters of stiff particles between soft ones move as a whole, and masses cannot make them as fast as the others: with
energies a million times apart a minimiser takes as many steps as the root of that. With all energies raised to a power
below one the way is short, and from its end so is that to a larger power.
"""

from __future__ import annotations

import math
from typing import cast

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool

from mdsens.energy import PairPotential, Potential, State, free_forces
from mdsens.energy.stiffness import scales
from mdsens.relaxation.masses import curvature_felt

_MILD = 1e3  # ratio of energies up to which masses do
_STAGE = 1e2  # by which it grows from one power to the next
_FAR = 1e-2  # of the unit of length: a start that near to rest stays in its own basin


def milder(potential: Potential) -> Potential | None:
    """Return the law with a hundredth of its ratio of energies; None where that is below a thousand."""
    if not (isinstance(potential, PairPotential) and potential.contact):
        return None
    units = [node.unit for node in potential.nodes()]
    leaves, structure = jax.tree.flatten(potential)
    values = [np.ravel(leaf) for leaf, unit in zip(leaves, units, strict=True) if unit == "energy"]
    top, least = (float(f(np.concatenate(values or [np.ones(1)]))) for f in (np.max, np.min))
    if not least > 0 or top / least <= _MILD:
        return None
    power = 1 - math.log(_STAGE) / math.log(top / least)
    compressed = [
        top * (leaf / top) ** power if unit == "energy" else leaf for leaf, unit in zip(leaves, units, strict=True)
    ]
    return cast(Potential, jax.tree.unflatten(structure, compressed))


@jax.jit
def is_far_from_rest(state: State) -> Bool[Array, ""]:
    """Return whether some particle would have to move far for its force to vanish."""
    away = jnp.linalg.norm(free_forces(state), axis=1) / jnp.maximum(curvature_felt(state, near=True), 1e-300)
    return jnp.max(away) > _FAR * scales(state.potential, state.configuration)[0]
