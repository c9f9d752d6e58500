"""Relaxed positions and boxes as functions that JAX differentiates, at fixed box and at constant pressure."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mdsens.energy import Potential
from mdsens.energy.parameters import PerSpecies, Uniform
from mdsens.energy.paths import select
from mdsens.errors import UserError
from mdsens.pressure import relax_at_pressure
from mdsens.relaxation import PressureSettings
from mdsens.response import linear_response
from mdsens.results import Verdict
from mdsens.sensitivity import position_sensitivity, relaxed_configuration
from mdsens.types import Configuration, replaced
from potentials.lennard_jones import LennardJones
from potentials.soft_sphere import SoftSphere
from systems import bidisperse, fcc


def packing() -> tuple[Potential, Configuration, float]:
    start = bidisperse.build(bidisperse.Options(n_particles=20, packing_fraction=1.0, seed=2))
    return SoftSphere(PerSpecies(start.diameters), Uniform(1.0)), start.configuration, 0.05


def small_crystal() -> tuple[Potential, Configuration, float]:
    """One cell of a crystal, which sees further images of itself, away from where it rests."""
    start = fcc.build(fcc.Options(n_cells=(1, 1, 1), spacing=1.1)).configuration
    return LennardJones(1.0, onset=1.6, cutoff=2.0), start, 0.3


KINDS = {
    "isotropic packing": (packing, PressureSettings(), 0),
    "sheared packing with a fixed edge": (packing, PressureSettings(box="triclinic", fixed=("xx",)), 0),
    "small crystal": (small_crystal, PressureSettings(box="orthorhombic"), 1),
}
ONE_KIND = pytest.mark.parametrize("relaxed", ["sheared packing with a fixed edge"], indirect=True)
PARAMETERS = {SoftSphere: ["soft_sphere", "pressure"], LennardJones: ["lennard_jones", "pressure"]}


@pytest.fixture(scope="module", params=KINDS)
def relaxed(request):
    build, settings, layers = KINDS[request.param]
    law, start, pressure = build()
    found = relax_at_pressure(law, start, pressure, settings)
    assert found.verdict is Verdict.CONVERGED
    function = relaxed_configuration(law, found.state.configuration, settings, layers=layers)
    return found, function


def test_positions_and_box_move_as_their_sensitivity_says(relaxed):
    found, function = relaxed
    selection = select(found.state, PARAMETERS[type(found.state.potential)])
    answer = position_sensitivity(linear_response(found), selection)
    push = jax.jit(lambda tangent: jax.jvp(function, (found.state.parameters,), (tangent,))[1])
    for k in range(len(selection.paths)):
        tangent = jax.tree.map(lambda leaf, k=k: jnp.asarray(leaf[k]), selection.tangents)
        change = push(tangent)
        np.testing.assert_allclose(change.position, answer.values[k], atol=1e-9 * (1 + np.abs(answer.values[k]).max()))
        np.testing.assert_allclose(
            change.box.matrix, answer.box.rates[k], atol=1e-9 * np.abs(answer.box.rates[k]).max()
        )


@ONE_KIND
def test_a_gradient_through_jit_is_the_directional_derivative(relaxed):
    found, function = relaxed
    weight = np.random.default_rng(0).standard_normal(found.state.position.shape)

    def loss(parameters):
        there = function(parameters)
        return jnp.vdot(weight, there.box.reduced(there.position)) + there.box.volume

    parameters = found.state.parameters
    slopes = jax.jit(jax.grad(loss))(parameters)
    ones = jax.tree.map(jnp.ones_like, parameters)
    ahead = jax.jit(lambda p, way: jax.jvp(loss, (p,), (way,))[1])(parameters, ones)
    along = sum(float(jnp.sum(leaf)) for leaf in jax.tree.leaves(slopes))
    assert along == pytest.approx(float(ahead), rel=1e-9)
    np.testing.assert_array_equal(slopes.box.matrix, 0.0)  # it is no more than a start


@ONE_KIND
def test_a_pressure_and_a_fixed_box_contradict_each_other(relaxed):
    found, function = relaxed
    state = found.state
    with pytest.raises(UserError, match="hold no pressure"):
        function(state.under(None).parameters)
    with pytest.raises(UserError, match="the box is fixed"):
        relaxed_configuration(state.potential, state.configuration)(state.parameters)


def test_second_derivatives_and_many_pressures_at_once():
    law, start, pressure = packing()
    found = relax_at_pressure(law, start, pressure)
    function = relaxed_configuration(law, found.state.configuration, PressureSettings())
    parameters = found.state.parameters

    @jax.jit
    def slope(p):
        at = lambda p: function(replaced(parameters, {"pressure": p})).box.volume  # noqa: E731
        return jax.grad(at)(p)

    step, at = 1e-5, parameters.pressure
    below, *_, above = steps = at + step * jnp.array([-2.0, -1.0, 1.0, 2.0])
    rates = jax.vmap(slope)(steps)
    assert float(rates[1]) == pytest.approx(float(slope(steps[1])), rel=1e-9)
    near, far = (rates[2] - rates[1]) / (2 * step), (rates[3] - rates[0]) / (above - below)
    assert float(jax.jit(jax.grad(slope))(at)) == pytest.approx(float((4 * near - far) / 3), rel=1e-6)
