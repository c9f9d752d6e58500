"""Where particles start: one file per kind of system. ``REGISTRY`` maps names in TOML to modules.

Every module has ``Options``, the ``[system]`` section of a TOML file, and ``build(options) -> Start``.
"""

from systems import bidisperse, cluster, fcc, file, hexagonal, l1_2, polydisperse
from systems.start import Start

REGISTRY = {
    "bidisperse": bidisperse,
    "polydisperse": polydisperse,
    "hexagonal": hexagonal,
    "fcc": fcc,
    "l1_2": l1_2,
    "cluster": cluster,
    "file": file,
}

__all__ = ["REGISTRY", "Start"]
