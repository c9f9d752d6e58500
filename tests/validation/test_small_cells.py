"""One crystal in cells of every size and skew: one answer, that of a cell wider than twice the range."""

import jax.numpy as jnp
import numpy as np
import pytest

from mdsens.energy import Locality, energy
from mdsens.energy.foreign import NeighborEnergyFunction
from mdsens.energy.paths import select
from mdsens.neighbors import pair_distances
from mdsens.observables.elasticity import elastic_tensor
from mdsens.pressure import relax_at_pressure
from mdsens.relaxation import PressureSettings, RelaxationSettings
from mdsens.response import linear_response
from mdsens.results import Verdict
from mdsens.sensitivity import position_sensitivity
from mdsens.types import Configuration, PeriodicBox
from potentials.lennard_jones import LennardJones

pytestmark = pytest.mark.validation

EDGE, ENERGY = 1.546378969360933, -8.305026504316  # plain cutoff at 3 sigma: see the physics notes
C11, C12, C44 = 101.0533899, 57.2772009, 57.2772009
PRIMITIVE = 0.5 * np.array([[1.0, 1.0, 0.0], [1.0, 0.0, 1.0], [0.0, 1.0, 1.0]])
CORNERS = np.array([[0, 0, 0], [0, 1, 1], [1, 0, 1], [1, 1, 0]]) / 2
SHEARED = np.array([[1.0, 2.0, 3.0], [0.0, 1.0, 2.0], [0.0, 0.0, 1.0]])


def crystal(edge, n_cells=0, change=None):
    """Return fcc: the one-atom cell, or n^3 cubic ones; the change of lattice vectors describes the same crystal."""
    matrix = PRIMITIVE[:, [0, 2, 1]] if not n_cells else np.eye(3) * n_cells
    places = np.zeros((1, 3))
    if n_cells:
        cells = np.stack(np.meshgrid(*[np.arange(n_cells)] * 3, indexing="ij"), axis=-1).reshape(-1, 1, 3)
        places = (cells + CORNERS).reshape(-1, 3)
    matrix = matrix if change is None else matrix @ change
    position = jnp.asarray(edge * places)
    return Configuration(position, jnp.zeros(len(places), int), PeriodicBox(edge * matrix))


CELLS = {
    "1 atom": (0, None),
    "4 atoms, sheared": (1, SHEARED),
    "4 atoms": (1, None),
    "108 atoms": (3, None),
    "500 atoms": (5, None),
}
QUICK = list(CELLS)[:2]  # the others compile for half a minute each
EACH = [
    pytest.param(cell, id=name, marks=() if name in QUICK else pytest.mark.exhaustive) for name, cell in CELLS.items()
]


@pytest.fixture(scope="module", params=EACH)
def found(request):
    n_cells, change = request.param
    law = LennardJones(1.0, cutoff=3.0, truncation="cut")
    settings = RelaxationSettings(max_force=1e-10, skin=0.1)
    return relax_at_pressure(law, crystal(1.55, n_cells, change), 0.0, PressureSettings(relaxation=settings))


def test_the_lattice_constant_is_the_known_one(found):
    assert found.verdict is Verdict.CONVERGED
    state = found.state
    n = state.configuration.n_particles
    assert (4 * float(state.configuration.box.volume) / n) ** (1 / 3) == pytest.approx(EDGE, rel=1e-13)
    assert float(energy(state)) / n == pytest.approx(ENERGY, rel=1e-12)


def test_the_moduli_are_the_known_ones(found):
    moduli = elastic_tensor(linear_response(found.fixed)).voigt
    for value, indices in ((C11, (0, 1, 2)), (C44, (3, 4, 5))):
        np.testing.assert_allclose(np.diag(moduli)[list(indices)], value, rtol=2e-9)
    np.testing.assert_allclose(moduli[[0, 0, 1], [1, 2, 2]], C12, rtol=2e-9)


def test_derivatives_follow_from_the_units(found):
    # V ~ sigma^3, whatever epsilon
    selection = select(found.state, ["lennard_jones.sigma", "lennard_jones.epsilon"])
    joint = position_sensitivity(linear_response(found), selection)
    volume, bulk = joint_volume(found), (C11 + 2 * C12) / 3
    expected = [3 * volume, 0.0, -volume / bulk]  # and the pressure's
    np.testing.assert_allclose(joint.box.volumes, expected, rtol=2e-9, atol=1e-10 * volume)


def joint_volume(found):
    return float(found.state.configuration.box.volume)


def damped_copper(params, distances):
    """Return what Sutton-Chen copper sums over neighbours: repulsions and densities, smoothly ended at 7 A."""
    a, edge = params["a"], 7.0
    ends = jnp.where(distances < edge, (1.0 - (distances / edge) ** 2) ** 3, 0.0)
    return (a / distances) ** 9 * ends, (a / distances) ** 6 * ends


def sutton_chen():
    def total(configuration, params, pairs):
        distances = jnp.where(pairs.mask, pair_distances(configuration, pairs), 10.0)
        repulsion, density = damped_copper(params, distances)
        n = configuration.n_particles
        sums = jnp.zeros(n).at[pairs.i].add(density).at[pairs.j].add(density)
        return params["epsilon"] * (jnp.sum(repulsion) - params["c"] * jnp.sum(jnp.sqrt(sums)))

    return NeighborEnergyFunction(total, COPPER, Locality(7.0, hops=2), "sutton_chen")


COPPER = {"epsilon": 1.2382e-2, "a": 3.61, "c": 39.432}


@pytest.fixture(scope="module")
def copper():
    """Return the lattice constant and the moduli of Sutton-Chen copper, from 1, 4 and 32 atoms."""
    answers = []
    for n_cells, change in ((0, None), (1, SHEARED), (2, None)):
        settings = RelaxationSettings(max_force=1e-10, skin=0.1)
        found = relax_at_pressure(
            sutton_chen(), crystal(3.61, n_cells, change), 0.0, PressureSettings(relaxation=settings)
        )
        assert found.verdict is Verdict.CONVERGED
        state = found.state
        edge = (4 * float(state.configuration.box.volume) / state.configuration.n_particles) ** (1 / 3)
        moduli = elastic_tensor(linear_response(found.fixed)).voigt
        answers.append([edge, moduli[0, 0], moduli[0, 1], moduli[3, 3]])
    return np.array(answers)


def test_many_body_terms_over_listed_pairs_know_images(copper):
    np.testing.assert_allclose(copper, np.broadcast_to(copper[-1], copper.shape), rtol=1e-9)
    assert 3.4 < copper[0, 0] < 3.55
