"""The reference answer of small systems: a dense pseudo-inverse, automatically differentiated throughout."""

from __future__ import annotations

import jax
import numpy as np
from jaxtyping import Float

from mdsens.contacts import Network
from mdsens.energy import State, energy_at
from mdsens.energy.parameters import Parameters
from mdsens.hessian.any_energy import unknowns_of
from mdsens.hessian.derivatives import carried, mixed


def dense_reference(state: State, network: Network, tangents: Parameters) -> Float[np.ndarray, "k n d"]:
    """Return dx/dp from the pseudo-inverse of the dense, automatically differentiated backbone Hessian.

    The reference answer of small systems: shares neither the assembly nor the solver with ``LinearResponse``.
    ``state.pairs`` must hold the backbone contacts only (``LinearResponse.state`` does). Memory grows as (n d)^2.
    """
    size = state.position.size
    dense = np.asarray(jax.hessian(energy_at, argnums=1)(state, state.position, state.parameters)).reshape(size, size)
    unknowns = unknowns_of(state, network.backbone)
    values, vectors = np.linalg.eigh(dense[np.ix_(unknowns, unknowns)])
    inverses = np.where(np.abs(values) > 1e-10 * np.abs(values).max(), 1.0 / values, 0.0)
    slopes = np.asarray(mixed(state, tangents)).reshape(-1, size)[:, unknowns]
    answer = np.zeros((len(slopes), size))
    answer[:, unknowns] = -(slopes @ vectors * inverses) @ vectors.T
    found = answer.reshape(-1, *state.position.shape)
    return found if state.configuration.held is None else found + np.asarray(carried(state, tangents))
