r"""How far a state is from the structure that is wanted, and how that changes with positions and box.

Positions are compared in the target's box: :math:`B_T (s - s_T)`, with s what follows a box that is deformed. Where the
box relaxes, too, its edges are compared besides, by the strain from the target's box to this one, which no rotation
changes: :math:`E = (F^T F - 1)/2,\ F = B B_T^{-1}`, times the length of an edge.

References:
    L. D. Landau, E. M. Lifshitz, Theory of Elasticity, 3rd ed., section 1: the strain tensor E.
"""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from mdsens.energy import State
from mdsens.energy.strain import Components, deformed, periodic_box
from mdsens.types import Configuration, PeriodicBox, Position, Scalar, replaced


class Deviation(eqx.Module):
    """The displacements of a state from a target, a function of the state.

    Attributes:
        target: The structure that is wanted.
        counted: Which particles count, shape (n,).
    """

    target: Configuration
    counted: Bool[Array | np.ndarray, " n"]

    def displacement(self, state: State) -> Position:
        """Return nearest-image displacements, mean removed where none is held, zero for who does not count."""
        here = state.configuration
        moved = self.target.box.displacement(
            self.target.box.real(here.box.reduced(here.position)) - self.target.position
        )
        counted = jnp.asarray(self.counted)[:, None]
        mean = jnp.sum(jnp.where(counted, moved, 0.0), axis=0) / jnp.maximum(jnp.sum(counted), 1)
        return jnp.where(counted, moved - mean * self.target.drifts, 0.0)

    def edges(self, state: State) -> Float[Array, "e d"]:
        """Return how the box's edges are displaced, shape (d, d), units of length; without entries at fixed box."""
        d = self.target.dimension
        if state.barostat is None:
            return jnp.zeros((0, d))
        wanted = self.target.box
        assert isinstance(wanted, PeriodicBox)
        gradient = periodic_box(state).matrix @ wanted.inverse
        return 0.5 * (gradient.T @ gradient - jnp.eye(d)) * wanted.volume ** (1 / d)

    def __call__(self, state: State) -> Float[Array, " m"]:
        """Return all displacements, particles first, shape (n d + e d,)."""
        return jnp.concatenate([self.displacement(state).ravel(), self.edges(state).ravel()])


class HalfSquare(eqx.Module):
    """Half the squared norm of a deviation: the loss of a fit, an observable."""

    deviation: Deviation

    def __call__(self, state: State) -> Scalar:
        """Return the loss, units of length squared."""
        return 0.5 * jnp.sum(self.deviation(state) ** 2)


@jax.jit
def pushed(
    deviation: Deviation, state: State, moved: Float[Array, "k n d"], components: Float[Array, "k s"]
) -> Float[Array, "k m"]:
    """Return what responses do to a deviation: particles moved beyond following the box, and its strains."""

    def along(x: Position, e: Components) -> Float[Array, " m"]:
        return deviation(deformed(state, x, e, state.parameters))

    here = (state.position, jnp.zeros(components.shape[1]))
    return jax.vmap(lambda u, e: jax.jvp(along, here, (u, e))[1])(moved, components)


def stepped(target: Configuration, base: Configuration, change: np.ndarray, strain: np.ndarray | None) -> Configuration:
    """Return a configuration after a step of its deviation from a target.

    Args:
        target: The structure that is wanted.
        base: Where the step begins.
        change: What displacements change by, shape (n, d).
        strain: What the strain E from the target's box changes by, shape (d, d); None at fixed box.
    """
    if strain is None:
        return replaced(base, {"position": base.position + jnp.asarray(change)})
    wanted, box = target.box, base.box
    assert isinstance(wanted, PeriodicBox)
    assert isinstance(box, PeriodicBox)
    gradient = np.asarray(box.matrix @ wanted.inverse)
    values, vectors = np.linalg.eigh(gradient.T @ gradient + strain + strain.T)
    stretch = (vectors * np.sqrt(np.maximum(values, 1e-4))) @ vectors.T  # without a rotation
    there = replaced(box, {"matrix": jnp.asarray(stretch) @ wanted.matrix})
    reduced = box.reduced(base.position) + wanted.reduced(jnp.asarray(change))
    return replaced(base, {"box": there, "position": there.real(reduced)})
