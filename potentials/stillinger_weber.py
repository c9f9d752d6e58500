r"""Stillinger-Weber particles: pairs and the angles between them.

.. math:: U = \sum_{i<j} \epsilon A\left[B\left(\frac{\sigma}{r_{ij}}\right)^p - \left(\frac{\sigma}{r_{ij}}\right)^q
          \right] e^{\sigma/(r_{ij} - a\sigma)} + \sum_i\sum_{j<k} \epsilon\lambda
          \left(\cos\theta_{jik} + \tfrac13\right)^2 g_{ij}\, g_{ik}, \qquad g = e^{\gamma\sigma/(r - a\sigma)}

over neighbours within :math:`a\sigma`. Sums over pairs of neighbours are squares of sums over neighbours:
:math:`\sum_{jk} g_j g_k (\cos\theta_{jik} + \frac13)^2 = T : T + \frac23 V\cdot V + \frac19 S^2` with
:math:`S = \sum g_j`, :math:`V = \sum g_j n_j`, :math:`T = \sum g_j n_j n_j^T`.
Source: F. H. Stillinger, T. A. Weber, Phys. Rev. B 31, 5262 (1985), doi:10.1103/PhysRevB.31.5262, eqs. 2.3 to 2.7.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array

from mdsens.energy import ManyBodyPotential, Neighborhood, parameter, setting
from mdsens.types import Scalar
from potentials.options import section_of

_NEARLY = 1e-6  # of the cutoff: closer to it every exponential is zero to the last digit


class StillingerWeber(ManyBodyPotential):
    """The law of Stillinger and Weber, for one kind of atom.

    Attributes:
        sigma: Length, units of length, > 0.
        epsilon: Energy scale, units of energy, > 0.
        lam: Weight of the angles, >= 0.
        A: Weight of the pairs, > 0.
        B: Weight of the repulsion, > 0.
        gamma: Decay of the angular part, > 0.
        p: Exponent of the repulsion.
        q: Exponent of the attraction.
        cutoff: The range a, units of sigma.
    """

    sigma: Any = parameter("length", unit={"length": 1}, above=0)
    epsilon: Any = parameter("energy scale", unit={"energy": 1}, above=0)
    lam: Any = parameter("weight of the angles", at_least=0, default=21.0)
    A: Any = parameter("weight of the pairs", above=0, default=7.049556277)
    B: Any = parameter("weight of the repulsion", above=0, default=0.6022245584)
    gamma: Any = parameter("decay of the angular part", above=0, default=1.2)
    p: int = setting("exponent of the repulsion", default=4, at_least=1, at_most=100)
    q: int = setting("exponent of the attraction", default=0, at_least=0, at_most=100)
    cutoff: float = setting("range, units of sigma", default=1.8, above=0, at_most=100)

    @classmethod
    def silicon(cls) -> StillingerWeber:
        """Return the published law of silicon in angstroms and electron volts."""
        return cls(2.0951, 2.1683)

    @property
    def name(self) -> str:
        """Prefix of parameter paths."""
        return "stillinger_weber"

    @property
    def pair_length(self) -> Array:
        """Sigma, units of length."""
        return self.sigma

    def site_energy(self, around: Neighborhood) -> Scalar:
        """Return the energy of all sites, units of energy."""
        ratio, edge = around.distance / self.sigma, self.cutoff * (1.0 - _NEARLY)
        gap = 1.0 / (jnp.where(ratio < edge, ratio, edge) - self.cutoff)
        inside = ratio < edge
        pairs = self.A * (self.B * ratio**-self.p - ratio**-self.q) * jnp.exp(gap)
        weight = jnp.where(inside, jnp.exp(self.gamma * gap), 0.0)
        unit, places = around.unit, [(a, b) for a in range(len(around.unit)) for b in range(a + 1)]
        whole, itself, *tensor = around.over_neighbors(
            weight, weight**2, *(weight * unit[a] * unit[b] for a, b in places)
        )
        vector = around.over_neighbors(*(weight * part for part in unit), parity=-1)
        squares = sum((1.0 if a == b else 2.0) * part**2 for (a, b), part in zip(places, tensor, strict=True))
        both = squares + 2.0 / 3.0 * jnp.sum(vector**2, axis=0) + whole**2 / 9.0
        angles = 0.5 * jnp.sum(both - 16.0 / 9.0 * itself)  # less j = k, where the cosine is one
        return self.epsilon * (around.over_pairs(jnp.where(inside, pairs, 0.0)) + self.lam * angles)


Law = StillingerWeber
Options, build = section_of(StillingerWeber, "stillinger_weber")
