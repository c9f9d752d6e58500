r"""Where the first contact opens or closes along a parameter, predicted from the response.

A derivative of a relaxed state holds until a pair crosses a kink of the law. With :math:`s = r/\sigma` of a pair and
its total derivative along the parameter, that happens at the step :math:`(s_k - s)/\frac{ds}{dp}`, to first order;
the smallest over all pairs of the backbone is the validity radius. Rattlers are left out, for nothing says where in its
cage one lies: one that is caught as the cage closes changes the contacts, too, and may do so earlier.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mdsens.contacts import TOUCH, Network
from mdsens.energy import PairPotential, State
from mdsens.energy.parameters import Parameters
from mdsens.neighbors import pair_distances
from mdsens.types import Position


@dataclasses.dataclass(frozen=True)
class ContactChange:
    """The first change along one direction of a parameter.

    Attributes:
        step: How far away it is, units of the parameter, >= 0; infinite where nothing is predicted.
        pair: The two particles; (-1, -1) where nothing is predicted.
        closes: Whether they approach (a contact closes) or recede (it opens).
        kink: The distance at which it happens, units of the pair's sigma.
    """

    step: float
    pair: tuple[int, int]
    closes: bool
    kink: float

    def __str__(self) -> str:
        """Say what happens, such as ``contact 3-17 opens``."""
        if not np.isfinite(self.step):
            return "no contact changes"
        i, j = sorted(self.pair)
        return f"contact {i}-{j} {'closes' if self.closes else 'opens'}"


@dataclasses.dataclass(frozen=True)
class ContactChanges:
    """The first change on both sides.

    Attributes:
        up: With the parameter growing.
        down: With the parameter shrinking.
    """

    up: ContactChange
    down: ContactChange

    @property
    def radius(self) -> float:
        """The validity radius: the step to the nearer of both, units of the parameter."""
        return min(self.up.step, self.down.step)


def contact_changes(
    state: State,
    network: Network,
    rates: Float[np.ndarray | Array, "k n d"],
    tangents: Parameters,
    kinks: Sequence[float] | None = None,
) -> list[ContactChanges]:
    """Predict the first change of a contact along every direction.

    Args:
        state: The relaxed state, its pairs listed with a skin: pairs beyond it are taken to stay apart.
        network: Its backbone; rattlers do not count.
        rates: Derivative of the real positions along every direction, shape (k, n, d).
        tangents: What the parameters and the box do along it, leading axis k.
        kinks: Distances that count, units of sigma; by default those of the law.

    Returns:
        The changes along every direction; none is predicted for laws that are no pair laws, or have no kink.
    """
    count = len(rates)
    if not isinstance(state.potential, PairPotential):
        return [ContactChanges(_never(), _never())] * count
    places = np.asarray(state.potential.kinks if kinks is None else kinks, float)
    i, j = np.asarray(state.pairs.i), np.asarray(state.pairs.j)
    held = np.asarray(state.pairs.mask) & network.backbone[i] & network.backbone[j]
    if not (len(places) and held.any()):
        return [ContactChanges(_never(), _never())] * count
    scaled, slopes = (np.asarray(part) for part in _scaled_rates(state, tangents, jnp.asarray(rates)))
    left = places[:, None] - scaled[held]
    left = np.where(np.abs(left) > TOUCH, left, np.nan)  # touching already: one-sided, and no step away
    return [
        _first(left / np.where(slope == 0, np.nan, slope), left, i[held], j[held], places) for slope in slopes[:, held]
    ]


def _first(steps: np.ndarray, left: np.ndarray, i: np.ndarray, j: np.ndarray, places: np.ndarray) -> ContactChanges:
    """Return the smallest positive and the largest negative step, arrays of shape (kinks, pairs)."""
    found = []
    for sign in (1, -1):
        along = np.where(sign * steps > 0, sign * steps, np.inf)
        k, pair = np.unravel_index(int(np.argmin(along)), along.shape)
        if not np.isfinite(along[k, pair]):
            found.append(_never())
            continue
        pair_of = (int(i[pair]), int(j[pair]))
        found.append(ContactChange(float(along[k, pair]), pair_of, bool(left[k, pair] < 0), float(places[k])))
    return ContactChanges(*found)


def _never() -> ContactChange:
    return ContactChange(float("inf"), (-1, -1), False, float("nan"))


@jax.jit
def _scaled_rates(
    state: State, tangents: Parameters, rates: Float[Array, "k n d"]
) -> tuple[Float[Array, " m"], Float[Array, "k m"]]:
    """Return r/sigma of every listed pair and its derivative along every direction."""

    def scaled(x: Position, p: Parameters) -> Float[Array, " m"]:
        there = state.at(x, p)
        assert isinstance(there.potential, PairPotential)
        reach = there.potential.reach(there.configuration, there.pairs)
        return pair_distances(there.configuration, there.pairs) / reach * there.potential.cutoff

    along = lambda dx, dp: jax.jvp(scaled, (state.position, state.parameters), (dx, dp))[1]  # noqa: E731
    return scaled(state.position, state.parameters), jax.vmap(along)(rates, tangents)
