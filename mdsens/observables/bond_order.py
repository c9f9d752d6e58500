r"""Bond-orientational order, differentiable everywhere: neighbours fade out smoothly, and no angle is ever taken.

With weights :math:`w_{ij} = s(r_{ij}/\sigma_{ij})` of neighbours and unit vectors :math:`n_{ij}`, every particle has

.. math:: |\psi_k(i)|^2 = \Big|\frac{\sum_j w_{ij} (n^x_{ij} + i\,n^y_{ij})^k}{\sum_j w_{ij}}\Big|^2\ (2D), \qquad
          q_l(i)^2 = \frac{\sum_{jk} w_{ij} w_{ik} P_l(n_{ij}\cdot n_{ik})}{(\sum_j w_{ij})^2}\ (3D).

The latter is Steinhardt's :math:`\frac{4\pi}{2l+1}\sum_m |q_{lm}|^2` by the addition theorem; the powers of
:math:`n\cdot n'` in the Legendre polynomial are sums over monomials of n, so that the cost is that of the pairs. The
observables are root mean squares over the particles that have neighbours.

References:
    P. J. Steinhardt, D. R. Nelson, M. Ronchetti, Phys. Rev. B 28, 784 (1983), doi:10.1103/PhysRevB.28.784.
    D. R. Nelson, B. I. Halperin, Phys. Rev. B 19, 2457 (1979), doi:10.1103/PhysRevB.19.2457.
"""

from __future__ import annotations

import itertools
import math

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mdsens.energy import State
from mdsens.errors import UserError
from mdsens.neighbors import PairList, pair_components
from mdsens.observables.smooth import check_switch, longest_length, pair_lengths, pairs_within, switch
from mdsens.types import Components, Scalar

_ALONE = 1e-12  # total weight below which a particle has no neighbours


class BondOrder(eqx.Module):
    """The root mean square of psi_k in two dimensions, of Steinhardt's q_l in three.

    Attributes:
        degree: k or l.
        begin: Where neighbours begin to fade, units of the pair's sigma.
        end: Where they have faded.
        pairs: Pairs that may be neighbours.
    """

    degree: int = eqx.field(static=True)
    begin: float = eqx.field(static=True)
    end: float = eqx.field(static=True)
    pairs: PairList

    def __call__(self, state: State) -> Scalar:
        """Return the order, between 0 and 1."""
        squares, present = self._squares(state)
        return jnp.sqrt(jnp.sum(jnp.where(present, squares, 0.0)) / jnp.maximum(jnp.sum(present), 1))

    def per_particle(self, state: State) -> Float[Array, " n"]:
        """Return the order of every particle, shape (n,); zero without neighbours."""
        squares, present = self._squares(state)
        return jnp.sqrt(jnp.where(present, jnp.maximum(squares, 0.0), 0.0))

    def _squares(self, state: State) -> tuple[Float[Array, " n"], Array]:
        components = pair_components(state.configuration, self.pairs)
        distance = jnp.sqrt(sum(c * c for c in components))
        weight = jnp.where(
            self.pairs.mask, switch(distance / pair_lengths(state, self.pairs), self.begin, self.end), 0.0
        )
        normal = tuple(c / distance for c in components)
        n = state.configuration.n_particles
        total = self._sums(weight, weight, n)
        present = total > _ALONE
        whole = jnp.where(present, total, 1.0)
        squares = self._flat(weight, normal, n) if len(normal) == 2 else self._solid(weight, normal, n)
        return squares / whole**2, present

    def _sums(self, forth: Float[Array, " m"], back: Float[Array, " m"], n: int) -> Float[Array, " n"]:
        """Return the sums over every particle's pairs, of what it sees as first and as second of a pair."""
        return jnp.zeros(n).at[self.pairs.i].add(forth).at[self.pairs.j].add(back)

    def _flat(self, weight: Float[Array, " m"], normal: Components, n: int) -> Float[Array, " n"]:
        real, imaginary = jnp.ones_like(weight), jnp.zeros_like(weight)
        for _ in range(self.degree):
            real, imaginary = real * normal[0] - imaginary * normal[1], real * normal[1] + imaginary * normal[0]
        sign = (-1.0) ** self.degree
        parts = [self._sums(weight * part, sign * weight * part, n) for part in (real, imaginary)]
        return parts[0] ** 2 + parts[1] ** 2

    def _solid(self, weight: Float[Array, " m"], normal: Components, n: int) -> Float[Array, " n"]:
        powers, weights = _monomials(self.degree)
        table = [jnp.stack([c**k for k in range(self.degree + 1)]) for c in normal]
        monomials = weight * table[0][powers[:, 0]] * table[1][powers[:, 1]] * table[2][powers[:, 2]]
        sign = (-1.0) ** self.degree  # a monomial of the opposite direction; powers go down in steps of two
        moments = jnp.zeros((len(powers), n)).at[:, self.pairs.i].add(monomials)
        moments = moments.at[:, self.pairs.j].add(sign * monomials)
        return jnp.asarray(weights) @ moments**2


def _monomials(degree: int) -> tuple[np.ndarray, np.ndarray]:
    r"""Return the monomials of :math:`P_l(n\cdot n')`: exponents, shape (q, 3), and coefficients, shape (q,)."""
    coefficients = np.polynomial.legendre.leg2poly([0] * degree + [1])
    powers, weights = [], []
    for total in range(degree % 2, degree + 1, 2):
        for a, b in itertools.product(range(total + 1), repeat=2):
            c = total - a - b
            if c >= 0:
                count = math.factorial(total) / (math.factorial(a) * math.factorial(b) * math.factorial(c))
                powers.append((a, b, c))
                weights.append(coefficients[total] * count)
    return np.array(powers), np.array(weights)


def bond_order(state: State, degree: int, begin: float = 1.2, end: float = 1.5) -> BondOrder:
    """Make the bond-orientational order of a degree, for a state and those near it.

    Args:
        state: The state; in two dimensions the order is psi_k, in three q_l.
        degree: k or l, from 1 to 12.
        begin: Where neighbours begin to fade, units of the pair's sigma, > 0.
        end: Where they have faded, > begin.

    Raises:
        UserError: When the degree or the switch is out of range.
    """
    if not 1 <= degree <= 12:
        raise UserError(f"the degree of the bond order is {degree}; it must be between 1 and 12.")
    check_switch(begin, end, "the bond order")
    pairs = pairs_within(state, end * longest_length(state))
    return BondOrder(degree, float(begin), float(end), pairs)
