r"""The L1_2 crystal A3B (Cu3Au) in a rectangular periodic box.

A cubic cell of edge a holds B at its corner and three A at the centres of its faces: the fcc lattice with every B
surrounded by twelve A.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

import jax.numpy as jnp
import numpy as np
from pydantic import Field

from mdsens.types import Configuration
from systems.frozen import System
from systems.start import Length, Sites, Start, lattice, perturbed, without_sites

MOTIF = np.array([[0.0, 0.5, 0.5], [0.5, 0.0, 0.5], [0.5, 0.5, 0.0], [0.0, 0.0, 0.0]])
SPECIES = np.array([0, 0, 0, 1])
Count = Annotated[int, Field(ge=1, le=1_000)]


class Options(System):
    """The ``[system]`` section for ``kind = "l1_2"``."""

    kind: Literal["l1_2"] = "l1_2"
    n_cells: tuple[Count, Count, Count] = Field((3, 3, 3), description="cubic cells of three A and a B along x, y, z")
    diameters: tuple[Length, Length] = Field((1.0, 1.0), description="diameters of species A and B")
    edge: Length = Field(1.5, description="edge of the cubic cell, units of length")
    perturbation: float = Field(
        0.0, ge=0, lt=0.5, description="largest random displacement along each axis, units of edge/sqrt(2)"
    )
    vacancies: Sites = Field((), description="numbers of sites left empty, from 0; every fourth one is B's")
    seed: int = Field(0, ge=0, lt=2**63, description="seed of the random displacements")

    @property
    def n_particles(self) -> int:
        """Number of particles."""
        return len(MOTIF) * math.prod(self.n_cells) - len(self.vacancies)


def build(options: Options) -> Start:
    """Build the crystal.

    Args:
        options: The validated ``[system]`` section.

    Returns:
        Positions, shape (4 * product(n_cells) - vacancies, 3), cell by cell, and the two diameters.

    Raises:
        UserError: When a vacancy is no site of the lattice.
    """
    position, box = lattice(MOTIF, options.edge * np.ones(3), options.n_cells)
    species = np.delete(np.tile(SPECIES, len(position) // 4), list(options.vacancies))
    kept = without_sites(position, options.vacancies)
    moved = perturbed(kept, box, options.perturbation * options.edge / np.sqrt(2), options.seed)
    return Start(Configuration(moved, jnp.asarray(species), box, ("A", "B")), jnp.asarray(options.diameters))
