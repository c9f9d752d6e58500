"""A start from a file: this package's own HDF5, ``.npz``, or what ASE reads (extxyz and others; an extra)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import jax.numpy as jnp
from pydantic import Field

from mdsens.errors import UserError
from systems.frozen import System
from systems.start import Length, Start

Diameters = Annotated[tuple[Length, ...], Field(min_length=1)]


class Options(System):
    """The ``[system]`` section for ``kind = "file"``."""

    kind: Literal["file"] = "file"
    path: str = Field(min_length=1, description="the file; a relative path starts at the working directory")
    diameters: Diameters | None = Field(
        None, description="diameters per species or per particle; default: those in the file"
    )


def build(options: Options) -> Start:
    """Read the configuration.

    Args:
        options: The validated ``[system]`` section.

    Returns:
        The configuration in the file and its diameters; none where neither file nor options give them.

    Raises:
        UserError: When the file cannot be read, or diameters are of the wrong number.
    """
    from mdsens.io import read_configuration  # HDF5 is imported only by those who need it

    configuration, found = read_configuration(Path(options.path))
    given = found if options.diameters is None else options.diameters
    if given is None:
        return Start(configuration, jnp.zeros(0))
    diameters = jnp.asarray(given, dtype=float)
    n_species, n = len(configuration.species_names), configuration.n_particles
    if diameters.shape not in ((n_species,), (n,)):
        raise UserError(
            f"there are {diameters.size} diameters for {options.path}; give {n_species} (one per species) "
            f"or {n} (one per particle)."
        )
    return Start(configuration, diameters)
