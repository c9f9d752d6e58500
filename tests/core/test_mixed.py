"""The mixed derivative as a sparse matrix: against automatic differentiation, for every kind of parameter."""

import functools
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mdsens.energy import PairPotential, State, gradient_at, pressure
from mdsens.energy.mixing import geometric_mean
from mdsens.energy.parameters import PerPair, PerParticle, PerSpecies, Uniform, flattened
from mdsens.energy.paths import select
from mdsens.hessian import hessian
from mdsens.hessian.derivatives import drifts, mixed
from mdsens.hessian.mixed import mixed_matrix, sparse_drifts
from mdsens.neighbors import neighbor_pairs
from mdsens.relaxation import relax
from mdsens.response import forward, linear_response
from mdsens.sensitivity import observable_sensitivity, position_sensitivity
from mdsens.types import Configuration, FreeBox, PeriodicBox
from potentials import lennard_jones, soft_sphere
from systems import polydisperse

N = 24
KINDS = {
    "uniform": lambda size: Uniform(size),
    "per species": lambda size: PerSpecies(size * jnp.array([1.0, 1.2])),
    "per species, geometric": lambda size: PerSpecies(size * jnp.array([1.0, 1.2]), geometric_mean),
    "per pair": lambda size: PerPair(size * jnp.array([1.0, 1.05, 1.2])),
    "per particle": lambda size: PerParticle(size * np.linspace(0.9, 1.2, N)),
    "per particle, geometric": lambda size: PerParticle(size * np.linspace(0.9, 1.2, N), geometric_mean),
}
LAWS = {
    "soft spheres": functools.partial(soft_sphere.SoftSphere, alpha=2.5),
    "Lennard-Jones": functools.partial(lennard_jones.LennardJones, onset=1.3, cutoff=1.6),
}


def state_of(law, box):
    rng = np.random.default_rng(0)
    sites = np.stack(np.meshgrid(np.arange(6), np.arange(4), indexing="ij"), axis=-1).reshape(-1, 2)
    position = 0.95 * sites + 0.1 * rng.standard_normal((N, 2))
    start = Configuration(jnp.asarray(position), jnp.asarray(np.arange(N) % 2), box, ("A", "B"))
    return State(start, law, neighbor_pairs(position, box, 1.9))


BOXES = {"periodic": PeriodicBox(jnp.array([[5.7, 0.3], [0.0, 3.8]])), "free": FreeBox(2)}
CASES = [("soft spheres", kind, "periodic") for kind in KINDS]
CASES += [("Lennard-Jones", "per species, geometric", "free"), ("Lennard-Jones", "per particle", "periodic")]
CASES += [("Lennard-Jones", "per pair", "periodic"), ("soft spheres", "per particle", "free")]


@pytest.mark.parametrize(("law", "kind", "box"), CASES)
def test_the_matrix_is_the_derivative_of_the_gradient(law, kind, box):
    kind = KINDS[kind]
    state = state_of(LAWS[law](kind(1.0), kind(1.7)), BOXES[box])
    jacobian = jax.jit(jax.jacfwd(gradient_at, argnums=2))(state, state.position, state.parameters)
    leaves = [np.asarray(leaf).reshape(2 * N, -1) for leaf in jax.tree.leaves(jacobian)]
    expected = np.concatenate(leaves, axis=1)
    np.testing.assert_allclose(mixed_matrix(state).toarray(), expected, atol=1e-12 * np.abs(expected).max())


@pytest.mark.parametrize(
    ("law", "kind", "box"), [("soft spheres", "per species", "free"), ("Lennard-Jones", "per particle", "periodic")]
)
def test_the_drifts_are_those_along_single_directions(law, kind, box):
    law = LAWS[law](KINDS[kind](1.0), 1.7)
    state = state_of(law, BOXES[box])
    tangents = select(state, [f"{law.name}.sigma", f"{law.name}.epsilon"]).tangents
    rng = np.random.default_rng(1)
    responses = rng.standard_normal((len(flattened(tangents)), N, 2))
    step = jnp.asarray(rng.standard_normal((N, 2)))
    nothing = jnp.zeros((len(responses), 0)), jnp.zeros(0)
    way = (tangents, jnp.asarray(responses), nothing[0])
    left = np.asarray(drifts(state, *way, jnp.zeros_like(step), nothing[1])[0])
    lacking, _, slope_alone = map(np.asarray, drifts(state, *way, step, nothing[1])[:3])
    both = lacking - left
    found = sparse_drifts(state, step)
    slopes = (found.by_parameter @ flattened(tangents).T).T
    np.testing.assert_allclose(slopes, slope_alone.reshape(slopes.shape), atol=1e-11 * np.abs(slope_alone).max())
    total = slopes + responses.reshape(slopes.shape) @ found.by_position
    np.testing.assert_allclose(total, both.reshape(slopes.shape), atol=1e-11 * np.abs(both).max())


