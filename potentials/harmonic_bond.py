r"""Harmonic bonds: springs over the configuration's topology ``bonds``.

.. math:: U = \sum_b \frac{k_b}{2}\,(r_b - \ell_b)^2

r: length of a bond, k: stiffness (energy per length squared), length: rest length.
Networks of unit springs at rest, bond length 1: triangular B = sqrt(3)/2, G = sqrt(3)/4; honeycomb B = 1/(2 sqrt(3)),
G = 0.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array

from mdsens.energy import BondPotential, parameter
from potentials.options import section_of


class HarmonicBond(BondPotential):
    r"""The law :math:`\frac{k}{2}(r - \ell)^2` of every bond.

    Attributes:
        k: Stiffness, units of energy per length squared, >= 0: one number, ``PerKind`` or ``PerBond``.
        length: Rest length, units of length, >= 0: the same.
    """

    k: Any = parameter("stiffness", unit={"energy": 1, "length": -2}, at_least=0, default=1.0)
    length: Any = parameter("rest length", unit={"length": 1}, at_least=0, default=1.0)

    @property
    def name(self) -> str:
        """Prefix of parameter paths."""
        return "harmonic_bond"

    def bond_energy(self, distance: Array) -> Array:
        """Return the energy of every bond, units of energy."""
        return jnp.broadcast_to(0.5 * self.k * (distance - self.length) ** 2, distance.shape)


Law = HarmonicBond
Options, build = section_of(HarmonicBond, "harmonic_bond")
