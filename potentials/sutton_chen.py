r"""Sutton-Chen metals: embedded atoms whose sums are powers of the distance.

.. math:: U = \epsilon\sum_i\left[\frac12\sum_j \left(\frac{a}{r_{ij}}\right)^n f(r_{ij})
          - c\,\sqrt{\sum_j \left(\frac{a}{r_{ij}}\right)^m f(r_{ij})}\right], \qquad
          f(r) = \left[1 - \left(\frac{r}{r_c}\right)^2\right]^3\ (r < r_c)

a: lattice constant (units of length), epsilon: energy scale, c: number, n > m: exponents; the factor f ends both sums
at :math:`r_c`, in units of a, with two continuous derivatives.
Source: A. P. Sutton, J. Chen, Philos. Mag. Lett. 61, 139 (1990), doi:10.1080/09500839008206493, eqs. 1 to 3; the
factor f is ours.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array

from mdsens.energy import ManyBodyPotential, Neighborhood, parameter, setting
from mdsens.types import Scalar
from potentials.options import section_of


class SuttonChen(ManyBodyPotential):
    """The embedded-atom law of Sutton and Chen, for one kind of atom.

    Attributes:
        a: Lattice constant, units of length, > 0.
        epsilon: Energy scale, units of energy, > 0.
        c: Weight of the embedding, > 0.
        n: Exponent of the repulsion.
        m: Exponent of the density.
        cutoff: Where both sums end, units of a.
    """

    a: Any = parameter("lattice constant", unit={"length": 1}, above=0)
    epsilon: Any = parameter("energy scale", unit={"energy": 1}, above=0)
    c: Any = parameter("weight of the embedding", above=0)
    n: int = setting("exponent of the repulsion", default=9, at_least=1, at_most=100)
    m: int = setting("exponent of the density", default=6, at_least=1, at_most=100)
    cutoff: float = setting("where both sums end, units of a", default=2.0, above=0, at_most=100)

    @property
    def name(self) -> str:
        """Prefix of parameter paths."""
        return "sutton_chen"

    @property
    def pair_length(self) -> Array:
        """The lattice constant, units of length."""
        return self.a

    def site_energy(self, around: Neighborhood) -> Scalar:
        """Return the energy of all sites, units of energy."""
        ratio = self.a / around.distance
        end = (1.0 - jnp.minimum(around.distance / (self.cutoff * self.a), 1.0) ** 2) ** 3
        density = around.over_neighbors(ratio**self.m * end)[0]
        some = density > 0  # an atom alone has no slope
        embedded = jnp.where(some, jnp.sqrt(jnp.where(some, density, 1.0)), 0.0)
        return self.epsilon * (around.over_pairs(ratio**self.n * end) - self.c * jnp.sum(embedded))


Law = SuttonChen
Options, build = section_of(SuttonChen, "sutton_chen")
