r"""Lennard-Jones crystals of infinite range: a shipped law summed over periodic images, the rest taken to be uniform.

.. math:: U = \frac12\sum_{ij}\sum_{m}{}' u(|x_i - x_j + B m|)
          + \frac{2\pi N^2}{V}\int_0^\infty [u_\infty(r) - u(r)]\, r^2\, dr

u is the law switched off smoothly between its onset and its cutoff, :math:`u_\infty` the bare one. What the integral
misses is the Fourier transform of their difference at the vectors of the reciprocal lattice; it falls quickly as the
cutoff grows because the difference is smooth. A plain cut leaves the surface of a sphere, and falls as its fifth power.
"""

from __future__ import annotations

import math

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from mdsens.energy import Node, Potential
from mdsens.energy.parameters import at_pairs
from mdsens.neighbors import PairList
from mdsens.types import Configuration, PeriodicBox, Scalar
from potentials.lennard_jones import LennardJones

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(60)


class LatticeSum(Potential):
    """A law of equal particles summed over the images of the few in a small box.

    Attributes:
        law: The law; its cutoff may be many edges of the box.
        images: Largest number of boxes along every axis between a particle and an image: all that the cutoff reaches.
        uniform: Whether the rest is added as that of a uniform density.
    """

    law: LennardJones
    images: int = eqx.field(static=True)
    uniform: bool = eqx.field(static=True, default=True)

    @property
    def name(self) -> str:
        return self.law.name

    def nodes(self) -> list[Node]:
        return self.law.nodes()

    @property
    def stiffness(self) -> float:
        return self.law.stiffness

    def energy(self, configuration: Configuration, pairs: PairList) -> Scalar:
        box, n, first = configuration.box, configuration.n_particles, jnp.zeros(1, int)
        assert isinstance(box, PeriodicBox)
        equal = at_pairs(self.law, configuration.species, first, first)
        i, j = np.triu_indices(n)
        axis = jnp.arange(-self.images, self.images + 1.0)
        boxes = jnp.stack(jnp.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3) @ box.matrix.T
        square = jnp.sum(((configuration.position[i] - configuration.position[j])[:, None] + boxes) ** 2, axis=-1)
        itself = square == 0
        distance = jnp.sqrt(jnp.where(itself, 1.0, square))  # the root's slope is infinite at zero
        shells = jnp.sum(jnp.where(itself, 0.0, equal.pair_energy(distance)), axis=1)
        listed = jnp.sum(jnp.where(i == j, 0.5, 1.0) * shells)
        if not self.uniform:
            return listed
        scale = jnp.squeeze(equal.epsilon * equal.sigma**3)
        return listed + 2.0 * math.pi * n**2 / box.volume * scale * _switched_off(self.law)


def _switched_off(law: LennardJones) -> Scalar:
    r"""Return :math:`\int_0^\infty (u_\infty - u)\, r^2\, dr` for epsilon = sigma = 1."""
    middle, half = 0.5 * (law.cutoff + law.onset), 0.5 * (law.cutoff - law.onset)
    distance, first = middle + half * jnp.asarray(_NODES), jnp.zeros(1, int)
    bare = LennardJones(1.0, cutoff=law.cutoff + 1.0, truncation="cut")
    ended = LennardJones(1.0, onset=law.onset, cutoff=law.cutoff, truncation=law.truncation)
    bare, ended = (at_pairs(one, first, first, first) for one in (bare, ended))
    difference = bare.pair_energy(distance) - ended.pair_energy(distance)
    beyond = 4.0 * (law.cutoff**-9 / 9 - law.cutoff**-3 / 3)
    return half * jnp.sum(_WEIGHTS * difference * distance**2) + beyond
