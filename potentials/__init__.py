"""Interaction laws: one file per law, each saying U(r) and nothing else. ``REGISTRY`` maps names in TOML to modules.

Every module has ``Law``, and ``Options``, the ``[potential]`` section of a TOML file, with ``build``.
"""

from potentials import lennard_jones, morse, soft_sphere, wca

REGISTRY = {"soft_sphere": soft_sphere, "lennard_jones": lennard_jones, "morse": morse, "wca": wca}
