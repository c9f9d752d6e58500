"""The fcc Lennard-Jones crystal of infinite range at no pressure: growing cutoffs, and a uniform rest beyond them."""

import math

import jax
import numpy as np
import pytest

from mdsens.energy import State
from mdsens.neighbors import neighbor_pairs
from mdsens.observables import elastic_tensor, energy, pressure
from mdsens.pressure import relax_at_pressure
from mdsens.response import linear_response
from mdsens.results import check
from potentials.lennard_jones import LennardJones
from potentials.lennard_jones_tail import check_tail, tail_energy, tail_pressure
from systems import fcc

from .lattice_sum import LatticeSum

pytestmark = pytest.mark.validation

# lattice sums: a^6 = 8 (2 A12/A6), E = -A6^2/(2 A12), B = 8 |E|/v; C as stored to seven digits
EDGE, ENERGY, BULK = 1.5417373827362991, -8.61020015670378, 75.1851407176
C11, C12 = 105.18207, 60.18667


def cell(edge, n_cells=1):
    return fcc.build(fcc.Options(n_cells=(n_cells,) * 3, spacing=edge / math.sqrt(2))).configuration


def images(cutoff):
    return math.ceil(cutoff / EDGE) + 1


def summed(law):
    """Return the crystal at rest, one cubic cell, its images summed as far as the law reaches."""
    return State.unlisted(cell(EDGE), LatticeSum(law, images(law.cutoff), uniform=False)).with_every_pair()


@jax.jit
def measured(state):
    return energy(state), pressure(state)


@jax.jit
def beyond(state):
    return tail_energy(state), tail_pressure(state)


def test_a_sum_over_images_is_a_sum_over_listed_pairs():
    configuration, law = cell(EDGE, 4), LennardJones(1.0, cutoff=3.0, truncation="cut")
    listed = State(configuration, law, neighbor_pairs(configuration.position, configuration.box, 3.0))
    (one, one_pressure), (many, many_pressure) = (measured(state) for state in (summed(law), listed))
    assert float(one) / 4 == pytest.approx(float(many) / 256, rel=1e-13)
    assert float(one_pressure) == pytest.approx(float(many_pressure), rel=1e-12)


# the share of the crystal beyond the cutoff is off by what a sphere's number of sites differs from its volume's, which
# grows as its radius: u(r_c) r_c falls as the fifth power
@pytest.mark.parametrize("cutoff", [6.0, 12.0, 24.0])
def test_tail_corrections_lead_to_infinite_range(cutoff):
    law = LennardJones(1.0, cutoff=cutoff, truncation="cut")
    state = State.unlisted(cell(EDGE), law).with_every_pair()
    check_tail(law, state)
    whole, force = (float(one + rest) for one, rest in zip(measured(summed(law)), beyond(state), strict=True))
    assert abs(whole / 4 - ENERGY) < 20.0 * cutoff**-5
    assert abs(force) < 40.0 * cutoff**-5


# measured: the lattice constant and the energy relative to infinite range, then B, then C11 and C12 = C44
@pytest.mark.parametrize(
    ("cutoff", "edge", "cohesion", "bulk", "moduli"),
    [
        pytest.param(12.0, 2e-8, 2e-7, 5e-6, 5e-6, marks=pytest.mark.slow),
        (24.0, 1e-9, 1e-9, 3e-8, 1e-7),
    ],
)
def test_a_growing_cutoff_leads_to_infinite_range(cutoff, edge, cohesion, bulk, moduli):
    potential = LatticeSum(LennardJones(1.0, onset=cutoff / 2, cutoff=cutoff), images(cutoff))
    found = relax_at_pressure(potential, cell(1.002 * EDGE), 0.0)
    check(found.verdict)
    tensor = elastic_tensor(linear_response(found.fixed))
    assert float(found.box.volumes[-1]) ** (1 / 3) == pytest.approx(EDGE, rel=edge)
    assert found.energy / 4 == pytest.approx(ENERGY, rel=cohesion)
    assert tensor.bulk_modulus == pytest.approx(BULK, rel=bulk)
    np.testing.assert_allclose(np.diag(tensor.voigt), [C11] * 3 + [C12] * 3, rtol=moduli)  # C44 = C12
    np.testing.assert_allclose(tensor.voigt[[0, 0, 1], [1, 2, 2]], C12, rtol=moduli)
