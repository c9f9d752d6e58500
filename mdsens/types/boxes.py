"""The space in which particles live: boxes periodic along all axes or some, and free space.

A periodic box is a (d, d) matrix whose *columns* are the lattice vectors; a free system has its own type, so that no
code asks whether a box is ``None``.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mdsens.given import float64_array, is_concrete, shown
from mdsens.types.arrays import LARGEST, Components, Scalar, require_x64

_FLATTEST = 1e-10  # volume of a box over the product of its edges: below, rounding decides on its handedness


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


def check_box(box: object) -> None:
    """Refuse what is no box."""
    if not isinstance(box, Box):
        raise ValueError(
            f"box is {shown(box)}; it must be a PeriodicBox, such as PeriodicBox.cubic(length, dimension), or a "
            "FreeBox."
        )
