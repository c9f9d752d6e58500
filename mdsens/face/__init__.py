"""What people type: `md.read`, `md.relax`, `md.fit`, `md.thermal`, `md.verify`, `md.load`, and what answers them.

Thin wrappers: everything numerical is done, and judged, in the rooms below, whose records stay plain and are at hand
(`found.relaxation`, `dx.record`). This is the one room that knows the packages `potentials` and `systems`, by name.
"""

from mdsens.face.averages import Thermal, thermal
from mdsens.face.fitted import Fitted, fit
from mdsens.face.many import Many, Tables
from mdsens.face.relaxed import Relaxed
from mdsens.face.relaxing import relax
from mdsens.face.starts import read
from mdsens.face.stored import Stored, load
from mdsens.face.tables import Sensitivity, Table
from mdsens.face.verified import Verified, verify

__all__ = [
    "Fitted",
    "Many",
    "Relaxed",
    "Sensitivity",
    "Stored",
    "Table",
    "Tables",
    "Thermal",
    "Verified",
    "fit",
    "load",
    "read",
    "relax",
    "thermal",
    "verify",
]
