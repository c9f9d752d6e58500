"""The Jacobian of a condition, made regular on the complement of its null space."""

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PyTree

from mdsens.implicit.null_space import NullSpace

SYMMETRY_TOLERANCE = 1e-8  # relative asymmetry of two random products; rounding of a Hessian stays below 1e-12
Matvec = Callable[[Float[Array, " n"]], Float[Array, " n"]]


class Point(NamedTuple):
    """Where a condition was linearised, for solvers that need more than products with the Jacobian.

    Attributes:
        x: The state.
        p: The parameters.
    """

    x: PyTree
    p: tuple[PyTree, ...]


class ProjectedOperator(eqx.Module):
    """The regular map M = P A P + s (1 - P) on flat vectors.

    Attributes:
        jacobian: v -> A v.
        null_space: The null space of flat vectors that defines P.
        shift: s, the size of A on an erratic vector; a constant for differentiation.
    """

    jacobian: Matvec
    null_space: NullSpace
    shift: Float[Array, ""]

    @property
    def size(self) -> int:
        """The number of unknowns n."""
        return self.null_space.frozen.size

    def __call__(self, vector: Float[Array, " n"]) -> Float[Array, " n"]:
        """Return M v."""
        inside = self.null_space.project(vector)
        return self.null_space.project(self.jacobian(inside)) + self.shift * (vector - inside)

    def transpose(self) -> "ProjectedOperator":
        """Return M^T, by transposing A."""
        vector = jax.ShapeDtypeStruct(self.null_space.frozen.shape, self.shift.dtype)
        transposed = jax.linear_transpose(self.jacobian, vector)
        return ProjectedOperator(lambda cotangent: transposed(cotangent)[0], self.null_space, self.shift)

    def defect(self, value: Float[Array, " n"], right_hand_side: Float[Array, " n"]) -> Float[Array, ""]:
        """Return how much the equation is violated: the norm of (M y - b, Z A P y).

        The second part vanishes when the modes are zero modes of A^T, as they are for a symmetric A; if they are not,
        the projected equation is not the one that was asked for.
        """
        inside = self.null_space.project(value)
        image = self.jacobian(inside)
        residual = self.null_space.project(image) + self.shift * (value - inside) - right_hand_side
        return jnp.hypot(jnp.linalg.norm(residual), jnp.linalg.norm(self.null_space.components(image)))


def erratic(size: int, frequency: float) -> Float[Array, " n"]:
    """Return a fixed vector that looks random to any matrix with a structure; cheaper to compile than a generator."""
    return jnp.cos(frequency * jnp.arange(1.0, size + 1.0) ** 2)


def is_symmetric(apply: Matvec, size: int) -> Bool[Array, ""]:
    """Return whether u . A v = v . A u for two erratic vectors, to 1e-8 of their sizes."""
    u, v = erratic(size, 0.618), erratic(size, 0.414)
    image = apply(v)
    asymmetry = jnp.abs(jnp.vdot(u, image) - jnp.vdot(v, apply(u)))
    return asymmetry <= SYMMETRY_TOLERANCE * jnp.linalg.norm(u) * jnp.linalg.norm(image)
