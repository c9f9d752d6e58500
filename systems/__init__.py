"""Where particles start: one file per kind of system. ``REGISTRY`` maps names in TOML to modules.

Every module has ``Options``, the ``[system]`` section of a TOML file, and ``build(options) -> Start``.
"""

from systems import bidisperse, fcc, file, hexagonal, polydisperse
from systems.start import Start

REGISTRY = {
    "bidisperse": bidisperse,
    "polydisperse": polydisperse,
    "hexagonal": hexagonal,
    "fcc": fcc,
    "file": file,
}

__all__ = ["REGISTRY", "Start"]
