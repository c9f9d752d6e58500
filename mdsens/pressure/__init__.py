"""Where the box relaxes, too: at a pressure, box and positions together; and relaxed states relaxed again."""

from mdsens.pressure.again import rerelaxed
from mdsens.pressure.relaxation import relax_at_pressure, taken_as_relaxed_at_pressure

__all__ = ["relax_at_pressure", "rerelaxed", "taken_as_relaxed_at_pressure"]
