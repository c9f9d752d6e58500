"""Where a relaxation starts, and the arithmetic of packing fractions that systems share."""

from __future__ import annotations

import dataclasses
import math
from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from pydantic import AfterValidator, Field

from mdsens.config import distinct
from mdsens.errors import UserError
from mdsens.types import LARGEST, Configuration, PeriodicBox, Position

Length = Annotated[float, Field(gt=0, ge=1 / LARGEST, le=LARGEST)]
Sites = Annotated[tuple[Annotated[int, Field(ge=0)], ...], AfterValidator(distinct)]


@dataclasses.dataclass(frozen=True)
class Start:
    """A system before its relaxation.

    Attributes:
        configuration: Positions, species and box.
        diameters: Diameter of every species, shape (s,), or of every particle, shape (n,), units of length; shape (0,)
            where the system does not say.
    """

    configuration: Configuration
    diameters: Float[Array, " k"]


def box_volume(diameters: np.ndarray, counts: np.ndarray, dimension: int, packing_fraction: float) -> float:
    r"""Return the volume in which discs or spheres have a packing fraction.

    .. math:: V = \frac{1}{\phi} \sum_k n_k v_d(\sigma_k),
              \quad v_2 = \frac{\pi}{4}\sigma^2, \quad v_3 = \frac{\pi}{6}\sigma^3

    Overlaps are counted twice, as is usual for soft particles.

    Args:
        diameters: Different diameters, shape (k,), units of length.
        counts: Number of particles of each, shape (k,).
        dimension: Spatial dimension d, 2 or 3.
        packing_fraction: phi, > 0.

    Returns:
        The volume (area in 2D), units of length to the power d.
    """
    total = float(np.sum(counts * diameters**dimension))
    return math.pi * total / {2: 4, 3: 6}[dimension] / packing_fraction


def box_edge(diameters: np.ndarray, counts: np.ndarray, dimension: int, packing_fraction: float) -> float:
    """Return the edge of the square or cubic box of that packing fraction; arguments as for ``box_volume``."""
    volume = box_volume(diameters, counts, dimension, packing_fraction)
    return math.sqrt(volume) if dimension == 2 else math.cbrt(volume)


def random_positions(key: Array, n_particles: int, dimension: int, edge: float) -> Position:
    """Draw positions uniformly from a square or cubic box with a corner at the origin, shape (n, d)."""
    return jax.random.uniform(key, (n_particles, dimension)) * edge


def lattice_spacing(
    spacing: float | None, packing_fraction: float | None, *, diameter: float, touching: float, dimension: int
) -> float:
    r"""Return the nearest-neighbour distance a of a lattice, given as it is or by the packing fraction.

    .. math:: \phi = \phi_{touching} (\sigma/a)^d

    Args:
        spacing: The distance, units of length, or None.
        packing_fraction: phi, or None.
        diameter: Diameter sigma of the particles, units of length.
        touching: Packing fraction at which nearest neighbours touch, a constant of the lattice.
        dimension: Spatial dimension d.

    Raises:
        UserError: When both or neither of spacing and packing fraction are given.
    """
    if spacing is not None and packing_fraction is None:
        return spacing
    if packing_fraction is not None and spacing is None:
        return diameter * (touching / packing_fraction) ** (1.0 / dimension)
    raise UserError(
        f"system.spacing is {_said(spacing)} and system.packing_fraction is {_said(packing_fraction)}: "
        "a lattice needs exactly one of the two."
    )


def _said(value: float | None) -> str:
    return "not given" if value is None else f"{value:g}"


def lattice(motif: np.ndarray, cell: np.ndarray, n_cells: tuple[int, ...]) -> tuple[np.ndarray, PeriodicBox]:
    """Repeat a rectangular cell.

    Args:
        motif: Fractional coordinates of a cell's particles, shape (m, d).
        cell: Edges of the cell, shape (d,), units of length.
        n_cells: Number of repetitions along every axis, d entries.

    Returns:
        Positions, shape (m * product(n_cells), d), and the box around all cells.
    """
    corners = np.stack(np.meshgrid(*map(np.arange, n_cells), indexing="ij"), axis=-1).reshape(-1, 1, len(n_cells))
    position = ((corners + motif) * cell).reshape(-1, len(n_cells))
    return position, PeriodicBox(np.diag(cell * np.array(n_cells)))


def without_sites(position: np.ndarray, vacancies: tuple[int, ...]) -> np.ndarray:
    """Leave lattice sites empty.

    Args:
        position: Positions of all sites, shape (n, d).
        vacancies: Numbers of the empty sites, from 0.

    Returns:
        Positions of the others in their order, shape (n - len(vacancies), d).

    Raises:
        UserError: When there is no such site, or no particle would be left.
    """
    missing = [site for site in vacancies if site >= len(position)]
    if missing:
        raise UserError(f"system.vacancies names site {missing[0]}; the lattice has {len(position)}, from 0.")
    if len(set(vacancies)) == len(position):
        raise UserError("system.vacancies leaves no particle: name fewer sites.")
    return np.delete(position, list(vacancies), axis=0)


def perturbed(position: np.ndarray, box: PeriodicBox, amplitude: float, seed: int) -> Position:
    """Move every coordinate by a uniform random amount within +-amplitude (units of length) and wrap into the box."""
    if amplitude == 0:
        return jnp.asarray(position)
    moves = jax.random.uniform(jax.random.key(seed), position.shape, minval=-amplitude, maxval=amplitude)
    return box.wrap(jnp.asarray(position) + moves)


def single_species(n_particles: int) -> Int[Array, " n"]:
    """Return the species indices of particles that are all alike."""
    return jnp.zeros(n_particles, dtype=int)
