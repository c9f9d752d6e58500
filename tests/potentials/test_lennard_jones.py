"""Lennard-Jones particles against closed forms: the well, its derivatives, the switch, a cluster, a random mixture."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mdsens.energy.parameters import PerPair, PerSpecies, Uniform, at_pairs
from mdsens.energy.paths import select
from mdsens.relaxation import relax
from mdsens.response import linear_response
from mdsens.results import Verdict
from mdsens.sensitivity import position_sensitivity
from mdsens.types import Configuration, FreeBox
from mdsens.verification import compare_with_differences, scale_identities
from potentials import lennard_jones
from potentials.lennard_jones import LennardJones, Options
from systems import bidisperse

SIGMA, EPSILON = 0.9, 1.7
LAW = LennardJones(SIGMA, EPSILON)
KOB_ANDERSEN = {"mixing": "independent", "sigma": (1.0, 0.8, 0.88), "epsilon": (1.0, 1.5, 0.5)}


def derivatives(law, distance, count=3):
    one = jnp.zeros(1, int)
    functions = [lambda r: at_pairs(law, one, one, one).pair_energy(r)]
    for _ in range(count - 1):
        functions.append(jax.grad(functions[-1]))
    return np.array([float(function(jnp.asarray(distance))) for function in functions])


def test_the_minimum_lies_at_the_sixth_root_of_two_with_depth_epsilon():
    energy, slope, curvature = derivatives(LAW, 2 ** (1 / 6) * SIGMA)
    assert energy == pytest.approx(-EPSILON, rel=1e-14)
    assert slope == pytest.approx(0.0, abs=1e-12)
    assert curvature == pytest.approx(36 * 2 ** (2 / 3) * EPSILON / SIGMA**2, rel=1e-13)


@pytest.mark.parametrize("distance", [0.8, 1.0, 1.3, 1.99])
def test_inside_the_onset_the_law_is_the_textbook_one(distance):
    x = 1 / distance
    expected = 4 * EPSILON * np.array(
        [x**12 - x**6, (-12 * x**13 + 6 * x**7) / SIGMA, (156 * x**14 - 42 * x**8) / SIGMA**2]
    )  # fmt: skip
    np.testing.assert_allclose(derivatives(LAW, distance * SIGMA), expected, rtol=1e-12)


def test_two_derivatives_are_continuous_at_the_onset_and_the_third_is_not():
    below, above = (derivatives(LAW, 2.0 * SIGMA * (1 + gap), 4) for gap in (-1e-9, 1e-9))
    np.testing.assert_allclose(above[:3], below[:3], rtol=1e-5)
    assert abs(above[3] - below[3]) > 0.1 * abs(below[3])


def test_two_derivatives_vanish_at_the_cutoff_and_all_beyond():
    np.testing.assert_allclose(derivatives(LAW, 2.5 * SIGMA * (1 - 1e-9)), 0.0, atol=1e-5)
    np.testing.assert_array_equal(derivatives(LAW, 2.5 * SIGMA * (1 + 1e-9), 4), 0.0)


def test_thirteen_particles_form_the_known_icosahedron():
    golden = (1 + 5**0.5) / 2
    corners = [np.roll((0.0, a, b * golden), k) for a, b in itertools.product((-1, 1), repeat=2) for k in range(3)]
    corners = 1.08 * np.array(corners) / np.sqrt(1 + golden**2)
    start = Configuration(jnp.asarray(np.vstack([np.zeros((1, 3)), corners])), jnp.zeros(13, int), FreeBox(3))
    found = relax(LennardJones(Uniform(1.0), Uniform(1.0), onset=50.0, cutoff=60.0), start)
    assert found.verdict is Verdict.CONVERGED
    assert found.energy == pytest.approx(-44.32680141953402, rel=1e-13)
    radius = np.linalg.norm(np.asarray(found.state.position)[1:] - np.asarray(found.state.position)[0], axis=1)
    np.testing.assert_allclose(radius, 1.081838288551366, rtol=1e-12)


@pytest.fixture(scope="module", params=range(3))
def mixture(request):
    options = bidisperse.Options(diameters=(1.0, 0.88), fraction=0.65, packing_fraction=0.868, seed=request.param)
    start = bidisperse.build(options)
    law = lennard_jones.build(Options(**KOB_ANDERSEN), start.diameters, 2)
    return relax(law, start.configuration)


def test_a_random_mixture_with_overlapping_cores_relaxes(mixture):
    assert mixture.verdict is Verdict.CONVERGED
    assert mixture.max_force <= 1e-12 * mixture.force_unit
    assert mixture.history.energy[0] > 1e3  # cores did overlap
    assert mixture.network.n_rattlers == 0


def test_the_sensitivities_of_a_mixture_are_differences_of_re_relaxed_states(mixture):
    response = linear_response(mixture)
    selection = select(mixture.state, ["lennard_jones.sigma[A,B]", "lennard_jones.epsilon[A,A]", "box.length"])
    found = position_sensitivity(response, selection)
    assert found.certificate.relative_error.max() < 1e-9
    assert all(d.agrees(1e-5) for d in compare_with_differences(response, mixture, found, selection))
    assert all(identity.violation < 1e-9 for identity in scale_identities(response))


def test_options_choose_how_parameters_are_stored():
    law = lennard_jones.build(Options(**KOB_ANDERSEN), jnp.ones(2), 2)
    assert (law.onset, law.cutoff, law.smoothness, law.contact) == (2.0, 2.5, 2, False)
    assert (type(law.sigma), type(law.epsilon)) == (PerPair, PerPair)
    law = lennard_jones.build(Options(epsilon=(1.0, 4.0)), jnp.array([1.0, 0.5]), 2)
    assert (type(law.sigma), type(law.epsilon)) == (PerSpecies, PerSpecies)  # Lorentz-Berthelot
    index = jnp.array([0, 1])
    assert [float(field.at(index, index[:1], index[1:])[0]) for field in (law.sigma, law.epsilon)] == [0.75, 2.0]


@pytest.mark.parametrize(("onset", "cutoff"), [(2.5, 2.5), (3.0, 2.5), (1.0, 2.5), (2.0, float("inf"))])
def test_onset_and_cutoff_must_be_in_order(onset, cutoff):
    with pytest.raises(ValueError, match="onset"):
        LennardJones(1.0, onset=onset, cutoff=cutoff)
