"""Contacts, backbone and rattlers of a state."""

from __future__ import annotations

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mdsens.energy import PairPotential, State
from mdsens.energy.kinds import native_ranges
from mdsens.energy.parameters import has_tie
from mdsens.energy.products import random_product
from mdsens.energy.stiffness import ALIKE, host_spread, pair_lengths, softest_and_spread, typical_stiffness
from mdsens.neighbors import on_device, padded_pairs, pair_distances, standard_capacity
from mdsens.neighbors.listing import offsets
from mdsens.rounding import UNIT
from mdsens.types import Position, Scalar, replaced

TOUCH = 1e-9  # relative overlap that makes a contact, of the softest ones; of stiffer ones the same force
_ROUNDING = 16 * UNIT  # of an extent over a range: overlaps are not known better


@dataclasses.dataclass(frozen=True)
class Network:
    """Which pairs bear load and which particles are held in place.

    Attributes:
        i: First particle of every backbone contact, shape (c,).
        j: Second particle, shape (c,).
        shift: Image counts of the second particle, shape (d, c).
        backbone: True for particles that are held in place, by contacts or by decree, shape (n,); the others are
            rattlers.
        one_sided: Whether two backbone particles are within a relative 1e-9 of touching at a kink of the law's second
            derivative, so that derivatives differ on the two sides; in a response also whether the remaining step to
            the minimum would open or close a contact.
    """

    i: np.ndarray
    j: np.ndarray
    shift: np.ndarray
    backbone: np.ndarray
    one_sided: bool

    @property
    def n_contacts(self) -> int:
        """Number of backbone contacts."""
        return len(self.i)

    @property
    def n_backbone(self) -> int:
        """Number of backbone particles."""
        return int(np.sum(self.backbone))

    @property
    def n_rattlers(self) -> int:
        """Number of rattlers."""
        return int(np.sum(~self.backbone))

    def same_as(self, other: Network) -> bool:
        """Return whether both have the same backbone particles and contacts."""
        return (
            np.array_equal(self.backbone, other.backbone)
            and np.array_equal(self.i, other.i)
            and np.array_equal(self.j, other.j)
            and np.array_equal(self.shift, other.shift)
        )


@jax.jit
def _relative_overlaps(state: State) -> Float[Array, " m"]:
    assert isinstance(state.potential, PairPotential)
    reach = state.potential.reach(state.configuration, state.pairs)
    return 1.0 - pair_distances(state.configuration, state.pairs) / reach


def least_overlaps(state: State) -> Scalar | float | Float[Array, " m"]:
    """Return the relative overlap from which on every listed pair is a contact: that of one force for all, roughly.

    Where contacts are about equally stiff it is 1e-9. A contact a million times as stiff bears the same force with an
    overlap a million times as small, as far as rounding lets it be told.
    """
    law, configuration, pairs = state.potential, state.configuration, state.pairs
    assert isinstance(law, PairPotential)
    if not law.contact:
        return 0.0
    softest, spread = softest_and_spread(state)
    i, j = jnp.asarray(pairs.i), jnp.asarray(pairs.j)
    force = typical_stiffness(state, i, j) * pair_lengths(state, i, j)
    extent = jnp.max(jnp.abs(state.position)) / law.reach(configuration, pairs)
    unlike = jnp.clip(TOUCH * softest / force, _ROUNDING * extent, TOUCH)
    return jax.lax.stop_gradient(jnp.where(spread <= ALIKE, TOUCH, unlike))


def _overlaps_and_least(state: State) -> tuple[np.ndarray, np.ndarray | float]:
    """Return the relative overlaps of listed pairs and those that make a contact, from the host."""
    law, ranges = state.potential, native_ranges(state)
    assert isinstance(law, PairPotential)
    alike = not law.contact or float(host_spread(state)) <= ALIKE
    if ranges is None or not alike:
        overlap, least = _compiled_overlaps(state)
        return np.asarray(overlap), np.asarray(least)
    pairs, position = state.pairs, np.asarray(state.position)
    i, j = np.asarray(pairs.i), np.asarray(pairs.j)
    vector = position[i] - position[j] - offsets(np.asarray(pairs.shift).T, state.configuration.box)
    reach = ranges.reach[ranges.kind[i], ranges.kind[j]]
    overlap = np.where(np.asarray(pairs.mask), 1.0 - np.linalg.norm(vector, axis=1) / reach, 1.0 - 1.0 / reach)
    return overlap, TOUCH if law.contact else 0.0


@jax.jit
def _compiled_overlaps(state: State) -> tuple[Float[Array, " m"], Scalar | float | Float[Array, " m"]]:
    return _relative_overlaps(state), least_overlaps(state)


