"""Observables: each a pure function ``State -> scalar``, usable alone and under ``jax.grad``; a file per topic.

Some need more than the state and are made for one: by ``bond_order(state, 6)`` from the pairs that may be neighbours,
by ``bulk_modulus(elastic_tensor(response))`` from the response. What is made holds for states near that one, in value
and derivatives. Counts (``contact_number``, ``rattler_fraction``) are numbers of a network and have no derivative.
"""

from mdsens.energy import energy, pressure
from mdsens.observables.bond_order import BondOrder, bond_order
from mdsens.observables.contacts import (
    Coordination,
    contact_number,
    coordination,
    isostatic_contact_number,
    mean_overlap,
    overlap_distribution,
    overlaps,
    rattler_fraction,
)
from mdsens.observables.distance import MeanSquaredDistance, distance_to
from mdsens.observables.elasticity import ElasticTensor, elastic_tensor, polycrystal_averages
from mdsens.observables.enthalpy import Enthalpy, number_density, volume
from mdsens.observables.independence import Independence, independence
from mdsens.observables.moduli import (
    FunctionOfModuli,
    Modulus,
    bulk_modulus,
    function_of_moduli,
    modulus,
    polycrystal_average,
    shear_modulus_in_plane,
)
from mdsens.observables.naming import RECIPES, Workbench, check_names, is_known, made
from mdsens.observables.packing import packing_fraction
from mdsens.observables.spectrum import (
    DensityOfStates,
    Eigenvalue,
    ParticipationRatio,
    Vibrations,
    density_of_states,
    eigenvalue,
    participation_ratio,
    vibrations,
)
from mdsens.observables.stress import StressComponent, stress_tensor
from mdsens.observables.structure import RadialDistribution, StructureFactor, radial_distribution, structure_factor

__all__ = [
    "RECIPES",
    "BondOrder",
    "Coordination",
    "DensityOfStates",
    "Eigenvalue",
    "ElasticTensor",
    "Enthalpy",
    "FunctionOfModuli",
    "Independence",
    "MeanSquaredDistance",
    "Modulus",
    "ParticipationRatio",
    "RadialDistribution",
    "StressComponent",
    "StructureFactor",
    "Vibrations",
    "Workbench",
    "bond_order",
    "bulk_modulus",
    "check_names",
    "contact_number",
    "coordination",
    "density_of_states",
    "distance_to",
    "eigenvalue",
    "elastic_tensor",
    "energy",
    "function_of_moduli",
    "independence",
    "is_known",
    "isostatic_contact_number",
    "made",
    "mean_overlap",
    "modulus",
    "number_density",
    "overlap_distribution",
    "overlaps",
    "packing_fraction",
    "participation_ratio",
    "polycrystal_average",
    "polycrystal_averages",
    "pressure",
    "radial_distribution",
    "rattler_fraction",
    "shear_modulus_in_plane",
    "stress_tensor",
    "structure_factor",
    "vibrations",
    "volume",
]
