"""Systems whose thermal averages are known exactly."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array, PyTree

from mdsens.energy import State
from mdsens.energy.foreign import EnergyFunction
from mdsens.energy.parameters import PerSpecies, Uniform
from mdsens.types import Box, Configuration, FreeBox, PeriodicBox, Position, Scalar
from potentials.lennard_jones import LennardJones
from potentials.soft_sphere import SoftSphere


def spring(position: Position, params: PyTree, box: Box) -> Scalar:
    """Hold every particle at the origin: U = k/2 sum x^2."""
    return 0.5 * params["k"] * jnp.sum(position**2)


@pytest.fixture
def mean_square() -> Callable[[State], Scalar]:
    """The mean of x^2 over particles and axes."""
    return lambda state: jnp.mean(state.position**2)


@pytest.fixture
def trap() -> State:
    """Eight particles in a harmonic trap in the plane, k = 2."""
    configuration = Configuration(jnp.zeros((8, 2)), jnp.zeros(8, int), FreeBox(2))
    return State.unlisted(configuration, EnergyFunction(spring, {"k": 2.0}, "trap"))


@pytest.fixture
def many_discs() -> State:
    """Twenty-five soft discs on a square lattice in a box of edge 5.5."""
    places = (np.stack(np.meshgrid(np.arange(5), np.arange(5)), axis=-1).reshape(-1, 2) + 0.25) * 1.1
    configuration = Configuration(jnp.asarray(places), jnp.zeros(25, int), PeriodicBox.cubic(5.5, 2))
    return State.unlisted(configuration, SoftSphere(PerSpecies([1.0]), Uniform(1.0), alpha=2.5))


@pytest.fixture
def two_discs() -> State:
    """Two soft discs in a box of edge 2.2, far from each other."""
    box = PeriodicBox.cubic(2.2, 2)
    configuration = Configuration(jnp.array([[0.1, 0.2], [1.2, 1.3]]), jnp.zeros(2, int), box)
    return State.unlisted(configuration, SoftSphere(PerSpecies([1.0]), Uniform(1.0), alpha=2.5))


def exact_pair(law: Callable[[Array], Array], reach: Array, edge: Array, temperature: float) -> tuple[Array, Array]:
    r"""Return <U> and <P> of two particles in a square box, by quadrature over their distance.

    With :math:`Z = \int e^{-\beta u} d^2r` over one box, <U> is the mean of u and P = kT (1/V + 1/Z), as the reach does
    not change with the box.
    """
    node, weight = np.polynomial.legendre.leggauss(400)
    distance = 0.5 * reach * (node + 1.0)
    measure, value = jnp.pi * reach * weight * distance, law(distance)
    inside = jnp.sum(measure * jnp.exp(-value / temperature))
    partition = edge**2 - jnp.pi * reach**2 + inside
    mean = jnp.sum(measure * value * jnp.exp(-value / temperature)) / partition
    return mean, temperature * (1.0 / edge**2 + 1.0 / partition)


@pytest.fixture
def exact() -> tuple[np.ndarray, np.ndarray]:
    """<U>, <P> of the two discs at T = 0.2, shape (2,), and their derivatives in sigma, epsilon and edge, (2, 3)."""

    def both(p: Array) -> Array:
        sigma, epsilon, edge = p
        return jnp.stack(exact_pair(lambda r: epsilon / 2.5 * (1.0 - r / sigma) ** 2.5, sigma, edge, 0.2))

    here = jnp.array([1.0, 1.0, 2.2])
    return np.asarray(both(here)), np.asarray(jax.jacobian(both)(here))


@pytest.fixture
def two_atoms() -> State:
    """Two Lennard-Jones particles in the plane, cut at 1.5 sigma, in a box of edge 3.2."""
    box = PeriodicBox.cubic(3.2, 2)
    configuration = Configuration(jnp.array([[0.1, 0.2], [1.7, 1.8]]), jnp.zeros(2, int), box)
    return State.unlisted(configuration, LennardJones(PerSpecies([1.0]), cutoff=1.5, truncation="cut"))


@pytest.fixture
def exact_atoms() -> tuple[np.ndarray, np.ndarray]:
    """<U> of the two atoms at T = 1, shape (1,), and its derivatives in sigma and epsilon, cutoff held, (1, 2)."""

    def mean(p: Array) -> Array:
        sigma, epsilon = p
        law = lambda r: 4.0 * epsilon * ((sigma / r) ** 12 - (sigma / r) ** 6)  # noqa: E731
        return exact_pair(lambda r: jnp.minimum(law(r), 100.0), jnp.asarray(1.5), jnp.asarray(3.2), 1.0)[0][None]

    here = jnp.array([1.0, 1.0])
    return np.asarray(mean(here)), np.asarray(jax.jacobian(mean)(here))
