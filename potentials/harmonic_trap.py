r"""A harmonic trap about the origin.

.. math:: U = \sum_i \frac{k_i}{2}\,|x_i|^2

x: position, k: stiffness (energy per length squared). Particles that do not feel one another rest at the origin; a pair
with the energy u(r) rests where :math:`u'(r) = -k r/2`.
"""

from __future__ import annotations

from typing import Any

from jaxtyping import Array

from mdsens.energy import OneBodyPotential, parameter
from mdsens.types import Components
from potentials.options import section_of


class HarmonicTrap(OneBodyPotential):
    r"""The law :math:`\frac{k}{2}|x|^2` of every particle.

    Attributes:
        k: Stiffness, units of energy per length squared, >= 0: one number, ``PerSpecies`` or ``PerParticle``.
    """

    k: Any = parameter("stiffness", unit={"energy": 1, "length": -2}, at_least=0, default=1.0)

    @property
    def name(self) -> str:
        """Prefix of parameter paths."""
        return "harmonic_trap"

    def site_energy(self, position: Components) -> Array:
        """Return the energy of every particle, units of energy."""
        return 0.5 * self.k * sum(c * c for c in position)


Law = HarmonicTrap
Options, build = section_of(HarmonicTrap, "harmonic_trap")
