"""Contacts: how many there are, how far they overlap, and a number of neighbours that can be differentiated.

Counts jump when a contact opens or closes and have no derivative in between; they are numbers of a network.
"""

from __future__ import annotations

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mdsens.contacts import Network
from mdsens.energy import PairPotential, State
from mdsens.errors import UserError
from mdsens.neighbors import PairList, pair_distances
from mdsens.observables.smooth import check_switch, longest_length, pairs_within, scaled_distances, switch
from mdsens.types import Scalar


def contact_number(network: Network) -> float:
    r"""Return the mean number of contacts of a particle of the backbone, :math:`Z = 2 N_c/N_b`; NaN without one."""
    return 2.0 * network.n_contacts / network.n_backbone if network.n_backbone else float("nan")


def isostatic_contact_number(network: Network, dimension: int) -> float:
    r"""Return the contact number at jamming in a periodic box, :math:`Z_c = 2 d - 2 d/N_b`; NaN without a backbone.

    References:
        C. P. Goodrich, A. J. Liu, S. R. Nagel, Phys. Rev. Lett. 109, 095704 (2012), doi:10.1103/PhysRevLett.109.095704.
    """
    n = network.n_backbone
    return 2.0 * dimension * (1.0 - 1.0 / n) if n else float("nan")


def rattler_fraction(network: Network) -> float:
    """Return the fraction of particles that nothing holds in place."""
    return network.n_rattlers / len(network.backbone)


def overlaps(state: State) -> Float[Array, " m"]:
    r"""Return the relative overlap :math:`1 - r/\sigma` of every listed pair, zero where they do not touch, shape (m,).

    Raises:
        UserError: For laws that are not of contact.
    """
    potential = state.potential
    if not (isinstance(potential, PairPotential) and potential.contact):
        raise UserError(f"overlaps are those of a law of contact, which {potential.name} is not.")
    reach = potential.reach(state.configuration, state.pairs)
    return jnp.where(
        state.pairs.mask, jnp.maximum(1.0 - pair_distances(state.configuration, state.pairs) / reach, 0.0), 0.0
    )


def mean_overlap(state: State) -> Scalar:
    """Return the mean relative overlap of the contacts.

    Raises:
        UserError: For laws that are not of contact.
    """
    found = overlaps(state)
    return jnp.sum(found) / jnp.maximum(jnp.sum(found > 0), 1)


def overlap_distribution(state: State, n_bins: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Return the probability density of the overlaps of the contacts, shape (n_bins,), and the edges of the bins.

    Raises:
        UserError: For laws that are not of contact.
    """
    found = np.asarray(overlaps(state))
    return np.histogram(found[found > 0], bins=n_bins, density=True)


class Coordination(eqx.Module):
    r"""The smooth coordination number :math:`\frac{2}{N}\sum_{i<j} s(r_{ij}/\sigma_{ij})`.

    s falls from 1 at ``begin`` to 0 at ``end`` with two continuous derivatives: neighbours come and go smoothly.

    Attributes:
        begin: Where the switch begins, units of the pair's sigma.
        end: Where it ends.
        pairs: Pairs that may be neighbours.
    """

    begin: float = eqx.field(static=True)
    end: float = eqx.field(static=True)
    pairs: PairList

    def __call__(self, state: State) -> Scalar:
        """Return the number of neighbours per particle."""
        weight = switch(scaled_distances(state, self.pairs), self.begin, self.end)
        return 2.0 * jnp.sum(jnp.where(self.pairs.mask, weight, 0.0)) / state.configuration.n_particles


def coordination(state: State, begin: float = 1.2, end: float = 1.5) -> Coordination:
    """Make the smooth coordination number for a state and those near it.

    Args:
        state: The state.
        begin: Where the switch begins, units of the pair's sigma, > 0.
        end: Where it ends, > begin.

    Raises:
        UserError: When the switch is out of order.
    """
    check_switch(begin, end, "the coordination number")
    pairs = pairs_within(state, end * longest_length(state))
    return Coordination(float(begin), float(end), pairs)
