"""Interaction laws: one file per law, each saying U and nothing else.

``REGISTRY`` maps names, those in TOML and in results files, to modules, each with its ``Law`` and with ``Options``, the
``[potential]`` section of a TOML file, and ``build``.
"""

import math
from typing import Any

import jax.numpy as jnp

from mdsens.energy import Potential
from potentials import (
    born_mayer,
    buckingham,
    fene_bond,
    gaussian_core,
    harmonic_angle,
    harmonic_bond,
    harmonic_morse,
    harmonic_trap,
    inverse_power,
    jagla,
    lennard_jones,
    mie,
    morse,
    soft_sphere,
    soft_wall,
    spline,
    stillinger_weber,
    sutton_chen,
    table,
    uniform_field,
    wca,
    yukawa,
    zbl,
)
from potentials.born_mayer import BornMayer
from potentials.buckingham import Buckingham
from potentials.fene_bond import FENEBond
from potentials.gaussian_core import GaussianCore
from potentials.harmonic_angle import HarmonicAngle
from potentials.harmonic_bond import HarmonicBond
from potentials.harmonic_morse import HarmonicMorse
from potentials.harmonic_trap import HarmonicTrap
from potentials.inverse_power import InversePower
from potentials.jagla import Jagla
from potentials.lennard_jones import LennardJones
from potentials.mie import Mie
from potentials.morse import Morse
from potentials.parameter_sets import PUBLISHED, SOURCES
from potentials.soft_sphere import SoftSphere
from potentials.soft_wall import SoftWall
from potentials.spline import Spline
from potentials.stillinger_weber import StillingerWeber
from potentials.sutton_chen import SuttonChen
from potentials.table import Table
from potentials.uniform_field import UniformField
from potentials.wca import WCA
from potentials.yukawa import Yukawa
from potentials.zbl import ZBL

__all__ = [
    "LAWS",
    "REGISTRY",
    "SOURCES",
    "WCA",
    "ZBL",
    "BornMayer",
    "Buckingham",
    "FENEBond",
    "GaussianCore",
    "HarmonicAngle",
    "HarmonicBond",
    "HarmonicMorse",
    "HarmonicTrap",
    "InversePower",
    "Jagla",
    "LennardJones",
    "Mie",
    "Morse",
    "SoftSphere",
    "SoftWall",
    "Spline",
    "StillingerWeber",
    "SuttonChen",
    "Table",
    "UniformField",
    "Yukawa",
    "published",
]

REGISTRY = {
    "soft_sphere": soft_sphere,
    "lennard_jones": lennard_jones,
    "morse": morse,
    "wca": wca,
    "mie": mie,
    "harmonic_morse": harmonic_morse,
    "yukawa": yukawa,
    "inverse_power": inverse_power,
    "gaussian_core": gaussian_core,
    "buckingham": buckingham,
    "born_mayer": born_mayer,
    "zbl": zbl,
    "jagla": jagla,
    "spline": spline,
    "table": table,
    "stillinger_weber": stillinger_weber,
    "sutton_chen": sutton_chen,
    "harmonic_bond": harmonic_bond,
    "fene_bond": fene_bond,
    "harmonic_angle": harmonic_angle,
    "harmonic_trap": harmonic_trap,
    "uniform_field": uniform_field,
    "soft_wall": soft_wall,
}
LAWS = {name: module.Law for name, module in REGISTRY.items()}


def published(name: str, diameters: Any = ()) -> Potential:
    """Return a law with published parameters, species in the order A, B, ...; ``SOURCES`` says what they are and whose.

    Args:
        name: Of the set, such as "kob_andersen" or "argon".
        diameters: Of every particle, for sets that leave them to the system.

    Raises:
        ValueError: When there is no such set, or it needs diameters.
    """
    found = [(kind, sets[name]) for kind, sets in PUBLISHED.items() if name in sets]
    if not found:
        raise ValueError(f"there is no set {name!r} of published parameters; there are {', '.join(SOURCES)}.")
    (kind, given), module = found[0], REGISTRY[found[0][0]]
    entries, pairs = len(given.get("sigma", ())), given.get("mixing") == "independent"
    n_species = math.isqrt(2 * entries) if pairs else entries
    return module.build(module.Options(kind=kind, set=name), jnp.asarray(diameters, dtype=float), n_species)
