"""A potential is a pytree of its own parameters that gives an energy; everything else is a derivative of it.

Terms are of five kinds, each with a base class: outer fields and walls, laws of pairs, many-body terms over neighbours
(triplets among them), bonded terms over a topology, and functions written elsewhere (``mdsens.energy.foreign``,
and ``mdsens.energy.jax_md`` for jax-md's). ``Sum`` adds them.
"""

from mdsens.energy.bonded import BondedPotential, BondPotential
from mdsens.energy.declared import Declared, declared_fields, knots, parameter, setting
from mdsens.energy.many_body import ManyBodyPotential, Neighborhood, TripletPotential
from mdsens.energy.one_body import OneBodyPotential, along
from mdsens.energy.pairs import PairPotential, harmless, largest_reach
from mdsens.energy.potential import Locality, Node, Potential, law_name
from mdsens.energy.state import (
    Barostat,
    State,
    check_box_followed,
    check_system,
    energy,
    energy_and_forces,
    energy_at,
    forces,
    free_forces,
    gradient_at,
    has_pressure,
    max_force,
    max_reach,
    pressure,
)
from mdsens.energy.sums import Sum, summed, term_energies

__all__ = [
    "Barostat",
    "BondPotential",
    "BondedPotential",
    "Declared",
    "Locality",
    "ManyBodyPotential",
    "Neighborhood",
    "Node",
    "OneBodyPotential",
    "PairPotential",
    "Potential",
    "State",
    "Sum",
    "TripletPotential",
    "along",
    "check_box_followed",
    "check_system",
    "declared_fields",
    "energy",
    "energy_and_forces",
    "energy_at",
    "forces",
    "free_forces",
    "gradient_at",
    "harmless",
    "has_pressure",
    "knots",
    "largest_reach",
    "law_name",
    "max_force",
    "max_reach",
    "parameter",
    "pressure",
    "setting",
    "summed",
    "term_energies",
]
