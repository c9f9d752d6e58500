r"""The face-centred cubic lattice of equal spheres in a rectangular periodic box.

A cubic cell of edge sqrt(2) a holds four spheres, a being the nearest-neighbour distance; spheres touch at the packing
fraction :math:`\pi/\sqrt{18} = 0.7405`.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

import jax.numpy as jnp
import numpy as np
from pydantic import Field

from mdsens.types import Configuration
from systems.frozen import System
from systems.start import Length, Sites, Start, lattice, lattice_spacing, perturbed, single_species, without_sites

MOTIF = np.array([[0.0, 0.0, 0.0], [0.0, 0.5, 0.5], [0.5, 0.0, 0.5], [0.5, 0.5, 0.0]])
TOUCHING = math.pi / math.sqrt(18)  # packing fraction at which nearest neighbours touch
Count = Annotated[int, Field(ge=1, le=1_000)]


class Options(System):
    """The ``[system]`` section for ``kind = "fcc"``; give either ``spacing`` or ``packing_fraction``."""

    kind: Literal["fcc"] = "fcc"
    n_cells: tuple[Count, Count, Count] = Field((3, 3, 3), description="cubic cells of four spheres along x, y and z")
    diameter: Length = Field(1.0, description="diameter of the spheres")
    spacing: Length | None = Field(None, description="nearest-neighbour distance (the cubic cell's edge over sqrt(2))")
    packing_fraction: float | None = Field(None, gt=0, le=5, description="volume of all spheres over that of the box")
    perturbation: float = Field(
        0.0, ge=0, lt=0.5, description="largest random displacement along each axis, units of the spacing"
    )
    vacancies: Sites = Field((), description="numbers of sites left empty, from 0; the spacing stays as it is")
    seed: int = Field(0, ge=0, lt=2**63, description="seed of the random displacements")

    @property
    def n_particles(self) -> int:
        """Number of particles."""
        return len(MOTIF) * math.prod(self.n_cells) - len(self.vacancies)


def build(options: Options) -> Start:
    """Build the lattice.

    Args:
        options: The validated ``[system]`` section.

    Returns:
        Positions, shape (4 * product(n_cells) - vacancies, 3), one species, one diameter.

    Raises:
        UserError: When both or neither of spacing and packing fraction are given, or a vacancy is no site.
    """
    spacing = lattice_spacing(
        options.spacing, options.packing_fraction, diameter=options.diameter, touching=TOUCHING, dimension=3
    )
    position, box = lattice(MOTIF, spacing * math.sqrt(2) * np.ones(3), options.n_cells)
    moved = perturbed(without_sites(position, options.vacancies), box, options.perturbation * spacing, options.seed)
    return Start(Configuration(moved, single_species(len(moved)), box), jnp.array([options.diameter]))
