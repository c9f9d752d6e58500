"""What a system is made of: boxes, configurations, and array aliases.

Positions are real coordinates (not fractional, not wrapped). A periodic box is a (d, d) matrix whose *columns* are the
lattice vectors; a free system has its own type, so that no code asks whether a box is ``None``.
"""

from __future__ import annotations

import dataclasses
import re
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from mdsens.given import float64_array, integer_array, is_concrete, shown

_FLATTEST = 1e-10  # volume of a box over the product of its edges: below, rounding decides on its handedness
_NAME = re.compile(r"[^\s\[\],]{1,50}")  # what a species may be called in paths, files and names of figures
Module = TypeVar("Module", bound=eqx.Module)
Position = Float[Array, "n d"]
Species = Int[Array, " n"]
Scalar = Float[Array, ""]
LARGEST = 1e100  # of lengths and energies, and the inverse of the smallest: their products stay within float64
Components = tuple[Array, ...]  # d arrays, one per Cartesian component: kernels over them vectorise, (m, d) ones do not


def require_x64() -> None:
    """Refuse to run in single precision.

    Raises:
        RuntimeError: When JAX's 64-bit mode is off; the message names the switch.
    """
    if not jax.config.read("jax_enable_x64"):
        raise RuntimeError(
            "mdsens needs 64-bit floats: call jax.config.update('jax_enable_x64', True) before creating any array "
            "(or set JAX_ENABLE_X64=1)."
        )


def replaced(module: Module, changes: Mapping[str, object]) -> Module:
    """Return a copy of a module with some fields changed, unchecked: 30 times faster than ``eqx.tree_at``."""
    copy = object.__new__(type(module))
    for field in dataclasses.fields(module):
        value = changes[field.name] if field.name in changes else getattr(module, field.name)
        object.__setattr__(copy, field.name, value)
    return copy


class Box(eqx.Module):
    """The space in which particles live; ``displacement`` is its metric."""

    @property
    @abstractmethod
    def dimension(self) -> int:
        """Spatial dimension d, 2 or 3."""

    @abstractmethod
    def images(self, separation: Components) -> Components:
        """Return how many lattice vectors part differences of real positions from nearest images: S of x - B S."""

    @abstractmethod
    def nearest(self, separation: Components) -> Components:
        """Map the d components of differences of real positions to those of the displacement between nearest images."""

    @abstractmethod
    def reduced(self, position: Float[Array, "*n d"]) -> Float[Array, "*n d"]:
        """Return coordinates that stay the same when the box is deformed and positions with it."""

    @abstractmethod
    def real(self, reduced: Float[Array, "*n d"]) -> Float[Array, "*n d"]:
        """Return real coordinates from reduced ones."""

    def displacement(self, separation: Float[Array, "*m d"]) -> Float[Array, "*m d"]:
        """Return the nearest-image displacement of a difference of real positions, same shape."""
        return jnp.stack(self.nearest(tuple(jnp.moveaxis(separation, -1, 0))), axis=-1)