def contact_network(state: State) -> Network:
    """Find the backbone of a state.

    For contact laws the backbone is what remains after recursively removing particles with fewer than d + 1 contacts
    (one more than they have free components; none of those that are held), a contact being a relative overlap
    1 - r/sigma above 1e-9, of stiffer ones above that of the same force. For other energies a rattler is a particle
    whose Hessian rows vanish, and contacts are the pairs within range.

    References:
        C. S. O'Hern et al., Phys. Rev. E 68, 011306 (2003), section II.
    """
    n, potential = state.configuration.n_particles, state.potential
    if not isinstance(potential, PairPotential):
        nothing = np.zeros(0, dtype=int)
        # a row of the Hessian vanishes if, and almost surely only if, its product with a random vector does
        stiff = np.any(random_product(state)[1] != 0.0, axis=1) | (n == 1)  # one alone only moves as a whole
        stiff |= state.configuration.immobile
        network = Network(nothing, nothing, np.zeros((state.configuration.dimension, 0), int), stiff, one_sided=False)
        return dataclasses.replace(network, one_sided=_is_at_a_kink(state, stiff))
    pairs, mask = state.pairs, np.asarray(state.pairs.mask)
    i, j, shift = (np.asarray(index)[..., mask] for index in (pairs.i, pairs.j, pairs.shift))
    overlap, least = _overlaps_and_least(state)
    touching = (overlap > least)[mask]
    i_touching, j_touching = i[touching], j[touching]
    if potential.contact:
        backbone = _prune(i_touching, j_touching, n, _least_contacts(state))
    else:
        backbone = np.bincount(np.concatenate([i_touching, j_touching]), minlength=n) > 0
        backbone |= state.configuration.immobile
    held = backbone[i_touching] & backbone[j_touching]
    one_sided = _is_at_a_kink(state, backbone, (overlap, least))
    return Network(i_touching[held], j_touching[held], shift[:, touching][:, held], backbone, one_sided)


def _is_at_a_kink(
    state: State, backbone: np.ndarray, known: tuple[np.ndarray, np.ndarray | float] | None = None
) -> bool:
    """Return whether derivatives differ on both sides: a contact just begins, or a rule of mixing has a tie.

    Args:
        state: The state.
        backbone: Who is held in place.
        known: Its overlaps and those that make a contact, of a pair law that is no sum.
    """
    if has_tie(state.potential):
        return True
    held = _felt(state, backbone)
    for term in _kinked(state):
        overlap, least = _overlaps_and_least(term) if known is None else known
        close = np.where(np.asarray(least) > 0, least, TOUCH)  # of laws that attract, too
        if np.any(held & (np.abs(overlap) <= close)):
            return True
    return False


def _kinked(state: State) -> list[State]:
    """Return a state for every term that is a pair law whose second derivative jumps where a contact begins."""
    terms = [term for _, term in state.potential.terms()]
    laws = [term for term in terms if isinstance(term, PairPotential) and term.smoothness < 2]
    return [replaced(state, {"potential": law}) for law in laws]


def is_kinked(state: State) -> bool:
    """Return whether the second derivative of a pair law jumps where a contact begins."""
    return bool(_kinked(state))


def changes_within(state: State, network: Network, step: Position | np.ndarray) -> bool:
    """Return whether a contact of the backbone may open or close within twice a step of the particles, shape (n, d).

    Args:
        state: The state, its pairs listed with a skin, so that gaps are seen as well as overlaps.
        network: Its backbone.
        step: Where particles are still to go.
    """
    held = _felt(state, network.backbone)
    for term in _kinked(state):
        overlap, change = (np.asarray(part) for part in _overlaps_along(term, jnp.asarray(step)))
        if np.any(held & (np.abs(overlap) <= 2 * np.abs(change))):
            return True
    return False


def _felt(state: State, backbone: np.ndarray) -> np.ndarray:
    """Return which listed pairs join particles of the backbone of which not both are held, shape (m,)."""
    pairs, still = state.pairs, state.configuration.immobile
    i, j = np.asarray(pairs.i), np.asarray(pairs.j)
    return np.asarray(pairs.mask) & backbone[i] & backbone[j] & ~(still[i] & still[j])


def _least_contacts(state: State) -> np.ndarray:
    """Return how many contacts hold a particle, shape (n,): one more than its free components; none if it is held."""
    n, d = state.position.shape
    held = np.zeros((n, d), bool) if state.configuration.held is None else np.asarray(state.configuration.held)
    free = np.sum(~held, axis=1)
    return np.where(free > 0, free + 1, 0)


@jax.jit
def _overlaps_along(state: State, step: Position) -> tuple[Float[Array, " m"], Float[Array, " m"]]:
    return jax.jvp(lambda x: _relative_overlaps(state.moved(x, state.pairs)), (state.position,), (step,))


def with_contacts(state: State, network: Network) -> State:
    """Keep the backbone's contacts only: rounding decides which contacts of a rattler exist, so none may count."""
    if not isinstance(state.potential, PairPotential):
        return state
    n = state.configuration.n_particles
    capacity = math.ceil(standard_capacity(network.n_contacts / n) * n)
    return state.with_pairs(on_device(padded_pairs(network.i, network.j, network.shift, capacity)))


def _prune(i: np.ndarray, j: np.ndarray, n: int, least: np.ndarray) -> np.ndarray:
    """Remove particles with fewer contacts than their ``least`` until none is left to remove; return who remains."""
    alive = np.ones(n, dtype=bool)
    while True:
        bonds = alive[i] & alive[j]
        counts = np.bincount(np.concatenate([i[bonds], j[bonds]]), minlength=n)
        remaining = alive & (counts >= least)
        if np.array_equal(remaining, alive):
            return alive
        alive = remaining
