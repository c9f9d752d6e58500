"""Where particles are, what they are, how they are joined, and which are held."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from mdsens.given import float64_array, integer_array, is_concrete, shown
from mdsens.types.arrays import Position, Species, check_finite, replaced, require_x64
from mdsens.types.boxes import Box, check_box
from mdsens.types.groups import Groups, check_members

_NAME = re.compile(r"[^\s\[\],]{1,50}")  # what a species may be called in paths, files and names of figures


def _coordinates(position: object) -> Position:
    require_x64()
    return float64_array(position, "position")


def _species_indices(species: object) -> Species:
    return integer_array(species, "species")


def _name_tuple(names: object) -> tuple[str, ...]:
    if isinstance(names, str) or not isinstance(names, Sequence) or not all(isinstance(name, str) for name in names):
        raise ValueError(f'species_names is {shown(names)}; it must be texts, one per species, such as ("A", "B").')
    return tuple(names)


def _check_topology(topology: object) -> None:
    if not isinstance(topology, Mapping):
        raise ValueError(f'topology is {shown(topology)}; it must be groups by name: {{"bonds": Groups.nearest(...)}}.')
    for name, groups in topology.items():
        if not isinstance(name, str) or not isinstance(groups, Groups):
            raise ValueError(
                f"topology has {shown(groups)} for {shown(name)}; it must be groups by name: "
                '{"bonds": Groups.nearest(...)}.'
            )


class Configuration(eqx.Module):
    """Where the particles are, what they are, how they are joined, which are held, and the box around them.

    Attributes:
        position: Real coordinates, shape (n, d), units of length.
        species: Species index of every particle, shape (n,), 0 <= index < len(species_names).
        box: The space they live in.
        species_names: One name per species.
        topology: Groups of particles by name, such as ``bonds``, for bonded terms.
        held: Components of positions that are held, shape (n, d); None where all are free. What is held is no unknown
            of a relaxed state but a parameter, and follows the box when that is deformed. ``holding`` sets it.

    Raises:
        ValueError: When shapes disagree, a coordinate is not finite, larger than 1e100 or of fewer than 64 bits, a
            species index has no name, a name appears twice or could not stand in a path such as
            ``soft_sphere.sigma[A,B]``, a group names a particle that does not exist, or every component is held.
    """

    position: Position = eqx.field(converter=_coordinates)
    species: Species = eqx.field(converter=_species_indices)
    box: Box
    species_names: tuple[str, ...] = eqx.field(static=True, default=("A",), converter=_name_tuple)
    topology: dict[str, Groups] = eqx.field(default_factory=dict)
    held: Bool[Array | np.ndarray, "n d"] | None = None

    def __check_init__(self) -> None:
        check_box(self.box)
        _check_names(self.species_names)
        _check_topology(self.topology)
        shape = self.position.shape
        if len(shape) != 2 or shape[1] != self.box.dimension or shape[0] < 1:
            raise ValueError(f"position has shape {shape}; it must be (n, {self.box.dimension}) with n >= 1.")
        if self.species.shape != (shape[0],):
            raise ValueError(
                f"species has shape {self.species.shape}; it must be ({shape[0]},), one index per particle."
            )
        if is_concrete(self.position, self.species):
            _check_values(np.asarray(self.position), np.asarray(self.species), len(self.species_names))
        for groups in self.topology.values():
            if is_concrete(groups):
                check_members(np.asarray(groups.index), shape[0])
            if groups.shift.shape[-1] != shape[1]:
                raise ValueError(f"groups have image counts of {groups.shift.shape[-1]} axes in {shape[1]} dimensions.")
        if self.held is not None:
            _check_held(self.held, shape)

    @property
    def n_particles(self) -> int:
        """Number of particles n."""
        return self.position.shape[0]

    @property
    def dimension(self) -> int:
        """Spatial dimension d."""
        return self.box.dimension

    def holding(self, which: object) -> Configuration:
        """Return the configuration with some particles, or components of them, held where they are.

        Args:
            which: Numbers of particles, or truth values: one per particle, shape (n,), or per component, shape (n, d).

        Raises:
            ValueError: When there is no such particle, the shape is another one, or nothing is left free.
        """
        n, d = self.position.shape
        chosen = np.asarray(which)
        if chosen.dtype != bool:
            numbers = np.asarray(integer_array(chosen if chosen.size else np.zeros(0, int), "held particles"))
            if numbers.ndim != 1 or (numbers.size and not 0 <= numbers.min() <= numbers.max() < n):
                raise ValueError(f"held particles are {numbers.tolist()}; there are {n}, numbered from 0.")
            chosen = np.isin(np.arange(n), numbers)
        if chosen.shape == (n,):
            chosen = np.repeat(chosen[:, None], d, axis=1)
        _check_held(chosen, (n, d))
        return replaced(self, {"held": jnp.asarray(chosen) if chosen.any() else None})

    def on_free(self, field: Float[Array, "n d"]) -> Float[Array, "n d"]:
        """Return a field of the particles with zeros where a component is held."""
        return field if self.held is None else jnp.where(self.held, 0.0, field)

    def without_mean(self, moves: np.ndarray) -> np.ndarray:
        """Return how particles move without the mean along every axis along which none is held, shape (m, d)."""
        return np.asarray(moves - moves.mean(axis=0) * self.drifts)

    @property
    def drifts(self) -> np.ndarray:
        """Axes along which no particle is held, shape (d,), on the host."""
        return np.logical_not(self._held_on_host.any(axis=0))

    @property
    def immobile(self) -> np.ndarray:
        """Particles of which every component is held, shape (n,), on the host."""
        return np.all(self._held_on_host, axis=1)

    @property
    def _held_on_host(self) -> np.ndarray:
        return np.zeros(self.position.shape, bool) if self.held is None else np.asarray(self.held)

    @property
    def anchors(self) -> Float[Array, "n d"] | None:
        """Where particles are held, in coordinates that follow the box; None where all are free."""
        return None if self.held is None else self.box.reduced(self.position)


def _check_held(held: Array | np.ndarray, shape: tuple[int, ...]) -> None:
    if held.shape != shape or held.dtype != bool:
        raise ValueError(
            f"held has shape {held.shape} of {held.dtype}; it must hold truth values, one per particle, ({shape[0]},), "
            f"or one per component, {shape}."
        )
    if is_concrete(held) and np.asarray(held).all():
        raise ValueError("every component of every particle is held: leave at least one free.")


def _check_names(names: tuple[str, ...]) -> None:
    wrong = next((name for name in names if not (name.isprintable() and _NAME.fullmatch(name))), None)
    if wrong is not None:
        raise ValueError(
            f"a species is named {wrong!r}; a name has 1 to 50 characters and no blank, comma, bracket or control "
            "character."
        )
    if not names:
        raise ValueError('species_names is empty; it must hold one name per species, such as ("A",).')
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"two species are named {twice!r}; every species needs a name of its own.")


def _check_values(position: np.ndarray, species: np.ndarray, n_species: int) -> None:
    check_finite(position)
    if species.min() < 0 or species.max() >= n_species:
        raise ValueError(
            f"species indices span {species.min()}..{species.max()}; they must lie in 0..{n_species - 1}, one per name."
        )
