r"""Free clusters: particles in unbounded space.

- simplex: two to d + 1 particles, all at the same distance (a pair, a triangle, a tetrahedron);
- icosahedron: Mackay's, with complete shells (3D; 13, 55, 147, ... particles);
- truncated_octahedron: a piece of the fcc lattice, 38 particles (3D);
- disc: a hexagonal piece of the hexagonal lattice with complete shells (2D; 7, 19, 37, ... particles);
- random: positions in a ball at a density of one particle per spacing to the power d, none closer than half a spacing.

Source of the shells: A. L. Mackay, Acta Cryst. 15, 916 (1962), doi:10.1107/S0365110X6200239X.
"""

from __future__ import annotations

import itertools
import math
from typing import Literal

import jax.numpy as jnp
import numpy as np
from pydantic import Field

from mdsens.errors import UserError
from mdsens.types import Configuration, FreeBox
from systems.frozen import System
from systems.start import Length, Start, single_species

Shape = Literal["simplex", "icosahedron", "truncated_octahedron", "disc", "random"]
_GOLDEN = (1 + math.sqrt(5)) / 2
_MOST_TRIES = 100_000


class Options(System):
    """The ``[system]`` section for ``kind = "cluster"``."""

    kind: Literal["cluster"] = "cluster"
    shape: Shape = Field("icosahedron", description="how particles are arranged at the start")
    n_particles: int = Field(13, ge=2, le=100_000, description="number of particles; one that the shape allows")
    dimension: Literal[2, 3] = Field(3, description="2 or 3")
    diameter: Length = Field(1.0, description="diameter of the particles")
    spacing: Length = Field(1.1, description="distance of neighbours (along edges), units of the diameter")
    perturbation: float = Field(
        0.0, ge=0, lt=0.5, description="largest random displacement along each axis, units of the spacing"
    )
    seed: int = Field(0, ge=0, lt=2**63, description="seed of random positions and displacements")


def build(options: Options) -> Start:
    """Build the cluster about the origin.

    Args:
        options: The validated ``[system]`` section.

    Returns:
        Positions, shape (n, d), one species, one diameter.

    Raises:
        UserError: When the shape does not exist with that number of particles or dimensions.
    """
    rng = np.random.default_rng(options.seed)
    position = _arranged(options, rng) * options.spacing * options.diameter
    amplitude = options.perturbation * options.spacing * options.diameter
    position = position - position.mean(axis=0) + amplitude * rng.uniform(-1, 1, position.shape)
    configuration = Configuration(
        jnp.asarray(position), single_species(len(position)), FreeBox(options.dimension), ("A",)
    )
    return Start(configuration, jnp.array([options.diameter]))


def _arranged(options: Options, rng: np.random.Generator) -> np.ndarray:
    """Return positions in units of the spacing, shape (n, d)."""
    n, d = options.n_particles, options.dimension
    if options.shape == "random":
        return _scattered(n, d, rng)
    if options.shape == "simplex":
        _check(options, list(range(2, d + 2)), d)
        return _simplex(n, d)
    if options.shape == "disc":
        shells = range(1, 180)
        _check(options, [1 + 3 * k * (k + 1) for k in shells], 2)
        return _hexagonal_disc(n)
    if options.shape == "icosahedron":
        shells = range(1, 30)
        _check(options, [(2 * k + 1) * (5 * k * (k + 1) + 3) // 3 for k in shells], 3)
        return _icosahedron(n)
    _check(options, [38], 3)
    return _truncated_octahedron()


def _check(options: Options, counts: list[int], dimension: int) -> None:
    if options.dimension != dimension:
        raise UserError(f'system.shape "{options.shape}" is of {dimension} dimensions, not of {options.dimension}.')
    if options.n_particles not in counts:
        some = ", ".join(map(str, counts[:5])) + (", ..." if len(counts) > 5 else "")
        raise UserError(
            f'system.n_particles is {options.n_particles}; the shape "{options.shape}" has {some} particles.'
        )


def _simplex(n: int, d: int) -> np.ndarray:
    corners = np.eye(n) / math.sqrt(2)  # of distance 1, in n dimensions
    _, _, axes = np.linalg.svd(corners - corners.mean(axis=0))
    flat = (corners - corners.mean(axis=0)) @ axes[: n - 1].T
    return np.pad(flat, ((0, 0), (0, d - n + 1)))


def _hexagonal_disc(n: int) -> np.ndarray:
    k = round((math.sqrt(12 * n - 3) - 3) / 6)
    sites = [(a, b) for a in range(-k, k + 1) for b in range(-k, k + 1) if abs(a + b) <= k]
    return np.array([(a + 0.5 * b, math.sqrt(0.75) * b) for a, b in sites])


def _icosahedron(n: int) -> np.ndarray:
    """Return the centre and, shell by shell, the sites of an icosahedron's vertices, edges and faces."""
    corners = np.array([np.roll([0.0, a, b * _GOLDEN], r) for a in (-1, 1) for b in (-1, 1) for r in range(3)], float)
    close = np.isclose(np.linalg.norm(corners[:, None] - corners[None], axis=-1), 2.0)
    faces = [
        f for f in itertools.combinations(range(12), 3) if all(close[a, b] for a, b in itertools.combinations(f, 2))
    ]
    sites, shell = [np.zeros(3)], 0
    while len(sites) < n:
        shell += 1
        found = {
            tuple(np.round((a * corners[f[0]] + b * corners[f[1]] + (shell - a - b) * corners[f[2]]) / 2, 9))
            for f in faces
            for a in range(shell + 1)
            for b in range(shell + 1 - a)
        }
        sites += [np.array(site) for site in sorted(found)]
    return np.array(sites)


def _truncated_octahedron() -> np.ndarray:
    """Return the 38 sites of the fcc lattice nearest to an octahedral hole."""
    grid = np.array(list(itertools.product(range(-2, 3), repeat=3)), float)
    odd = grid[np.mod(grid.sum(axis=1), 2) == 1]
    return odd[np.sum(odd**2, axis=1) <= 5] / math.sqrt(2)


def _scattered(n: int, d: int, rng: np.random.Generator) -> np.ndarray:
    radius = (n / {2: math.pi, 3: 4 * math.pi / 3}[d]) ** (1 / d)
    position = np.empty((0, d))
    for _ in range(_MOST_TRIES):
        if len(position) == n:
            return position
        trial = rng.uniform(-radius, radius, d)
        if np.linalg.norm(trial) < radius and np.all(np.linalg.norm(position - trial, axis=1) > 0.5):
            position = np.vstack([position, trial])
    raise UserError(f"no room was found for {n} particles in a ball: choose another seed.")
