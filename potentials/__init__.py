"""Interaction laws: one file per law, each saying U(r) and nothing else.

``REGISTRY`` maps names in TOML to modules, each with its ``Law`` and with ``Options``, the ``[potential]`` section of a
TOML file, and ``build``; ``LAWS`` maps the names of all laws, those in results files, to classes.
"""

from potentials import lennard_jones, morse, soft_sphere, wca
from potentials.fene_bond import FENEBond
from potentials.harmonic_angle import HarmonicAngle
from potentials.harmonic_bond import HarmonicBond
from potentials.stillinger_weber import StillingerWeber
from potentials.sutton_chen import SuttonChen

REGISTRY = {"soft_sphere": soft_sphere, "lennard_jones": lennard_jones, "morse": morse, "wca": wca}
LAWS = {name: module.Law for name, module in REGISTRY.items()} | {
    "fene_bond": FENEBond,
    "harmonic_angle": HarmonicAngle,
    "harmonic_bond": HarmonicBond,
    "stillinger_weber": StillingerWeber,
    "sutton_chen": SuttonChen,
}
