r"""Many-body terms: what a particle feels is a function of sums over its neighbours, images included.

.. math:: U = \sum_i E\Big(\sum_j f(r_{ij}),\ \sum_j g(r_{ij})\, n_{ij},\ \ldots\Big)

Scalar sums give embedded atoms, sums of vectors and tensors give every polynomial of the angles about a centre: with
:math:`T = \sum_j g_j\, n_j n_j^T`, for example, :math:`\sum_{jk} g_j g_k \cos^2\theta_{jik} = T : T`. No list of
triplets is needed then, and the cost grows as the number of pairs. Any other function of two distances and the angle
between them is a sum over triplets, ``TripletPotential``.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp
from jaxtyping import Array, Float

from mdsens.energy.declared import setting
from mdsens.energy.entries import Entries
from mdsens.energy.parameters import Uniform, at_pairs
from mdsens.energy.potential import Locality, Potential
from mdsens.errors import UserError
from mdsens.neighbors import PairList, about_centres, neighbor_pairs, numbered_pairs, pair_components
from mdsens.types import Components, Configuration, Scalar


class ManyBodyPotential(Potential):
    """An energy of sums over neighbours within ``cutoff`` times a length, from listed pairs."""

    @property
    @abstractmethod
    def cutoff(self) -> float:
        """Range in units of the pair's length parameter."""

    @property
    @abstractmethod
    def pair_length(self) -> Array:
        """Length that the cutoff multiplies, of a law expanded to the pairs."""

    @abstractmethod
    def site_energy(self, around: Neighborhood) -> Scalar:
        """Return the energy of all sites, of a law expanded to the pairs of the neighbourhood."""

    def check_entries(self, configuration: Configuration) -> None:
        """Refuse parameters that do not fit the particles.

        Raises:
            ValueError: When a parameter is not one number for all: these laws are for one kind of atom.
        """
        super().check_entries(configuration)
        for path, _, value in self.nodes():
            if isinstance(value, Entries) and not isinstance(value, Uniform):
                raise ValueError(f"the parameter {path} is a {type(value).__name__}; {self.name} takes one number.")

    @property
    def lists_pairs(self) -> bool:
        """Whether the energy is a function of listed pairs: it is."""
        return True

    def energy(self, configuration: Configuration, pairs: PairList) -> Scalar:
        """Return the sum over the sites, units of energy."""
        expanded = at_pairs(self, configuration.species, pairs.i, pairs.j)
        reach = jnp.broadcast_to(self.cutoff * expanded.pair_length, pairs.i.shape)
        return expanded.site_energy(Neighborhood(configuration, pairs, reach))

    def list_range(self, configuration: Configuration) -> float:
        """Return the largest range of a pair of species."""
        n = len(configuration.species_names)
        first = jnp.argmax(configuration.species[:, None] == jnp.arange(n), axis=0)
        pairs = numbered_pairs(jnp.repeat(first, n), jnp.tile(first, n), configuration.dimension)
        return float(jnp.max(self.pair_ranges(configuration, pairs)))

    def pair_ranges(self, configuration: Configuration, pairs: PairList) -> Float[Array, " m"]:
        """Return the range of every pair."""
        expanded = at_pairs(self, configuration.species, pairs.i, pairs.j)
        return jnp.broadcast_to(self.cutoff * expanded.pair_length, pairs.i.shape)

    def coupling(self, configuration: Configuration) -> sp.csr_array | None:
        """Return who is within range of one another or of a common neighbour."""
        return Locality(self.list_range(configuration), hops=2).coupling(configuration)


