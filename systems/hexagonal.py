r"""The hexagonal (triangular) lattice of equal discs in a rectangular periodic box.

A cell of edges a and sqrt(3) a holds two discs, a being the nearest-neighbour distance; discs touch at the packing
fraction :math:`\pi/\sqrt{12} = 0.9069`.
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

MOTIF = np.array([[0.0, 0.0], [0.5, 0.5]])
TOUCHING = math.pi / math.sqrt(12)  # packing fraction at which nearest neighbours touch
Count = Annotated[int, Field(ge=1, le=10_000)]


class Options(System):
    """The ``[system]`` section for ``kind = "hexagonal"``; give either ``spacing`` or ``packing_fraction``."""

    kind: Literal["hexagonal"] = "hexagonal"
    n_cells: tuple[Count, Count] = Field((8, 5), description="cells of two discs along x and y")
    diameter: Length = Field(1.0, description="diameter of the discs")
    spacing: Length | None = Field(None, description="nearest-neighbour distance")
    packing_fraction: float | None = Field(None, gt=0, le=5, description="area of all discs over that of the box")
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
        Positions, shape (2 * product(n_cells) - vacancies, 2), one species, one diameter.

    Raises:
        UserError: When both or neither of spacing and packing fraction are given, or a vacancy is no site.
    """
    spacing = lattice_spacing(
        options.spacing, options.packing_fraction, diameter=options.diameter, touching=TOUCHING, dimension=2
    )
    position, box = lattice(MOTIF, spacing * np.array([1.0, math.sqrt(3)]), options.n_cells)
    moved = perturbed(without_sites(position, options.vacancies), box, options.perturbation * spacing, options.seed)
    return Start(Configuration(moved, single_species(len(moved)), box), jnp.array([options.diameter]))
