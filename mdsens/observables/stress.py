"""The stress of a state, as a tensor and by its components."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from mdsens.energy import State
from mdsens.energy.strain import periodic_box, strain_energy
from mdsens.errors import UserError
from mdsens.types import Scalar


def stress_tensor(state: State) -> Float[Array, "d d"]:
    r"""Return the static Cauchy stress, shape (d, d), units of energy per volume.

    .. math:: \sigma_{ij} = \frac{1}{V}\frac{\partial U}{\partial \varepsilon_{ij}}

    under :math:`x \to (1 + \varepsilon) x`; positive in tension, :math:`P = -\mathrm{tr}\,\sigma/d`. Symmetric, as the
    energy does not change under rotations.

    Raises:
        UserError: For a free system.
    """
    box = periodic_box(state)
    d = box.dimension
    slope = jax.grad(lambda strain: strain_energy(state, state.position, strain))(jnp.zeros((d, d)))
    return 0.5 * (slope + slope.T) / box.volume


class StressComponent(eqx.Module):
    """The observable sigma_ij.

    Attributes:
        i: First index, 0 <= i < d.
        j: Second index.
    """

    i: int = eqx.field(static=True)
    j: int = eqx.field(static=True)

    def __call__(self, state: State) -> Scalar:
        """Return the component.

        Raises:
            UserError: When the state has fewer dimensions.
        """
        d = periodic_box(state).dimension
        if max(self.i, self.j) >= d:
            raise UserError(f"there is no stress[{self.i},{self.j}] in {d} dimensions: indices are below {d}.")
        return stress_tensor(state)[self.i, self.j]
