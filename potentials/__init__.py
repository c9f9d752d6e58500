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
