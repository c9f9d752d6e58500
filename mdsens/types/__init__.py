"""What a system is made of: boxes, configurations, and array aliases.

Positions are real coordinates (not fractional, not wrapped).
"""

from mdsens.given import is_concrete
from mdsens.types.arrays import LARGEST, Components, Module, Position, Scalar, Species, replaced, require_x64
from mdsens.types.boxes import Box, FreeBox, PeriodicBox
from mdsens.types.configuration import Configuration
from mdsens.types.groups import Groups

__all__ = [
    "LARGEST",
    "Box",
    "Components",
    "Configuration",
    "FreeBox",
    "Groups",
    "Module",
    "PeriodicBox",
    "Position",
    "Scalar",
    "Species",
    "is_concrete",
    "replaced",
    "require_x64",
]
