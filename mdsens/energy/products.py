r"""Products of the Hessian with vectors: :math:`H v = \frac{d}{dt}\nabla U(x + t v)`, for any energy."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mdsens.energy.state import State, gradient_at


@jax.jit
def hessian_products(state: State, directions: Float[Array | np.ndarray, "k n d"]) -> Float[Array, "k n d"]:
    """Return H v for every direction v, shape (k, n, d); rows and columns of what is held are zero."""
    slope = lambda x: gradient_at(state, x, state.parameters)  # noqa: E731
    return jax.vmap(lambda v: jax.jvp(slope, (state.position,), (v,))[1])(jnp.asarray(directions))


def random_product(state: State, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return a random vector v and H v, both of shape (n, d)."""
    vector = np.random.default_rng(seed).standard_normal(state.position.shape)
    return vector, np.asarray(hessian_products(state, vector[None])[0])