class PeriodicBox(Box):
    r"""A parallelepiped spanned by the columns of ``matrix``, periodic along all of them or along some.

    The displacement between nearest images is :math:`\Delta - B\,\mathrm{round}(B^{-1}\Delta)`, with the image counts
    held constant under differentiation: a derivative in ``matrix`` moves the images and leaves real positions where
    they are. The rounding is the minimum image when every interaction is shorter than half the box's smallest height.
    Along an axis that is not periodic nothing has an image and particles may be anywhere (a slab, a wire); the length
    of its vector means nothing, and there is no pressure.

    Attributes:
        matrix: Lattice vectors as columns, shape (d, d), units of length, positive determinant.
        periodic: Along which of them the box is periodic, d truth values, all by default.

    Raises:
        ValueError: When the matrix is not square, not of real numbers of 64 bits, not finite, larger than 1e100,
            left-handed or flat, or no axis is periodic.
    """

    matrix: Float[Array, "d d"]
    periodic: tuple[bool, ...] = eqx.field(static=True)

    def __init__(self, matrix: object, periodic: object = None) -> None:
        require_x64()
        self.matrix = float64_array(matrix, "box matrix")
        self.periodic = _axes(periodic, self.matrix.shape[0] if self.matrix.ndim else 0)

    def __check_init__(self) -> None:
        shape = self.matrix.shape
        if len(shape) != 2 or shape[0] != shape[1] or shape[0] not in (2, 3):
            raise ValueError(
                f"box matrix has shape {shape}; it must be (2, 2) or (3, 3), lattice vectors as columns: "
                "PeriodicBox.cubic(length, dimension) for a cube, PeriodicBox(np.diag(edges)) for a rectangle."
            )
        if len(self.periodic) != shape[0] or not any(self.periodic):
            raise ValueError(
                f"periodic is {self.periodic}; it must hold {shape[0]} truth values, one at least true: a system that "
                "is periodic along no axis has a FreeBox."
            )
        if is_concrete(self.matrix):
            _check_lattice(np.asarray(self.matrix))

    @classmethod
    def cubic(cls, length: object, dimension: int) -> PeriodicBox:
        """Build a square (d = 2) or cubic (d = 3) box.

        Args:
            length: Its edge, units of length, > 0.
            dimension: 2 or 3.

        Raises:
            ValueError: When the length is not one positive finite number, or the dimension another one.
        """
        require_x64()
        edge = float64_array(length, "length of a cubic box")
        if edge.ndim or (is_concrete(edge) and not 0 < float(edge) <= LARGEST):
            raise ValueError(
                f"length of a cubic box is {shown(length)}; it must be one number greater than 0 and at most "
                f"{LARGEST:g}: PeriodicBox(np.diag(edges)) makes a rectangular box."
            )
        return cls(edge * jnp.eye(_dimension(dimension)))

    @property
    def dimension(self) -> int:
        """Spatial dimension d."""
        return self.matrix.shape[0]

    @property
    def volume(self) -> Scalar:
        """Volume (area in 2D), units of length to the power d."""
        return _determinant(self.matrix)

    @property
    def is_periodic(self) -> bool:
        """Whether it is periodic along all axes, so that volume and pressure mean something."""
        return all(self.periodic)

    @property
    def length(self) -> Scalar:
        """Edge of the cube of equal volume, V^(1/d)."""
        return self.volume ** (1.0 / self.dimension)

    def images(self, separation: Components) -> Components:
        """Return the image counts, whole numbers as floats, held under differentiation."""
        held = jax.lax.stop_gradient
        inverse, axes = _inverse(held(self.matrix)), range(self.dimension)
        nothing = jnp.zeros_like(separation[0])
        return tuple(
            jnp.round(sum(inverse[a, b] * held(separation[b]) for b in axes)) if self.periodic[a] else nothing
            for a in axes
        )

    def nearest(self, separation: Components) -> Components:
        """Return the components of the nearest-image displacement, each of the shape given."""
        counts, axes = self.images(separation), range(self.dimension)
        return tuple(separation[a] - sum(self.matrix[a, b] * counts[b] for b in axes) for a in axes)

    @property
    def inverse(self) -> Float[Array, "d d"]:
        """Inverse of the matrix: takes real to fractional coordinates."""
        return _inverse(self.matrix)

    def reduced(self, position: Float[Array, "*n d"]) -> Float[Array, "*n d"]:
        """Return fractional coordinates."""
        return position @ self.inverse.T

    def real(self, reduced: Float[Array, "*n d"]) -> Float[Array, "*n d"]:
        """Return real coordinates from fractional ones."""
        return reduced @ self.matrix.T

    def wrap(self, position: Float[Array, "*n d"]) -> Float[Array, "*n d"]:
        """Return the images of the positions inside the box (fractional coordinates in [0, 1) along periodic axes)."""
        fractional = self.reduced(position)
        return self.real(fractional - jnp.floor(fractional) * jnp.asarray(self.periodic))


def _axes(periodic: object, dimension: int) -> tuple[bool, ...]:
    if periodic is None:
        return (True,) * dimension
    if not isinstance(periodic, Sequence | np.ndarray) or not all(
        isinstance(axis, bool | np.bool_) for axis in periodic
    ):
        raise ValueError(
            f"periodic is {shown(periodic)}; it must be a truth value per axis, such as (True, True, False)."
        )
    return tuple(map(bool, periodic))


def _dimension(size: object) -> int:
    if isinstance(size, bool) or not isinstance(size, int | np.integer) or size not in (2, 3):
        raise ValueError(f"the dimension of space is {shown(size)}; it must be 2 or 3.")
    return int(size)


