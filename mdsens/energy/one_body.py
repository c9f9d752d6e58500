r"""One-body terms: outer fields, traps and walls, an energy of every particle alone.

.. math:: U = \sum_i u(x_i; p_i)

A field stands where it stands: it does not follow the box, so that with it there is no pressure.
"""

from __future__ import annotations

from abc import abstractmethod

import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp
from jaxtyping import Array

from mdsens.energy.parameters import PerPair, at_pairs
from mdsens.energy.potential import Potential, coupled
from mdsens.errors import UserError
from mdsens.neighbors import PairList
from mdsens.types import Components, Configuration, PeriodicBox, Scalar, replaced

_SAME = 1e-9  # relative difference of energies that are equal but for rounding


class OneBodyPotential(Potential):
    """An energy of every particle's place; a parameter is one number, or one per species or per particle."""

    @abstractmethod
    def site_energy(self, position: Components) -> Array:
        """Return the energy of every particle, shape (n,), of a law expanded to the particles.

        Args:
            position: Their coordinates, d components of shape (n,).
        """

    def energy(self, configuration: Configuration, pairs: PairList) -> Scalar:
        """Return the sum over the particles, units of energy."""
        return self._energy(configuration)

    def _energy(self, configuration: Configuration) -> Scalar:
        everyone = jnp.arange(configuration.n_particles)
        expanded = at_pairs(self, configuration.species, everyone, everyone)  # a particle's own is that of two like it
        found = expanded.site_energy(tuple(configuration.position.T))
        return jnp.sum(jnp.broadcast_to(found, everyone.shape))

    def coupling(self, configuration: Configuration) -> sp.csr_array:
        """Return that nobody is coupled with another."""
        nobody = np.zeros(0, int)
        return coupled(configuration.n_particles, nobody, nobody)

    def follows_box(self, configuration: Configuration, pairs: PairList) -> bool:
        """Return whether there is no box to follow."""
        return not isinstance(configuration.box, PeriodicBox)

    @property
    def fixed_because(self) -> str:
        """Why it does not follow the box."""
        return "it stands where it stands"

    @property
    def remedy(self) -> str:
        """What to do about that."""
        return "Leave it out, or stay at fixed box."

    def check_entries(self, configuration: Configuration) -> None:
        """Refuse parameters of pairs.

        Raises:
            ValueError: When a parameter has an entry per pair of species, or a wrong number of them.
        """
        super().check_entries(configuration)
        for path, _, value in self.nodes():
            if isinstance(value, PerPair):
                raise ValueError(f"the parameter {path} is a PerPair; {self.name} takes one number or PerSpecies.")

    def check_cell(self, configuration: Configuration) -> None:
        """Refuse a field that is not periodic as its box is.

        Raises:
            UserError: With the axis along which images of a particle differ in energy.
        """
        box = configuration.box
        if not isinstance(box, PeriodicBox):
            return
        here = float(self._energy(configuration))
        for axis in np.flatnonzero(box.periodic):
            position = configuration.position + box.matrix[:, axis]
            there = float(self._energy(replaced(configuration, {"position": position})))
            if abs(there - here) > _SAME * max(abs(there), abs(here)):
                raise UserError(
                    f"{self.name} is not periodic along axis {axis}, and the box is: make a box that is open there, "
                    f"PeriodicBox(matrix, periodic=...), or take a FreeBox."
                )


def along(position: Components, axis: int) -> Array:
    """Return the coordinate along an axis, shape (n,); -1 is the last one.

    Raises:
        UserError: When there is no such axis.
    """
    if axis >= len(position):
        raise UserError(f"axis {axis} of a field does not exist: there are {len(position)} dimensions.")
    return position[axis]
