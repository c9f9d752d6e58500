"""Sensitivities against an unrolled minimiser, a closed form, and their own error estimates; and refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mdsens.energy import gradient_at, pressure
from mdsens.energy.paths import select
from mdsens.errors import NumericalError
from mdsens.relaxation import RelaxationSettings, relax
from mdsens.response import linear_response
from mdsens.results import Verdict, check
from mdsens.sensitivity import forward, gradient, observable_sensitivity, position_sensitivity
from potentials import soft_sphere
from systems import bidisperse, hexagonal


def packing(settings=None, potential=None, **options):
    start = bidisperse.build(bidisperse.Options(**options))
    law = soft_sphere.build(soft_sphere.Options(**(potential or {})), start.diameters, 2)
    return relax(law, start.configuration, settings)


def test_differentiating_an_unrolled_descent_gives_the_same():
    relaxation = packing(n_particles=16, packing_fraction=1.1)
    check(relaxation.verdict)
    assert relaxation.network.backbone.all()
    state = relaxation.state.with_every_pair()
    response = linear_response(relaxation)
    selection = select(state, ["soft_sphere.sigma[A]", "box.length"])
    expected = position_sensitivity(response, selection).values
    rate = 1.0 / response.norm
    # the slowest mode decays as exp(-steps rate lambda_min); forty e-folds leave rounding only
    steps = int(40.0 / (rate * response.smallest_eigenvalue))

    @jax.jit
    def unrolled(tangent):
        descend = lambda p: jax.lax.fori_loop(  # noqa: E731
            0, steps, lambda _, x: x - rate * gradient_at(state, x, p), state.position
        )
        return jax.jvp(descend, (state.parameters,), (tangent,))[1]

    for k, column in enumerate(expected):
        found = unrolled(selection.combined(np.eye(2)[k]))
        np.testing.assert_allclose(found - found.mean(axis=0), column, atol=1e-9 * np.abs(column).max())


@pytest.mark.parametrize("alpha", [2.0, 2.5])
def test_a_hexagonal_crystal_has_the_closed_form(alpha):
    r, sigma, epsilon = 0.93, 1.05, 1.7
    start = hexagonal.build(hexagonal.Options(n_cells=(4, 3), spacing=r, diameter=sigma))
    law = soft_sphere.build(soft_sphere.Options(alpha=alpha, epsilon=epsilon), start.diameters, 1)
    relaxation = relax(law, start.configuration)
    check(relaxation.verdict)
    # P = sqrt(3) epsilon (1 - r/sigma)^(alpha - 1) / (sigma r): six neighbours, area sqrt(3)/2 r^2 per disc
    strain = 1 - r / sigma
    value = np.sqrt(3) * epsilon * strain ** (alpha - 1) / (sigma * r)
    by_sigma = value * ((alpha - 1) * r / sigma**2 / strain - 1 / sigma)
    by_r = value * (-(alpha - 1) / sigma / strain - 1 / r)
    assert relaxation.pressure == pytest.approx(value, rel=1e-12)
    selection = select(relaxation.state, ["soft_sphere.sigma", "soft_sphere.epsilon", "box.length"])
    response = linear_response(relaxation)
    found = selection.contract(gradient(response, pressure))
    per_length = r / float(start.configuration.box.length)
    np.testing.assert_allclose(found, [by_sigma, value / epsilon, by_r * per_length], rtol=1e-10)
    if alpha == 2.0:
        assert by_sigma == pytest.approx(np.sqrt(3) * epsilon / r * (-1 / sigma**2 + 2 * r / sigma**3), rel=1e-12)
    positions = forward(response, selection.tangents)
    np.testing.assert_allclose(positions[:2], 0.0, atol=1e-11)  # by symmetry nothing moves
    centred = np.asarray(relaxation.state.position)
    centred = (centred - centred.mean(axis=0)) / float(start.configuration.box.length)
    np.testing.assert_allclose(positions[2], centred, atol=1e-10)  # the crystal swells with its box


@pytest.fixture(
    scope="module", params=[{}, pytest.param({"alpha": 2.5}, marks=pytest.mark.slow)], ids=["harmonic", "Hertzian"]
)
def reference(request):
    options = {"n_particles": 40, "seed": 2}
    relaxation = packing(potential=request.param, **options)
    check(relaxation.verdict)
    selection = select(relaxation.state, ["soft_sphere.sigma", "box.length"])
    response = linear_response(relaxation)
    observed = observable_sensitivity(response, pressure, selection)
    return request.param, options, relaxation, position_sensitivity(response, selection), observed


@pytest.mark.parametrize("max_force", [1e-6, 1e-7, 1e-8, 1e-9])
def test_the_error_estimate_of_a_state_stopped_early_is_honest(reference, max_force):
    potential, options, relaxation, exact, observed = reference
    stopped = packing(RelaxationSettings(newton=False, max_force=max_force), potential, **options)
    assert stopped.network.same_as(relaxation.network)  # the backbone has settled
    assert stopped.max_force > 1e-12
    response = linear_response(stopped)
    selection = select(stopped.state, ["soft_sphere.sigma", "box.length"])
    found = position_sensitivity(response, selection)
    true = np.linalg.norm((found.values - exact.values).reshape(len(exact.paths), -1), axis=1)
    estimate = found.certificate.error
    assert np.all(true <= 2 * estimate)
    assert np.all(2 * estimate <= 20 * true)
    assert np.all(true <= found.certificate.bound)
    adjoint = observable_sensitivity(response, pressure, selection)
    assert adjoint.way == "adjoint"
    change = np.linalg.norm(adjoint.values - observed.values)
    assert change <= 2 * np.linalg.norm(adjoint.certificate.error) + 1e-13


def test_an_unjammed_state_has_no_sensitivity():
    relaxation = packing(n_particles=40, packing_fraction=0.6)
    with pytest.raises(NumericalError, match="unjammed"):
        linear_response(relaxation)


def test_an_iterate_is_answered_only_with_a_label():
    relaxation = packing(RelaxationSettings(max_steps=100), n_particles=40)
    assert relaxation.verdict is Verdict.MAX_STEPS
    with pytest.raises(NumericalError, match="no sensitivity"):
        linear_response(relaxation)
    response = linear_response(relaxation, at_any_point=True)
    selection = select(relaxation.state, ["soft_sphere.sigma[A]"])
    assert position_sensitivity(response, selection).certificate.at_any_point


def test_an_observable_with_a_pole_is_refused():
    relaxation = packing(n_particles=40)
    selection = select(relaxation.state, ["soft_sphere.sigma[A]"])
    with pytest.raises(NumericalError, match="not finite"):
        observable_sensitivity(
            linear_response(relaxation),
            lambda state: jnp.sqrt(jnp.sum((state.position - jax.lax.stop_gradient(state.position)) ** 2)),
            selection,
            name="spike",
        )
