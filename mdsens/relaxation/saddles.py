r"""The way off a saddle: along the mode of negative curvature, as far as the energy falls.

Near a saddle forces are small, and a minimiser may rest there when the motion off it is slower than the rounding of the
forces, as that of stiff contacts among soft ones can be.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse.linalg as spla
from jaxtyping import Array, Float

from mdsens.energy import State, energy
from mdsens.hessian.any_energy import unknowns_of
from mdsens.linear import Factor
from mdsens.relaxation.relaxed import Relaxation
from mdsens.types import Position

_SHORTEST = 2.0**-12  # of the longest move
_FEW = 4  # unknowns: too few for a Lanczos iteration
_TOLERANCE = 1e-2  # of the Lanczos iteration: any direction of negative curvature will do


def off_the_saddle(found: Relaxation, longest: float) -> Position | None:
    """Return positions of lower energy along the mode of negative curvature; None where no energy is lower.

    Args:
        found: A relaxation that ended at a saddle, its pairs listed.
        longest: Most that a particle may move, units of length: pairs stay listed.
    """
    assert found.factor is not None
    mode = _downhill(found.factor)
    if mode is None:
        return None
    field = np.zeros(found.state.position.size)
    field[unknowns_of(found.loaded, found.network.backbone)[found.factor.order]] = mode
    field = field.reshape(found.state.position.shape)
    field *= longest / np.sqrt(np.max(np.sum(field**2, axis=1)))
    lengths = 2.0 ** -np.arange(-np.log2(_SHORTEST) + 1)
    lengths = np.concatenate([lengths, -lengths])
    heights = np.asarray(_along(found.state, jnp.asarray(field), jnp.asarray(lengths)))
    best = int(np.argmin(np.where(np.isfinite(heights), heights, np.inf)))
    if not heights[best] < found.energy:
        return None
    return found.state.position + lengths[best] * jnp.asarray(field)


def _downhill(factor: Factor) -> np.ndarray | None:
    """Return a direction of negative curvature, from the inverse, in which it has the largest negative eigenvalue."""
    size = factor.size
    if size <= _FEW:
        values, vectors = np.linalg.eigh(factor.product(np.eye(size)))
        return np.asarray(vectors[:, 0]) if values[0] < 0 else None
    inverse = spla.LinearOperator((size, size), matvec=lambda v: factor.solve(v[:, None])[:, 0], dtype=float)
    start = np.random.default_rng(0).standard_normal(size)
    try:
        _, vectors = spla.eigsh(inverse, k=1, which="SA", v0=start, tol=_TOLERANCE)
    except spla.ArpackError:
        return None
    mode = vectors[:, 0]
    return mode if mode @ factor.product(mode[:, None])[:, 0] < 0 else None


@jax.jit
def _along(state: State, field: Position, lengths: Float[Array, " k"]) -> Float[Array, " k"]:
    """Return the energies of states along a direction."""
    return jax.lax.map(lambda t: energy(state.at(state.position + t * field, state.parameters)), lengths)
