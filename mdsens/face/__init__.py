"""What people type: `md.read`, `md.relax`, `md.load`, and the objects that answer them.

Thin wrappers: everything numerical is done, and judged, in the rooms below, whose records stay plain and are at hand
(`found.relaxation`, `dx.record`). This is the one room that knows the packages `potentials` and `systems`, by name.
"""

from mdsens.face.many import Many, Tables
from mdsens.face.relaxed import Relaxed
from mdsens.face.relaxing import relax
from mdsens.face.starts import read
from mdsens.face.stored import Stored, load
from mdsens.face.tables import Sensitivity, Table

__all__ = ["Many", "Relaxed", "Sensitivity", "Stored", "Table", "Tables", "load", "read", "relax"]
