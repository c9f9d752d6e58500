"""Interaction laws: one file per law, each saying U and nothing else.

``REGISTRY`` maps names, those in TOML and in results files, to modules, each with its ``Law`` and with ``Options``, the
``[potential]`` section of a TOML file, and ``build``.
"""

from potentials import (
    fene_bond,
    harmonic_angle,
    harmonic_bond,
    harmonic_trap,
    lennard_jones,
    morse,
    soft_sphere,
    soft_wall,
    stillinger_weber,
    sutton_chen,
    uniform_field,
    wca,
)
from potentials.fene_bond import FENEBond
from potentials.harmonic_angle import HarmonicAngle
from potentials.harmonic_bond import HarmonicBond
from potentials.harmonic_trap import HarmonicTrap
from potentials.lennard_jones import LennardJones
from potentials.morse import Morse
from potentials.soft_sphere import SoftSphere
from potentials.soft_wall import SoftWall
from potentials.stillinger_weber import StillingerWeber
from potentials.sutton_chen import SuttonChen
from potentials.uniform_field import UniformField
from potentials.wca import WCA

__all__ = [
    "LAWS",
    "REGISTRY",
    "WCA",
    "FENEBond",
    "HarmonicAngle",
    "HarmonicBond",
    "HarmonicTrap",
    "LennardJones",
    "Morse",
    "SoftSphere",
    "SoftWall",
    "StillingerWeber",
    "SuttonChen",
    "UniformField",
]

REGISTRY = {
    "soft_sphere": soft_sphere,
    "lennard_jones": lennard_jones,
    "morse": morse,
    "wca": wca,
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
