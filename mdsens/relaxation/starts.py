"""Starts from which nothing can be relaxed: particles at one place, energies that are not finite, endless lists."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from mdsens.energy import BondedPotential, PairPotential, Potential, State, harmless
from mdsens.energy.foreign import NeighborEnergyFunction
from mdsens.energy.group_parameters import at_groups
from mdsens.energy.parameters import at_pairs
from mdsens.errors import UserError
from mdsens.neighbors import heights, neighbor_pairs, pair_distances
from mdsens.types import Components, Configuration, PeriodicBox

_SAME = 1e-9  # of the range: nearer pairs lie at one place
_NOTHING = 1e-12  # of the system's extent: shorter bonds have no direction
_MOST_NEIGHBORS = 1e6  # of a particle, images included
_distances = jax.jit(pair_distances)


def refuse_coincident(state: State, reach: float, order: np.ndarray) -> None:
    """Refuse pairs and bonds without a direction.

    Args:
        state: The start, its pairs listed.
        reach: The longest interaction range, units of length.
        order: Which particle each of the state's is.

    Raises:
        UserError: When a listed pair, or a member of a bonded group and its first one, lie at one place.
    """
    distances = np.asarray(_distances(state.configuration, state.pairs))
    closest = int(np.argmin(distances))
    if bool(state.pairs.mask[closest]) and distances[closest] < _SAME * reach:
        i, j = sorted(int(order[index[closest]]) for index in (state.pairs.i, state.pairs.j))
        raise UserError(
            f"particles {i} and {j} lie at the same place (closer than {_SAME * reach:.1e}); the force between them "
            "has no direction: move one of them."
        )
    extent = float(np.ptp(np.asarray(state.position), axis=0).max())
    for name, part in state.potential.terms():
        if not isinstance(part, BondedPotential):
            continue
        index, lengths = _members(part, state.configuration)
        short = np.argwhere(lengths <= _NOTHING * extent)
        if short.size:
            group, a = (int(k) for k in short[0])
            raise UserError(
                f"the members {index[group, 0]} and {index[group, a + 1]} of group {group} of {name} "
                f"({part.topology}) lie at the same place (closer than {_NOTHING * extent:.1e}); the force between "
                "them has no direction: move one of them."
            )


def refuse_endless(configuration: Configuration, reach: float) -> None:
    """Refuse a range that reaches so many images that their pairs cannot be listed.

    Raises:
        UserError: When a particle would have more than a million neighbours, images included.
    """
    box = configuration.box
    if not isinstance(box, PeriodicBox) or not np.isfinite(reach):
        return
    height = heights(np.asarray(box.matrix))[list(box.periodic)]
    with np.errstate(over="ignore"):
        n_images = float(np.prod(2 * reach / height))
    if n_images > 1 and n_images * configuration.n_particles > _MOST_NEIGHBORS:
        raise UserError(
            f"the interaction with the skin of its list reaches {reach:.6g}, {reach / height.min():.3g} times the "
            f"smallest height of the box, {height.min():.6g}: every particle would have about "
            f"{n_images * configuration.n_particles:.1g} neighbours, at most {_MOST_NEIGHBORS:.0e} are listed. Give "
            "lengths and box in one unit, or a shorter range."
        )


def refuse_nonfinite(state: State) -> None:
    """Refuse a start whose energy or forces are not finite, and say which term and which particles it is.

    Args:
        state: The start, its pairs listed, particles in their own order; where energy and forces are finite, nothing
            is refused.

    Raises:
        UserError: With the first term that is not finite.
    """
    for name, part in state.potential.terms():
        value, force = part.energy_and_forces(state.configuration, state.pairs)
        if np.isfinite(float(value)) and np.isfinite(np.asarray(force)).all():
            continue
        more = " and more neighbours than max_neighbors" if isinstance(part, NeighborEnergyFunction) else ""
        raise UserError(
            f"the energy of the start is not finite: {name} gives {_culprit(part, state, float(value), force)}. Move "
            f"particles, or look for parameters out of range{more}."
        )


def _culprit(part: Potential, state: State, value: float, force: jax.Array) -> str:
    """Say which pair, group or particle has no finite energy or force."""
    configuration, pairs = state.configuration, state.pairs
    if isinstance(part, PairPotential):
        expanded = at_pairs(part, configuration.species, pairs.i, pairs.j)
        distance = harmless(expanded, pair_distances(configuration, pairs), pairs)
        energies, slopes = jax.vjp(expanded.pair_energy, distance)
        odd = _odd(energies, *slopes(jnp.ones_like(energies)))
        if odd.size:
            i, j = (int(np.asarray(index)[odd[0]]) for index in (pairs.i, pairs.j))
            return f"particles {i} and {j}, {float(distance[odd[0]]):.3g} apart, {_words(energies[odd[0]])}"
    if isinstance(part, BondedPotential):
        groups = part.groups(configuration)
        law = at_groups(part, groups.kind)
        energies, slopes = jax.vjp(law.group_energy, groups.vectors(configuration.position, configuration.box))
        odd = _odd(energies, *jax.tree.leaves(slopes(jnp.ones_like(energies))))
        if odd.size:
            index, lengths = _members(part, configuration)
            who, apart = index[odd[0]].tolist(), ", ".join(f"{length:.6g}" for length in lengths[odd[0]])
            return f"group {odd[0]} of {part.topology}, particles {who} at {apart}, {_words(energies[odd[0]])}"
    same = _at_one_place(configuration)
    if same:
        return f"{_words(value)}, and {same}"
    odd = np.flatnonzero(~np.isfinite(np.asarray(force)).all(axis=1))
    if odd.size:
        return f"particle {odd[0]} at {np.asarray(state.position)[odd[0]].tolist()} a force that is not finite"
    return _words(value)


def _odd(energies: jax.Array, *slopes: jax.Array) -> np.ndarray:
    finite = np.isfinite(np.asarray(energies))
    for slope in slopes:
        finite = finite & np.isfinite(np.asarray(slope))
    return np.flatnonzero(~finite)


def _words(value: jax.Array | float) -> str:
    return f"the energy {float(value):.3g}" if not np.isfinite(float(value)) else "a force that is not finite"


def _members(part: BondedPotential, configuration: Configuration) -> tuple[np.ndarray, np.ndarray]:
    """Return the members of every group, shape (m, k), and the further ones' distances from the first, (m, k - 1)."""
    groups = part.groups(configuration)

    def length(vector: Components) -> np.ndarray:
        return np.sqrt(sum(np.asarray(c) ** 2 for c in vector))

    lengths = [length(v) for v in groups.vectors(configuration.position, configuration.box)]
    return np.asarray(groups.index), np.stack(lengths, axis=1)


def _at_one_place(configuration: Configuration) -> str:
    position = np.asarray(configuration.position)
    reach = _NOTHING * (float(np.ptp(position, axis=0).max()) or 1.0)
    pairs = neighbor_pairs(position, configuration.box, reach)
    if not pairs.mask.any():
        return ""
    first = int(np.argmax(pairs.mask))
    return f"particles {int(pairs.i[first])} and {int(pairs.j[first])} lie at the same place"
