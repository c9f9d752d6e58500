r"""FENE bonds (finitely extensible, non-linear elastic) over the configuration's topology ``bonds``.

.. math:: U = -\sum_b \frac{K_b R_b^2}{2}\,\ln\left[1 - \left(\frac{r_b}{R_b}\right)^2\right]

r: length of a bond, K: stiffness (energy per length squared), R: largest length, which no bond may reach: beyond it
energy and forces are NaN. Chains add ``WCA`` between all beads (K = 30, R = 1.5 in its units: bonds of 0.96089719896).
Source: K. Kremer, G. S. Grest, J. Chem. Phys. 92, 5057 (1990), doi:10.1063/1.458541, eq. 2.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array

from mdsens.energy import BondPotential, parameter
from potentials.options import section_of


class FENEBond(BondPotential):
    r"""The law :math:`-\frac{K R^2}{2}\ln[1 - (r/R)^2]` of every bond.

    Attributes:
        k: Stiffness K, units of energy per length squared, > 0: one number, ``PerKind`` or ``PerBond``.
        extent: Largest length R, units of length, > 0: the same.
    """

    k: Any = parameter("stiffness", unit={"energy": 1, "length": -2}, above=0, default=30.0)
    extent: Any = parameter("largest length", unit={"length": 1}, above=0, default=1.5)

    @property
    def name(self) -> str:
        """Prefix of parameter paths."""
        return "fene_bond"

    def bond_energy(self, distance: Array) -> Array:
        """Return the energy of every bond, units of energy; NaN for one that is too long."""
        ratio = distance / self.extent
        # a factor, because the derivative of a chosen NaN would be zero
        return jnp.where(ratio < 1.0, -0.5, jnp.nan) * self.k * self.extent**2 * jnp.log(1.0 - ratio**2)


Law = FENEBond
Options, build = section_of(FENEBond, "fene_bond")
