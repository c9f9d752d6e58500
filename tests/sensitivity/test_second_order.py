"""Second derivatives of relaxed packings, against differences of first ones at re-relaxed states."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mdsens.energy import energy_at
from mdsens.energy.paths import select
from mdsens.energy.strain import Unknowns
from mdsens.implicit import DenseCholesky, energy_hessian, second_derivative
from mdsens.observables import energy
from mdsens.relaxation import relax
from mdsens.response import linear_response
from mdsens.sensitivity import observable_sensitivity, position_sensitivity, relaxed_condition
from potentials import soft_sphere
from systems import bidisperse

PATH = "soft_sphere.sigma[A]"
STEP = 3e-6  # smaller than any gap of these packings over its rate: the network is the same at both ends


@pytest.fixture(scope="module", params=[2.0, 2.5], ids=["harmonic", "Hertzian"])
def relaxation(request):
    start = bidisperse.build(bidisperse.Options(n_particles=40))
    law = soft_sphere.build(soft_sphere.Options(alpha=request.param), start.diameters, 2)
    found = relax(law, start.configuration)
    assert found.network.n_rattlers == 0
    return found


def along(relaxation):
    """Return the direction of the parameter, shaped like the parameters."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf[0]), select(relaxation.state, [PATH]).tangents)


def rerelaxed(relaxation, step):
    moved = jax.tree.map(lambda value, way: value + step * way, relaxation.state.parameters, along(relaxation))
    return relax(moved.potential, relaxation.state.configuration)


def central_difference(relaxation, first):
    """Return Richardson's extrapolation of two differences: Hertzian contacts close to touching bend dx/dp strongly."""

    def difference(step):
        above, below = (rerelaxed(relaxation, sign * step) for sign in (1, -1))
        assert above.network.same_as(relaxation.network)
        assert below.network.same_as(relaxation.network)
        return (first(above) - first(below)) / (2 * step)

    return (4 * difference(STEP) - difference(2 * STEP)) / 3


def test_second_derivatives_of_positions_are_those_of_re_relaxed_first_ones(relaxation):
    state, direction = relaxation.state, along(relaxation)
    condition, null_space = relaxed_condition(state.potential, state.configuration)
    options = {"linear_solver": DenseCholesky(), "null_space": null_space}
    found, certificate = second_derivative(
        condition, Unknowns.of(state), (state.parameters,), (direction,), (direction,), **options
    )
    assert certificate.residual.max() < 1e-10
    assert certificate.zero_modes == 2

    def first(end):
        return position_sensitivity(linear_response(end), select(end.state, [PATH])).values[0]

    expected = central_difference(relaxation, first)
    # extrapolated truncation ~ h^4, and rounding of dx/dp to 1e-13 over h
    assert np.linalg.norm(found.position - expected) < 1e-6 * np.linalg.norm(expected)


def test_the_second_derivative_of_the_energy_needs_first_order_response_only(relaxation):
    state = relaxation.state
    _, null_space = relaxed_condition(state.potential, state.configuration)
    objective = lambda q, p: energy_at(state, q.position, p)  # noqa: E731
    found, _ = energy_hessian(
        objective, Unknowns.of(state), (state.parameters,), linear_solver=DenseCholesky(), null_space=null_space
    )
    flat = jax.flatten_util.ravel_pytree(along(relaxation))[0]

    def first(end):
        return observable_sensitivity(linear_response(end), energy, select(end.state, [PATH])).values[0]

    assert flat @ found @ flat == pytest.approx(central_difference(relaxation, first), rel=1e-6)