def _check_lattice(matrix: np.ndarray) -> None:
    if not (np.abs(matrix) <= LARGEST).all():  # NaN is refused, too
        raise ValueError(
            f"box matrix is {matrix.tolist()}; every entry must be finite and not larger than {LARGEST:g}."
        )
    edges = np.linalg.norm(matrix, axis=0)
    if not (edges >= 1 / LARGEST).all() or not np.linalg.det(matrix / edges) > _FLATTEST:
        raise ValueError(
            f"box matrix {matrix.tolist()} has determinant {float(np.linalg.det(matrix)):.6g}; it must be positive: "
            "order the lattice vectors right-handed, make none of them zero and no two of them parallel."
        )


def _determinant(matrix: Float[Array, "d d"]) -> Scalar:
    if matrix.shape[0] == 2:
        return matrix[0, 0] * matrix[1, 1] - matrix[0, 1] * matrix[1, 0]
    return jnp.dot(matrix[0], jnp.cross(matrix[1], matrix[2]))


def _inverse(matrix: Float[Array, "d d"]) -> Float[Array, "d d"]:
    """Invert by the adjugate: a LAPACK call inside a compiled loop costs more than the forces of 128 particles."""
    if matrix.shape[0] == 2:
        adjugate = jnp.array([[matrix[1, 1], -matrix[0, 1]], [-matrix[1, 0], matrix[0, 0]]])
    else:
        a, b, c = matrix
        adjugate = jnp.stack([jnp.cross(b, c), jnp.cross(c, a), jnp.cross(a, b)], axis=1)
    return adjugate / _determinant(matrix)


class FreeBox(Box):
    """Unbounded space: a cluster with nothing around it.

    Attributes:
        size: Spatial dimension d, 2 or 3.

    Raises:
        ValueError: For another dimension.
    """

    size: int = eqx.field(static=True, converter=_dimension)

    @property
    def dimension(self) -> int:
        """Spatial dimension d."""
        return self.size

    def images(self, separation: Components) -> Components:
        """Return zeros: nothing has an image."""
        return tuple(jnp.zeros_like(part) for part in separation)

    def nearest(self, separation: Components) -> Components:
        """Return the separation itself."""
        return separation

    def reduced(self, position: Float[Array, "*n d"]) -> Float[Array, "*n d"]:
        """Return the position itself: there is no box to follow."""
        return position

    def real(self, reduced: Float[Array, "*n d"]) -> Float[Array, "*n d"]:
        """Return the position itself."""
        return reduced


