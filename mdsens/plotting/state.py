"""A relaxed state and the derivative of its positions, as pictures take them: plain arrays."""

from __future__ import annotations

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Packing:
    """One relaxed state.

    Attributes:
        position: Real coordinates, shape (n, d), units of length.
        diameter: Diameter of every particle, shape (n,), units of length.
        species: Species index of every particle, shape (n,).
        species_names: One name per species.
        box: Lattice vectors along which it repeats as columns, shape (d, p); shape (d, 0) for a free system.
        contacts: Backbone contacts (i, j), shape (c, 2), but for those between held particles.
        bonds: Vector of every contact from i to the image of j that it touches, shape (c, d).
        overlap: Relative overlap 1 - r/sigma of every contact, shape (c,); may be negative for laws that attract.
        rattlers: True for particles that nothing holds in place, shape (n,).
        held: True for particles of which a component is held by decree, shape (n,).
        dots: Whether particles have no diameters, and those given are of the dots that mark them.
    """

    position: np.ndarray
    diameter: np.ndarray
    species: np.ndarray
    species_names: tuple[str, ...]
    box: np.ndarray
    contacts: np.ndarray
    bonds: np.ndarray
    overlap: np.ndarray
    rattlers: np.ndarray
    held: np.ndarray
    dots: bool = False

    @property
    def n_particles(self) -> int:
        """Number of particles n."""
        return len(self.position)

    @property
    def dimension(self) -> int:
        """Spatial dimension d."""
        return self.position.shape[1]

    @property
    def packing_fraction(self) -> float:
        """Volume of the particles over that of the box, overlaps counted twice; NaN for an open box and for dots."""
        if self.dots or self.box.shape[1] < self.dimension:
            return float("nan")
        unit_ball = np.pi / 4 if self.dimension == 2 else np.pi / 6
        return float(unit_ball * np.sum(self.diameter**self.dimension) / abs(np.linalg.det(self.box)))


@dataclasses.dataclass(frozen=True)
class Arrows:
    """The derivative of the positions in one parameter.

    Attributes:
        parameter: Name of the parameter, such as ``soft_sphere.sigma[A]``.
        unit: The parameter's unit in words, such as "length", "energy/length^2" or "none".
        values: dx/dp, shape (n, d).
        relative_error: The certificate's estimate of the relative error; NaN for zero within its error.
        box_rate: Derivative of the lattice vectors in the parameter at fixed positions, shape (d, p); zero unless the
            parameter is one of the box.
        note: A remark for the figure, such as "one-sided"; may be empty.
        quantity: What the arrows are, where they are no derivatives; then only the note is written beside.
    """

    parameter: str
    unit: str
    values: np.ndarray
    relative_error: float
    box_rate: np.ndarray
    note: str = ""
    quantity: str = ""

    @property
    def magnitude(self) -> np.ndarray:
        """Length |dx_i/dp| for every particle, shape (n,)."""
        return np.asarray(np.linalg.norm(self.values, axis=1))

    @property
    def significant(self) -> bool:
        """Whether the derivative exceeds its own error estimate tenfold; else its direction is rounding."""
        return self.relative_error < 0.1 and bool(np.any(self.values))
