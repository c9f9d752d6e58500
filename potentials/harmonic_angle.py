r"""Harmonic angles over the configuration's topology ``angles``, whose groups begin with the vertex.

.. math:: U = \sum_a \frac{k_a}{2}\,(\theta_a - \theta_{0,a})^2

theta: angle at the vertex, radians, k: stiffness (energy per radian squared), theta0: rest angle.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array

from mdsens.energy import BondedPotential, parameter, setting
from mdsens.types import Components
from potentials.options import section_of


class HarmonicAngle(BondedPotential):
    r"""The law :math:`\frac{k}{2}(\theta - \theta_0)^2` of every angle.

    Attributes:
        k: Stiffness, units of energy per radian squared, >= 0: one number, ``PerKind`` or ``PerBond``.
        angle: Rest angle, radians, >= 0: the same.
        topology: Name of the topology, ``angles`` by default.
    """

    k: Any = parameter("stiffness", unit={"energy": 1}, at_least=0, default=1.0)
    angle: Any = parameter("rest angle in radians", at_least=0, default=1.9106332362490186)
    topology: str = setting("groups that it sums over, by name, the vertex first", default="angles")

    @property
    def name(self) -> str:
        """Prefix of parameter paths."""
        return "harmonic_angle"

    @property
    def members(self) -> int:
        """Three: the vertex and its two arms."""
        return 3

    def group_energy(self, vectors: tuple[Components, ...]) -> Array:
        """Return the energy of every angle, units of energy."""
        first, second = vectors
        along = sum(a * b for a, b in zip(first, second, strict=True))
        squares = sum(a * a for a in first) * sum(b * b for b in second)
        across = jnp.sqrt(jnp.maximum(squares - along**2, 1e-24 * squares))  # a straight angle has no slope
        theta = jnp.arctan2(across, along)
        return 0.5 * self.k * (theta - self.angle) ** 2


Law = HarmonicAngle
Options, build = section_of(HarmonicAngle, "harmonic_angle")
