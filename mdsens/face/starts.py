"""What people give as atoms and as a law, made a configuration and a potential."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import Any

import jax

from mdsens.energy import Potential
from mdsens.errors import UserError
from mdsens.given import shown
from mdsens.machine.caches import keep_programs
from mdsens.types import Configuration


def read(path: str | os.PathLike[str]) -> Configuration:
    """Return the particles in a file: extended XYZ, NumPy's npz, or one of our results.

    Args:
        path: The file; ``mdsens.io.read_configuration`` says what each kind may hold.

    Raises:
        UserError: When it is missing, of another kind, damaged, or makes no configuration.
    """
    prepare()
    from mdsens.io import read_configuration

    if not isinstance(path, str | os.PathLike):
        raise UserError(f"a file is given as {shown(path)}; give its path.")
    return read_configuration(Path(path))[0]


def configuration_of(atoms: Any) -> Configuration:
    """Return the configuration that someone's atoms are.

    Args:
        atoms: A ``Configuration``, the path of a file, ASE's ``Atoms``, or a system such as
            ``md.systems.bidisperse(n_particles=128)``.

    Raises:
        UserError: When it is something else.
    """
    prepare()
    if isinstance(atoms, Configuration):
        return atoms
    if isinstance(atoms, str | os.PathLike):
        return read(atoms)
    kind = type(atoms).__module__.split(".")
    if kind[0] == "ase" and hasattr(atoms, "positions"):
        from mdsens.io import from_atoms

        return from_atoms(atoms)
    if kind[0] == "systems":
        start = importlib.import_module(type(atoms).__module__).build(atoms) if hasattr(atoms, "kind") else atoms
        return start.configuration
    raise UserError(
        f"atoms are given as {shown(atoms)}; give md.read(path), ASE's Atoms, md.systems.bidisperse(...) or another "
        "system, or md.Configuration(position, species, box)."
    )


def law_for(law: Any, configuration: Configuration) -> Potential:
    """Return a potential whose values by names of species stand in the order of the configuration's species.

    Raises:
        UserError: When it is no potential.
        ValueError: When a species has no value, or a name is none of theirs.
    """
    if isinstance(law, type) and issubclass(law, Potential):
        raise UserError(f"the law is the class {law.__name__}; make one of it: md.potentials.{law.__name__}(...).")
    if not isinstance(law, Potential):
        raise UserError(
            f"the law is {shown(law)}; give a potential such as md.potentials.SoftSphere({{'A': 0.6, 'B': 1.0}})."
        )
    return law.for_species(configuration.species_names)


def prepare() -> None:
    """Switch double precision on, and keep what is compiled for the next time.

    Raises:
        UserError: When single precision was asked for by name.
    """
    if os.environ.get("JAX_ENABLE_X64", "").lower() in ("0", "false", "off"):
        raise UserError("JAX_ENABLE_X64 is off: unset it, relaxed states and their derivatives need double precision.")
    if not jax.config.read("jax_enable_x64"):
        jax.config.update("jax_enable_x64", True)
    keep_programs()