def test_plain_arrays_have_full_columns():
    class Bare(PairPotential):
        strength: jax.Array
        contact: ClassVar[bool] = True
        name, cutoff, smoothness, pair_length = "bare", 1.0, 1, 1.9

        def pair_energy(self, distance):
            return self.strength[0] * distance**2 + self.strength[1] * distance**3

    state = state_of(Bare(jnp.array([1.0, 2.0])), FreeBox(2))
    expected = np.asarray(mixed(state, select(state).tangents)).reshape(2, -1).T
    np.testing.assert_allclose(mixed_matrix(state).toarray(), expected, rtol=1e-12)


def test_a_particles_value_pushes_it_and_its_contacts_alone():
    state = state_of(soft_sphere.SoftSphere(KINDS["per particle"](1.0)), FreeBox(2))
    touching = hessian(state).toarray().reshape(N, 2, N, 2).any(axis=(1, 3))
    pushed = mixed_matrix(state).toarray()[:, :N].reshape(N, 2, N).any(axis=1)
    np.testing.assert_array_equal(pushed, touching)


@pytest.fixture(scope="module")
def packing():
    start = polydisperse.build(polydisperse.Options(n_particles=80, polydispersity=0.2))
    law = soft_sphere.build(soft_sphere.Options(), start.diameters, 1)
    return linear_response(relax(law, start.configuration))


def test_many_entries_are_answered_as_few_are(packing, monkeypatch):
    selection = select(packing.state, ["soft_sphere.sigma", "box.length", "soft_sphere.epsilon"])
    assert len(selection.paths) > forward.CHUNK
    many = position_sensitivity(packing, selection)
    adjoint = observable_sensitivity(packing, pressure, selection)
    monkeypatch.setattr(forward, "CHUNK", 1000)
    few = position_sensitivity(packing, selection)
    np.testing.assert_allclose(many.values, few.values, atol=1e-10 * np.abs(few.values).max())
    # the remaining step is of rounding size and so are the estimates made from it
    np.testing.assert_allclose(many.certificate.error, few.certificate.error, rtol=0.5)
    assert np.all(many.certificate.bound < 10 * few.certificate.bound)
    expected = observable_sensitivity(packing, pressure, selection)
    np.testing.assert_allclose(adjoint.values, expected.values, rtol=1e-9)
    np.testing.assert_allclose(adjoint.certificate.error, expected.certificate.error, rtol=1e-6)


def test_forward_and_adjoint_agree_on_many_entries(packing):
    selection = select(packing.state, ["soft_sphere.sigma"])
    positions = position_sensitivity(packing, selection)
    onward = observable_sensitivity(packing, pressure, selection, positions=positions)
    backward = observable_sensitivity(packing, pressure, selection)
    assert (onward.way, backward.way) == ("forward", "adjoint")
    np.testing.assert_allclose(onward.values, backward.values, atol=1e-11 * np.abs(backward.values).max())


def test_a_selection_of_all_particles_takes_no_square_of_their_number():
    n = 20_000
    diameters = jnp.ones(n)
    start = Configuration(jnp.asarray(np.arange(2.0 * n).reshape(n, 2)), jnp.zeros(n, int), FreeBox(2))
    law = soft_sphere.SoftSphere(PerParticle(diameters))
    state = State(start, law, neighbor_pairs(start.position, start.box, 3.0))
    selection = select(state, ["soft_sphere.sigma"])
    assert selection.directions.nnz == n
    np.testing.assert_array_equal(selection.part(slice(3, 5)).contract(state.parameters), [1.0, 1.0])
    assert mixed_matrix(state).nnz < 20 * n
