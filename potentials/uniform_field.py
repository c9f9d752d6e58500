r"""A uniform field along one axis, gravity for instance.

.. math:: U = \sum_i f_i\, x_{i,a}

x_a: coordinate along the axis, f: weight (energy per length) that pulls towards smaller coordinates.
"""

from __future__ import annotations

from typing import Any

from jaxtyping import Array

from mdsens.energy import OneBodyPotential, along, parameter, setting
from mdsens.types import Components
from potentials.options import section_of


class UniformField(OneBodyPotential):
    """The law f x along an axis, of every particle.

    Attributes:
        weight: Force towards smaller coordinates, units of energy per length: one number, ``PerSpecies`` or
            ``PerParticle``.
        axis: Number of the axis; the last one by default.
    """

    weight: Any = parameter("force towards smaller coordinates", unit={"energy": 1, "length": -1}, default=1.0)
    axis: int = setting("number of the axis, the last one by default", default=-1, at_least=-1, at_most=2)

    @property
    def name(self) -> str:
        """Prefix of parameter paths."""
        return "uniform_field"

    def site_energy(self, position: Components) -> Array:
        """Return the energy of every particle, units of energy."""
        return self.weight * along(position, self.axis)


Law = UniformField
Options, build = section_of(UniformField, "uniform_field")
