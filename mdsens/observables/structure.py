"""Pair structure, smooth enough to be differentiated: the radial distribution function and the structure factor."""

from __future__ import annotations

import itertools

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from mdsens.energy import State
from mdsens.energy.strain import periodic_box
from mdsens.errors import UserError
from mdsens.neighbors import PairList, pair_distances
from mdsens.observables.smooth import pairs_within
from mdsens.types import Scalar

_TAIL = 6.0  # widths beyond which a Gaussian, below 1e-8 of its peak, is left out
_MOST_WAVES = 200_000


class RadialDistribution(eqx.Module):
    r"""The radial distribution function at one distance, smeared by a Gaussian of standard deviation w.

    .. math:: g(r) = \frac{V}{N_a N_b\, S_d\, r^{d-1}} \sum_{i \in a, j \in b, i \neq j}
              \frac{e^{-(r - r_{ij})^2/2 w^2}}{\sqrt{2\pi}\,w}, \qquad S_2 = 2\pi,\ S_3 = 4\pi

    It tends to 1 at large distances (for equal species to 1 - 1/N). Without species, a and b are all particles.

    Attributes:
        distance: r, units of length.
        width: w, units of length.
        pairs: Pairs that may contribute.
        counted: How many times each of them counts, shape (m,): 0, 1 or 2.
        n_ordered: N_a N_b.
    """

    distance: float = eqx.field(static=True)
    width: float = eqx.field(static=True)
    pairs: PairList
    counted: Float[Array, " m"]
    n_ordered: float = eqx.field(static=True)

    def __call__(self, state: State) -> Scalar:
        """Return g(r), no unit."""
        box = periodic_box(state)
        apart = (pair_distances(state.configuration, self.pairs) - self.distance) / self.width
        near = jnp.sum(self.counted * jnp.exp(-0.5 * apart**2)) / (np.sqrt(2 * np.pi) * self.width)
        shell = 2 * np.pi * (box.dimension - 1) * self.distance ** (box.dimension - 1)
        return box.volume * near / (self.n_ordered * shell)


def radial_distribution(
    state: State, distance: float, width: float, species: tuple[str, str] | None = None
) -> RadialDistribution:
    """Make the radial distribution function at one distance, for a state and those near it.

    Args:
        state: The state, in a periodic box.
        distance: r, units of length, > 0.
        width: Standard deviation w of the smearing, units of length, > 0.
        species: Names of the species of both particles; any by default.

    Raises:
        UserError: For a free system, numbers out of range, or unknown species.
    """
    periodic_box(state)
    if not (distance > 0 and width > 0):
        raise UserError(f"g(r) at r = {distance:g} with width {width:g}: both must be greater than 0.")
    pairs = pairs_within(state, distance + _TAIL * width)
    counted, ordered = _counted(state, pairs, species)
    return RadialDistribution(float(distance), float(width), pairs, counted, ordered)


def _counted(state: State, pairs: PairList, names: tuple[str, str] | None) -> tuple[Float[Array, " m"], float]:
    configuration = state.configuration
    if names is None:
        return 2.0 * jnp.asarray(pairs.mask), float(configuration.n_particles**2)
    known = configuration.species_names
    for name in names:
        if name not in known:
            raise UserError(f"there is no species {name!r}; there are {', '.join(known)}.")
    a, b = (known.index(name) for name in names)
    first, second = configuration.species[pairs.i], configuration.species[pairs.j]
    matching: Bool[Array, " m"] = ((first == a) & (second == b)) | ((first == b) & (second == a))
    counts = np.bincount(np.asarray(configuration.species), minlength=len(known))
    return (2.0 if a == b else 1.0) * (matching & pairs.mask), float(counts[a] * counts[b])


class StructureFactor(eqx.Module):
    r"""The structure factor at one wave number, a mean over the box's wave vectors near it.

    .. math:: S(q) = \frac{\sum_m e^{-(q - q_m)^2/2 w^2}\, S_m}{\sum_m e^{-(q - q_m)^2/2 w^2}}, \qquad
              S_m = \frac1N \Big|\sum_j e^{i\,\mathbf{q}_m\cdot\mathbf{x}_j}\Big|^2, \quad
              \mathbf{q}_m = 2\pi B^{-T} m

    with integer m, of which one of every pair +-m is taken.

    Attributes:
        wave_number: q, units of inverse length.
        width: w, units of inverse length.
        waves: The integers m, shape (k, d).
    """

    wave_number: float = eqx.field(static=True)
    width: float = eqx.field(static=True)
    waves: Float[Array, "k d"]

    def __call__(self, state: State) -> Scalar:
        """Return S(q), no unit."""
        box = periodic_box(state)
        vectors = 2 * np.pi * self.waves @ box.inverse
        phase = vectors @ state.position.T
        power = (jnp.sum(jnp.cos(phase), axis=1) ** 2 + jnp.sum(jnp.sin(phase), axis=1) ** 2) / phase.shape[1]
        apart = (jnp.linalg.norm(vectors, axis=1) - self.wave_number) / self.width
        weight = jnp.exp(-0.5 * (apart**2 - jnp.min(apart**2)))
        return jnp.sum(weight * power) / jnp.sum(weight)


def structure_factor(state: State, wave_number: float, width: float | None = None) -> StructureFactor:
    """Make the structure factor at one wave number, for a state and those near it.

    Args:
        state: The state, in a periodic box.
        wave_number: q, units of inverse length, > 0.
        width: w, units of inverse length, > 0; by default the spacing of the box's wave vectors, 2 pi/V^(1/d).

    Raises:
        UserError: For a free system, numbers out of range, no wave vector near q, or too many of them.
    """
    box = periodic_box(state)
    width = 2 * np.pi / float(box.length) if width is None else width
    if not (wave_number > 0 and width > 0):
        raise UserError(f"S(q) at q = {wave_number:g} with width {width:g}: both must be greater than 0.")
    matrix = np.asarray(box.matrix)
    reach = np.ceil((wave_number + _TAIL * width) * np.linalg.norm(matrix, axis=0) / (2 * np.pi)).astype(int)
    if np.prod(2.0 * reach + 1) > _MOST_WAVES:
        raise UserError(
            f"S(q) at q = {wave_number:g} would take {np.prod(2.0 * reach + 1):.0f} wave vectors (at most "
            f"{_MOST_WAVES} are): choose a smaller q or width."
        )
    waves = np.array([m for m in itertools.product(*(range(-r, r + 1) for r in reach)) if m > (0,) * len(m)], float)
    sizes = np.linalg.norm(2 * np.pi * waves @ np.linalg.inv(matrix), axis=1)
    near = np.abs(sizes - wave_number) < _TAIL * width
    if not near.any():
        raise UserError(
            f"no wave vector of the box lies within {_TAIL * width:.3g} of q = {wave_number:g}; the smallest is "
            f"{sizes.min():.3g}."
        )
    return StructureFactor(float(wave_number), float(width), jnp.asarray(waves[near]))