class TripletPotential(ManyBodyPotential):
    r"""An energy of pairs and of triplets about a centre, images included.

    .. math:: U = \sum_{i<j} u(r_{ij}) + \sum_i\sum_{j<k} w(r_{ij}, r_{ik}, \cos\theta_{jik})

    Attributes:
        most_neighbors: Most neighbours of a particle within the cutoff: its places in the table of triplets. Where
            there are more at the start the system is refused, later the energy is NaN.
    """

    most_neighbors: int = setting(
        "most neighbours of a particle within the cutoff", default=20, at_least=2, at_most=500
    )

    @abstractmethod
    def pair_energy(self, distance: Array) -> Array:
        """Return u(r), units of energy; zero from the cutoff on."""

    @abstractmethod
    def triplet_energy(self, first: Array, second: Array, cosine: Array) -> Array:
        """Return w of two distances from a centre and the cosine between them, alike in both; zero from the cutoff on.

        At the cutoff itself, where absent neighbours are put, it must be finite, as its derivatives must be.
        """

    def site_energy(self, around: Neighborhood) -> Scalar:
        """Return the energy of all pairs and triplets, units of energy."""
        pairs = around.over_pairs(self.pair_energy(around.distance))
        return pairs + around.over_triplets(self.triplet_energy, self.most_neighbors)

    def check_cell(self, configuration: Configuration) -> None:
        """Refuse a start at which a particle has more neighbours than places.

        Raises:
            UserError: With the particle and how many it has.
        """
        pairs = neighbor_pairs(configuration.position, configuration.box, self.list_range(configuration))
        ends = np.concatenate([np.asarray(pairs.i)[pairs.mask], np.asarray(pairs.j)[pairs.mask]])
        counts = np.bincount(ends, minlength=configuration.n_particles)
        if counts.max() > self.most_neighbors:
            raise UserError(
                f"particle {int(counts.argmax())} has {counts.max()} neighbours within the cutoff of {self.name}, and "
                f"{self.most_neighbors} find a place: raise most_neighbors."
            )


class Neighborhood:
    """The pairs that a many-body term sums over, seen from either end.

    Attributes:
        distance: Length of every pair's vector, shape (m,); of padding and of pairs beyond the range, the range.
        unit: Components of its direction from the second particle to the first, each of shape (m,).
        within: Whether a pair counts, shape (m,).
    """

    def __init__(self, configuration: Configuration, pairs: PairList, reach: Float[Array, " m"]) -> None:
        components = pair_components(configuration, pairs)
        distance = jnp.sqrt(sum(c * c for c in components))
        self._i, self._j, self._n = jnp.asarray(pairs.i), jnp.asarray(pairs.j), configuration.n_particles
        self._pairs, self._reach = pairs, reach
        self.within = jnp.asarray(pairs.mask) & (distance < reach)
        self.distance = jnp.where(self.within, distance, reach)
        self.unit: Components = tuple(jnp.where(self.within, c / distance, 0.0) for c in components)

    def over_pairs(self, values: Float[Array, " m"]) -> Scalar:
        """Return the sum of a value per pair."""
        return jnp.sum(jnp.where(self.within, values, 0.0))

    def over_neighbors(self, *values: Float[Array, " m"], parity: int = 1) -> Float[Array, "k n"]:
        """Return for every particle the sums over its neighbours of values per pair, shape (k, n).

        Args:
            values: k values of every pair as its first particle sees them, each of shape (m,).
            parity: 1 where both ends see the same, -1 where the second sees the opposite (odd powers of the direction).
        """
        counted = jnp.where(self.within, jnp.stack(values), 0.0)
        nothing = jnp.zeros((len(values), self._n))
        return nothing.at[:, self._i].add(counted).at[:, self._j].add(parity * counted)

    def over_triplets(self, value: Callable[[Array, Array, Array], Array], most: int) -> Scalar:
        """Return the sum over all centres and the unordered pairs of their neighbours; NaN if they find no place.

        Args:
            value: Function of two distances from the centre and the cosine between them, each of shape (n, t).
            most: Most neighbours of a particle, static.
        """
        table, fits = about_centres(self._pairs, self.within, self._n, most)
        m = len(self.distance)
        there = table < 2 * m
        distance = jnp.where(there, self.distance[table % m], self._reach[0])
        sign = jnp.where(table < m, 1.0, -1.0)
        unit = [sign * part[table % m] for part in self.unit]
        first, second = np.triu_indices(most, k=1)
        cosine = sum((part[:, first] * part[:, second] for part in unit), jnp.zeros(()))
        found = value(distance[:, first], distance[:, second], cosine)
        # a factor, because the derivative of a chosen NaN would be zero
        return jnp.where(fits, 1.0, jnp.nan) * jnp.sum(jnp.where(there[:, first] & there[:, second], found, 0.0))
