"""Sensitivities against central differences of re-relaxed states, for every kind of parameter."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mdsens.energy import energy, pressure
from mdsens.energy.paths import scaling_direction, select
from mdsens.relaxation import RelaxationSettings, relax
from mdsens.response import linear_response
from mdsens.results import check
from mdsens.sensitivity import forward, gradient, observable_sensitivity, position_sensitivity, pull_back
from mdsens.types import Configuration
from potentials import soft_sphere
from systems import bidisperse, polydisperse

STEP = 3e-6  # relative: truncation about 1e-11 times third derivatives, noise 1e-14 / 3e-6
TOLERANCE = 1e-5  # relative, of a difference of re-relaxed states


def packing(system, potential, paths):
    kind = polydisperse if "polydispersity" in system else bidisperse
    start = kind.build(kind.Options(**system))
    n_species = len(start.configuration.species_names)
    law = soft_sphere.build(soft_sphere.Options(**potential), start.diameters, n_species)
    relaxation = relax(law, start.configuration)
    check(relaxation.verdict)
    return relaxation, paths


SIGMA, EPSILON = "soft_sphere.sigma", "soft_sphere.epsilon"
CASES = {
    "independent harmonic 2D": (
        {"n_particles": 40, "seed": 1},
        {"mixing": "independent", "sigma": (0.6, 0.8, 1.0), "epsilon": (1.0, 1.5, 2.0)},
        [f"{SIGMA}[A,B]", f"{SIGMA}[B,B]", f"{EPSILON}[A,B]", f"{EPSILON}[A,A]", "box.length"],
    ),
    "polydisperse Hertzian 2D": (
        {"n_particles": 40, "polydispersity": 0.2},
        {"alpha": 2.5},
        [f"{SIGMA}[0]", f"{SIGMA}[17]", "box.length"],
    ),
    "Hertzian 3D": (
        {"n_particles": 32, "dimension": 3, "packing_fraction": 0.8},
        {"alpha": 2.5, "epsilon": (1.0, 2.0)},
        [f"{SIGMA}[A]", f"{EPSILON}[B]", "box.length"],
    ),
    "harmonic with rattlers": (
        {"n_particles": 40, "packing_fraction": 0.86, "seed": 2},
        {},
        [f"{SIGMA}[A]", "box.matrix[0,1]"],
    ),
}


class Setting:
    """A relaxed packing, its response and its sensitivities."""

    def __init__(self, case):
        self.relaxation, self.paths = packing(*case)
        self.state = self.relaxation.state
        self.response = linear_response(self.relaxation)
        self.selection = select(self.state, self.paths)
        self.sensitivity = position_sensitivity(self.response, self.selection)
        self.held = self.relaxation.network.backbone
        self._ends = {}

    def ends(self, k):
        """Return the states relaxed again, from x*, at p + h and p - h of entry k, and h."""
        if k not in self._ends:
            step = STEP * abs(self.selection.values[k])
            step = step or STEP  # box.matrix[0,1] is zero
            direction = self.selection.combined(np.eye(len(self.paths))[k])
            self._ends[k] = [self._again(direction, sign * step) for sign in (1, -1)], step
        return self._ends[k]

    def _again(self, direction, step):
        moved = jax.tree.map(lambda p, dp: p + step * dp, self.state.parameters, direction)
        here = self.state.configuration
        start = Configuration(here.position, here.species, moved.box, here.species_names)
        end = relax(moved.potential, start, RelaxationSettings(max_force=1e-13))
        assert end.network.same_as(self.relaxation.network)
        return end


@pytest.fixture(scope="module", params=CASES.values(), ids=CASES)
def setting(request):
    return Setting(request.param)


def test_positions_move_as_re_relaxed_ones_do(setting):
    for k, found in enumerate(setting.sensitivity.values):
        (up, down), step = setting.ends(k)
        difference = np.asarray(up.state.position - down.state.position)[setting.held] / (2 * step)
        difference -= difference.mean(axis=0)
        assert np.linalg.norm(difference) > 1e-2  # there is something to compare
        error = np.linalg.norm(difference - found[setting.held]) / np.linalg.norm(difference)
        assert error < TOLERANCE, setting.paths[k]


@pytest.mark.parametrize("observable", [energy, pressure], ids=["energy", "pressure"])
def test_observables_change_as_re_relaxed_ones_do(setting, observable):
    found, name = setting.selection.contract(gradient(setting.response, observable)), observable.__name__
    for k in range(len(setting.paths)):
        (up, down), step = setting.ends(k)
        difference = (getattr(up, name) - getattr(down, name)) / (2 * step)
        assert found[k] == pytest.approx(difference, rel=TOLERANCE, abs=1e-8), setting.paths[k]


def test_forward_and_adjoint_observables_agree(setting):
    onward = observable_sensitivity(setting.response, pressure, setting.selection, positions=setting.sensitivity)
    backward = setting.selection.contract(gradient(setting.response, pressure))
    assert onward.way == "forward"
    assert onward.value == pytest.approx(setting.relaxation.pressure, rel=1e-12)
    np.testing.assert_allclose(onward.values, backward, rtol=1e-10, atol=1e-12)


def test_the_adjoint_is_the_transpose_of_the_forward_map(setting):
    rng = np.random.default_rng(0)
    shape = setting.state.position.shape
    cotangents = list(rng.standard_normal((3, *shape)))
    for index in rng.integers(0, np.prod(shape), 3):  # one-hot ones are not translation invariant
        one_hot = np.zeros(shape)
        one_hot.ravel()[index] = 1.0
        cotangents.append(one_hot)
    values = setting.sensitivity.values.reshape(len(setting.paths), -1)
    for cotangent in cotangents:
        adjoint = setting.selection.contract(pull_back(setting.response, cotangent))
        scale = np.linalg.norm(values, axis=1) * np.linalg.norm(cotangent)
        assert np.all(np.abs(adjoint - values @ cotangent.ravel()) <= 1e-10 * scale)


def test_a_translation_only_cotangent_gives_nothing(setting):
    cotangent = np.where(setting.held[:, None], 1.0, 0.0) * np.ones(setting.state.position.shape)
    adjoint = setting.selection.contract(pull_back(setting.response, cotangent))
    assert np.abs(adjoint).max() < 1e-10 * np.linalg.norm(cotangent)


def test_rattlers_do_not_move_and_the_mean_is_held(setting):
    values = setting.sensitivity.values
    np.testing.assert_array_equal(values[:, ~setting.held], 0.0)
    np.testing.assert_allclose(values[:, setting.held].mean(axis=1), 0.0, atol=1e-12 * np.abs(values).max())


def test_the_scale_identities_hold(setting):
    state, response = setting.state, setting.response
    lengths, energies = scaling_direction(state, "length"), scaling_direction(state, "energy")
    along_lengths, along_energies = forward(response, jax.tree.map(lambda a, b: jnp.stack([a, b]), lengths, energies))
    centred = np.asarray(state.position)[setting.held]
    centred = centred - centred.mean(axis=0)
    size = np.linalg.norm(centred)
    assert np.linalg.norm(along_lengths[setting.held] - centred) < 1e-9 * size
    assert np.linalg.norm(along_energies) < 1e-9 * size
    slope, value = gradient(response, pressure), setting.relaxation.pressure
    contracted = [
        sum(float(jnp.vdot(a, b)) for a, b in zip(jax.tree.leaves(slope), jax.tree.leaves(direction), strict=True))
        for direction in (lengths, energies)
    ]
    assert contracted[0] == pytest.approx(-state.configuration.dimension * value, rel=1e-9)
    assert contracted[1] == pytest.approx(value, rel=1e-9)


def test_the_certificate_of_a_relaxed_state_is_small(setting):
    certificate = setting.sensitivity.certificate
    assert certificate.residual.max() < 1e-11
    assert certificate.relative_error.max() < 1e-8
    assert np.all(certificate.bound >= 0)
    assert not certificate.one_sided
    assert not certificate.at_any_point
    assert certificate.zero_modes.rattlers == setting.relaxation.network.n_rattlers
    assert certificate.max_force <= 1e-12


def test_a_whole_jacobian_holds_the_single_columns(setting):
    chosen = select(setting.state, setting.paths).paths
    others = [path for path in select(setting.state, [SIGMA]).paths if path not in chosen]
    everything = position_sensitivity(setting.response, select(setting.state, [*chosen, *others]))
    np.testing.assert_allclose(
        everything.values[: len(setting.paths)], setting.sensitivity.values, rtol=1e-9, atol=1e-11
    )