class Groups(eqx.Module):
    """Particles that belong together: bonds, angles; the members of a group, their images and its kind.

    Attributes:
        index: Particles of every group, shape (m, k), k >= 2.
        shift: Image counts of the further members, shape (m, k - 1, d): member a lies at x_a + B S_a.
        kind: Kind of every group, shape (m,), from 0.

    Raises:
        ValueError: When shapes disagree, numbers are not integers, or a group holds one particle (image and all) twice.
    """

    index: Int[Array, "m k"]
    shift: Int[Array, "m k-1 d"]
    kind: Int[Array, " m"]

    def __init__(self, index: object, shift: object, kind: object = None) -> None:
        self.index, self.shift = integer_array(index, "index of groups"), integer_array(shift, "shift of groups")
        m = self.index.shape[0] if self.index.ndim else 0
        self.kind = integer_array(np.zeros(m, int) if kind is None else kind, "kind of groups")

    def __check_init__(self) -> None:
        m, k = self.index.shape if self.index.ndim == 2 else (-1, -1)
        if m < 0 or k < 2 or self.shift.shape[:-1] != (m, k - 1) or self.kind.shape != (m,):
            raise ValueError(
                f"groups have index {self.index.shape}, shift {self.shift.shape} and kind {self.kind.shape}; these "
                "must be (m, k), (m, k - 1, d) and (m,) with k >= 2."
            )
        if not is_concrete(self.index, self.shift, self.kind):
            return
        index, shift = np.asarray(self.index), np.asarray(self.shift)
        places = np.concatenate([np.zeros((m, 1, shift.shape[-1]), int), shift], axis=1)
        places = np.concatenate([index[..., None], places], axis=-1)
        for a in range(k):
            for b in range(a):
                same = np.flatnonzero((places[:, a] == places[:, b]).all(axis=-1))
                if same.size:
                    raise ValueError(
                        f"group {same[0]} holds particle {index[same[0], a]} twice; its members must differ."
                    )
        if (np.asarray(self.kind) < 0).any():
            raise ValueError("the kind of a group is negative; kinds are numbered from 0.")

    @classmethod
    def nearest(cls, index: object, position: object, box: Box, kind: object = None) -> Groups:
        """Return groups whose further members are the nearest images to their first ones.

        Args:
            index: Particles of every group, shape (m, k).
            position: Real coordinates, shape (n, d), units of length.
            box: The space they live in.
            kind: Kind of every group, shape (m,); 0 by default.

        Raises:
            ValueError: When a group names a particle that does not exist, positions do not fit the box, or as for the
                class.
        """
        _check_box(box)
        members, x = (
            np.asarray(integer_array(index, "index of groups")),
            np.asarray(float64_array(position, "position")),
        )
        if members.ndim != 2 or members.shape[1] < 2:
            raise ValueError(f"groups have index {members.shape}; it must be (m, k) with k >= 2: one row per group.")
        if x.ndim != 2 or x.shape[1] != box.dimension:
            raise ValueError(f"position has shape {x.shape}; it must be (n, {box.dimension}).")
        _check_finite(x)
        _check_members(members, len(x))
        apart = x[members[:, :1]] - x[members[:, 1:]]
        counts = box.images(tuple(jnp.asarray(np.moveaxis(apart, -1, 0))))
        return cls(members, np.stack([np.asarray(count) for count in counts], axis=-1).astype(int), kind)

    @property
    def n_kinds(self) -> int:
        """Number of kinds: one more than the largest."""
        return int(np.max(np.asarray(self.kind), initial=-1)) + 1

    def vectors(self, configuration: Configuration) -> tuple[Components, ...]:
        """Return x_0 - x_a - B S_a from every further member to the first one, components of shape (m,)."""
        x, box = configuration.position, configuration.box
        found = []
        for a in range(1, self.index.shape[1]):
            apart = x[self.index[:, 0]] - x[self.index[:, a]]
            if isinstance(box, PeriodicBox):
                apart = apart - self.shift[:, a - 1].astype(float) @ box.matrix.T
            found.append(tuple(apart.T))
        return tuple(found)


def _check_members(index: np.ndarray, n: int) -> None:
    if index.size and (index.min() < 0 or index.max() >= n):
        group = int(np.argmax(((index < 0) | (index >= n)).any(axis=1)))
        raise ValueError(
            f"group {group} holds the particles {index[group].tolist()}, but there are {n}, numbered from 0."
        )


def _coordinates(position: object) -> Position:
    require_x64()
    return float64_array(position, "position")


def _species_indices(species: object) -> Species:
    return integer_array(species, "species")


def _name_tuple(names: object) -> tuple[str, ...]:
    if isinstance(names, str) or not isinstance(names, Sequence) or not all(isinstance(name, str) for name in names):
        raise ValueError(f'species_names is {shown(names)}; it must be texts, one per species, such as ("A", "B").')
    return tuple(names)


def _check_box(box: object) -> None:
    if not isinstance(box, Box):
        raise ValueError(
            f"box is {shown(box)}; it must be a PeriodicBox, such as PeriodicBox.cubic(length, dimension), or a "
            "FreeBox."
        )


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
        _check_box(self.box)
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
                _check_members(np.asarray(groups.index), shape[0])
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


def _check_finite(position: np.ndarray) -> None:
    allowed = (np.abs(position) <= LARGEST).all(axis=1)  # NaN is refused, too
    if not allowed.all():
        first = int(np.argmin(allowed))
        raise ValueError(
            f"position of particle {first} is {position[first]}; every coordinate must be finite and at most "
            f"{LARGEST:g}."
        )


def _check_values(position: np.ndarray, species: np.ndarray, n_species: int) -> None:
    _check_finite(position)
    if species.min() < 0 or species.max() >= n_species:
        raise ValueError(
            f"species indices span {species.min()}..{species.max()}; they must lie in 0..{n_species - 1}, one per name."
        )
