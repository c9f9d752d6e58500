"""Floppy systems that have an answer: chains and spring networks at rest; soft modes that are loaded are refused."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import brentq

from mdsens.energy.foreign import EnergyFunction
from mdsens.energy.paths import select
from mdsens.errors import NumericalError
from mdsens.observables.elasticity import elastic_tensor
from mdsens.relaxation import taken_as_relaxed
from mdsens.response import linear_response
from mdsens.sensitivity import forward, gradient, observable_sensitivity, position_sensitivity
from mdsens.types import Configuration, FreeBox, PeriodicBox

SQRT3 = 3**0.5


def relaxed(function, params, position, box):
    start = Configuration(jnp.asarray(position), jnp.zeros(len(position), int), box)
    return taken_as_relaxed(EnergyFunction(function, params, "law"), start)


def walk(n, bond):
    """Return the corners of a random walk in space."""
    arms = np.random.default_rng(0).standard_normal((n - 1, 3))
    return np.vstack([np.zeros((1, 3)), np.cumsum(bond * arms / np.linalg.norm(arms, axis=1, keepdims=True), axis=0)])


def fene(position, params, box):
    """Return the energy of FENE bonds with a purely repulsive core."""
    squared = jnp.sum((position[1:] - position[:-1]) ** 2, axis=1)
    sixth = (params["sigma"] ** 2 / squared) ** 3
    core = 4 * params["epsilon"] * (sixth**2 - sixth) + params["epsilon"]
    core = jnp.where(squared < 2 ** (1 / 3) * params["sigma"] ** 2, core, 0.0)
    return jnp.sum(core - 0.5 * params["k"] * params["r0"] ** 2 * jnp.log(1 - squared / params["r0"] ** 2))


def slope(r, sigma=1.0):
    return 30 * r / (1 - r**2 / 1.5**2) - 24 * (2 * sigma**12 / r**13 - sigma**6 / r**7)


@pytest.mark.parametrize("n", [8, 40])
def test_a_free_chain_is_answered_in_the_gauge_of_minimum_norm(n):
    bond = brentq(slope, 0.9, 1.0, xtol=1e-16, rtol=1e-15)
    assert bond == pytest.approx(0.96089719896, abs=1e-11)
    relaxation = relaxed(fene, {"k": 30, "r0": 1.5, "sigma": 1, "epsilon": 1}, walk(n, bond), FreeBox(3))
    response = linear_response(relaxation)
    modes = response.zero_modes
    assert (modes.translations, modes.rotations, modes.floppy) == (3, 3, 3 * n - 6 - (n - 1))
    found = position_sensitivity(response, select(relaxation.state, ["law.sigma"]))
    assert found.certificate.residual.max() < 1e-14
    position, rate = np.asarray(relaxation.state.position), found.values[0]
    arms = np.diff(position, axis=0) / bond
    rates = np.sum(np.diff(rate, axis=0) * arms, axis=1)
    # u'(r, sigma) = 0: dr/dsigma = -u'_sigma/u'_r, both by central differences good to 1e-9
    step = 1e-5
    expected = (slope(bond, 1 - step) - slope(bond, 1 + step)) / (slope(bond + step) - slope(bond - step))
    np.testing.assert_allclose(rates, expected, rtol=1e-8)
    np.testing.assert_allclose(rates, rates[0], rtol=1e-13)
    # minimum norm: the answer is a combination of the bonds' own directions
    stretch = np.zeros((n - 1, n, 3))
    every = np.arange(n - 1)
    stretch[every, every + 1], stretch[every, every] = arms, -arms
    basis = np.linalg.qr(stretch.reshape(n - 1, -1).T)[0]
    np.testing.assert_allclose(basis @ (basis.T @ rate.ravel()), rate.ravel(), atol=1e-12)


EDGES = {"triangular": 1.0, "kagome": 2.0, "honeycomb": SQRT3}
BASES = {"triangular": [[0, 0]], "kagome": [[0, 0], [1, 0], [0.5, SQRT3 / 2]], "honeycomb": [[0, 0], [0, 1]]}


def network(kind, cells):
    """Return the energy, positions and box of unit springs at rest between neighbours."""
    matrix = EDGES[kind] * np.array([[1, 0.5], [0, SQRT3 / 2]])
    places = np.stack(np.meshgrid(range(cells), range(cells), indexing="ij"), axis=-1).reshape(-1, 1, 2)
    position = (places @ matrix.T + np.array(BASES[kind])).reshape(-1, 2)
    box = cells * matrix
    i, j = np.triu_indices(len(position), 1)
    apart = position[i] - position[j]
    apart -= np.round(apart @ np.linalg.inv(box).T) @ box.T
    near = np.abs(np.linalg.norm(apart, axis=1) - 1) < 1e-6
    i, j = i[near], j[near]

    def springs(x, params, space):
        lengths = jnp.linalg.norm(space.displacement(x[i] - x[j]), axis=1)
        return 0.5 * params["k"] * jnp.sum((lengths - params["length"]) ** 2)

    return springs, position, PeriodicBox(jnp.asarray(box)), len(i)


@pytest.mark.parametrize(
    ("kind", "cells", "bulk", "shear"),
    [
        ("triangular", 4, SQRT3 / 2, SQRT3 / 4),
        ("kagome", 4, SQRT3 / 4, SQRT3 / 8),
        ("honeycomb", 13, 1 / (2 * SQRT3), 0.0),
    ],
)
def test_networks_of_springs_at_rest_have_their_moduli(kind, cells, bulk, shear):
    springs, position, box, n_springs = network(kind, cells)
    relaxation = relaxed(springs, {"k": 1, "length": 1}, position, box)
    response = linear_response(relaxation)
    if kind == "honeycomb":  # one state of self-stress
        assert response.zero_modes.floppy == position.size - 2 - n_springs + 1
    if cells == 13:
        assert response.zero_modes.floppy >= 157
    found = position_sensitivity(response, select(relaxation.state))
    assert found.certificate.residual.max() < 1e-14
    tensor = elastic_tensor(response)
    c11, c12 = bulk + shear, bulk - shear
    expected = [[c11, c12, 0], [c12, c11, 0], [0, 0, shear]]
    np.testing.assert_allclose(tensor.voigt, expected, atol=1e-12)
    image = response.factor.product(response.floppy)
    assert np.abs(image).max(initial=0.0) < 1e-13 * response.norm


def weakly_bound(ratio):
    """Return a bent chain of three whose second bond is weaker, relaxed, and its direction."""
    rest = 2 ** (1 / 6)

    def law(x, params, box):
        sixth = (params["sigma"] ** 2 / jnp.sum((x[1:] - x[:-1]) ** 2, axis=1)) ** 3
        return jnp.sum(jnp.array([1.0, ratio]) * 4 * params["epsilon"] * (sixth**2 - sixth))

    position = rest * np.array([[0, 0, 0], [1, 0, 0], [1 + np.cos(1.0), np.sin(1.0), 0]])
    return relaxed(law, {"sigma": 1, "epsilon": 1}, position, FreeBox(3)), (position[2] - position[1]) / rest


def length(state):
    return jnp.linalg.norm(state.position[2] - state.position[1])


def test_a_soft_mode_is_answered_while_it_can_be_told_from_a_zero_mode():
    relaxation, along = weakly_bound(3e-9)
    response, selection = linear_response(relaxation), select(relaxation.state, ["law.sigma"])
    rate = position_sensitivity(response, selection).values[0]
    # rounding over the stiffness ratio, times the derivatives of a steep law: 10 x 1e-16/3e-9
    assert (rate[2] - rate[1]) @ along == pytest.approx(2 ** (1 / 6), abs=5e-6)
    found = observable_sensitivity(response, length, selection)
    assert found.values[0] == pytest.approx(2 ** (1 / 6), abs=5e-6)
    assert abs(found.values[0] - 2 ** (1 / 6)) < 10 * found.certificate.error[0]


@pytest.mark.parametrize("ratio", [1e-9, 1e-11, 1e-12])
def test_a_load_on_a_mode_that_counts_as_floppy_is_refused(ratio):
    relaxation, _ = weakly_bound(ratio)
    response, selection = linear_response(relaxation), select(relaxation.state, ["law.sigma"])
    with pytest.raises(NumericalError, match=r"law.sigma loads a mode softer than 1e-09 of the stiffest"):
        position_sensitivity(response, selection)
    with pytest.raises(NumericalError, match="its response would be missing"):
        observable_sensitivity(response, length, selection)
    with pytest.raises(NumericalError, match="its response would be missing"):
        gradient(response, length)
    with pytest.raises(NumericalError, match="one of the directions loads a mode"):
        forward(response, selection.tangents)
    nothing = position_sensitivity(response, select(relaxation.state, ["law.epsilon"])).values
    np.testing.assert_allclose(nothing, 0.0, atol=1e-12)  # both bonds stay as long as they are


def test_rotations_of_a_cluster_in_a_box_are_called_rotations():
    def springs(x, params, box):
        i, j = jnp.array([0, 0, 0, 1, 1, 2]), jnp.array([1, 2, 3, 2, 3, 3])
        lengths = jnp.linalg.norm(box.displacement(x[i] - x[j]), axis=1)
        return 0.5 * params["k"] * jnp.sum((lengths - params["length"]) ** 2)

    corners = np.array([[0, 0, 0], [1, 1, 0], [1, 0, 1], [0, 1, 1]]) / 2**0.5
    position = np.mod(corners - 0.3, 9.0)  # cut by three faces of the box
    modes = linear_response(relaxed(springs, {"k": 1, "length": 1}, position, PeriodicBox.cubic(9.0, 3))).zero_modes
    assert (modes.translations, modes.rotations, modes.floppy) == (3, 3, 0)
