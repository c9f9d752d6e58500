"""The parts of the suite by name; a new part is one file and one line here."""

from benchmarks.large import (
    batch,
    growth,
    jacobian,
    minimisers,
    pair_diameters,
    peer,
    relaxation,
    spheres,
    startup,
)
from benchmarks.large.parts import Part

PARTS: dict[str, Part] = {
    "peer": peer.PART,
    "relaxation": relaxation.PART,
    "jacobian": jacobian.PART,
    "growth": growth.PART,
    "spheres": spheres.PART,
    "batch": batch.PART,
    "pair_diameters": pair_diameters.PART,
    "minimisers": minimisers.PART,
    "startup": startup.PART,
}
