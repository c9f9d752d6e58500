"""Hessians of energies that are no pair laws: coloured, dense and matrix-free ones are the same."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sp
from jax_md import energy as jax_md_energy
from jax_md import partition, space

from mdsens.energy import Locality, State, energy, energy_at, forces
from mdsens.energy.foreign import EnergyFunction, NeighborEnergyFunction
from mdsens.energy.jax_md import from_jax_md, from_jax_md_neighbors
from mdsens.errors import UserError
from mdsens.hessian import any_energy, directional_norm, factorise, hessian
from mdsens.hessian.any_energy import coloured_hessian, coupling_pattern, hessian_colouring
from mdsens.hessian.colouring import assemble_blocks, coloured_blocks, full_colouring, star_colouring
from mdsens.hessian.matrix_free import MatrixFree, matrix_free
from mdsens.neighbors import neighbor_pairs, no_pairs
from mdsens.relaxation import relax
from mdsens.types import Configuration, FreeBox, PeriodicBox

SILICON = 5.431  # lattice constant, Angstrom
SW_CUTOFF = 3.77118
BONDED = Locality(SW_CUTOFF, hops=2)
DIAMOND = np.array(
    [[0, 0, 0], [0, 2, 2], [2, 0, 2], [2, 2, 0], [1, 1, 1], [1, 3, 3], [3, 1, 3], [3, 3, 1]]
) / 4  # fmt: skip


def crystal(sites, edge, n_cells, noise, *, periodic=True, seed=0):
    cells = np.stack(np.meshgrid(*[np.arange(n) for n in n_cells], indexing="ij"), axis=-1).reshape(-1, 1, 3)
    position = edge * (cells + sites).reshape(-1, 3)
    position += noise * np.random.default_rng(seed).standard_normal(position.shape)
    box = PeriodicBox(jnp.diag(edge * jnp.asarray(n_cells, float))) if periodic else FreeBox(3)
    return Configuration(jnp.asarray(position), jnp.zeros(len(position), int), box)


def displacement_in(box):
    if isinstance(box, FreeBox):
        return space.free()[0]
    return space.periodic(jnp.diag(box.matrix), wrapped=False)[0]


def state_of(configuration, potential):
    pairs = no_pairs(configuration.dimension)
    if isinstance(potential, NeighborEnergyFunction):
        pairs = neighbor_pairs(configuration.position, configuration.box, 1.1 * potential.locality.cutoff)
    return State(configuration, potential, pairs)


def stillinger_weber(configuration, *, listed=False, locality=BONDED):
    displacement = displacement_in(configuration.box)

    def dense(position, **params):
        return jax_md_energy.stillinger_weber(displacement, cutoff=SW_CUTOFF, **params)(position)

    def local(position, neighbor, **params):
        _, function = jax_md_energy.stillinger_weber_neighbor_list(
            displacement, 20.0, cutoff=SW_CUTOFF, format=partition.Dense, **params
        )
        return function(position, neighbor)

    params = {"sigma": 2.0951, "lam": 21.0, "epsilon": 2.16826}
    if listed:
        return state_of(configuration, from_jax_md_neighbors(local, params, locality, max_neighbors=16))
    return state_of(configuration, from_jax_md(dense, params, locality=locality))


EAM_CUTOFF = 1.8


def smooth(distance):
    """Return a function that ends at the cutoff with three continuous derivatives."""
    return jnp.where(distance < EAM_CUTOFF, (1 - (distance / EAM_CUTOFF) ** 2) ** 4, 0.0)


def embedded_atom(configuration, *, listed=False):
    displacement = displacement_in(configuration.box)

    def functions(strength):
        charge = lambda r: smooth(r)  # noqa: E731
        embedding = lambda charge: -strength * jnp.sqrt(charge)  # noqa: E731
        repulsion = lambda r: 2.0 * smooth(r) / jnp.where(r > 0, r, 1.0) ** 4  # noqa: E731
        return charge, embedding, repulsion

    def dense(position, strength):
        return jax_md_energy.eam(displacement, *functions(strength))(position)

    def local(position, neighbor, strength):
        _, function = jax_md_energy.eam_neighbor_list(
            displacement, 20.0, *functions(strength), EAM_CUTOFF, format=partition.Dense
        )
        return function(position, neighbor)

    params, locality = {"strength": 1.5}, Locality(EAM_CUTOFF, hops=2)
    if listed:
        potential = from_jax_md_neighbors(local, params, locality, max_neighbors=30, with_self=True)
    else:
        potential = from_jax_md(dense, params, locality=locality)
    return state_of(configuration, potential)


def lennard_jones(configuration):
    def pair(position, sigma, epsilon):
        displacement = displacement_in(configuration.box)
        return jax_md_energy.lennard_jones_pair(
            displacement, sigma=sigma, epsilon=epsilon, r_onset=1.5, r_cutoff=1.9
        )(position)  # fmt: skip

    return state_of(configuration, from_jax_md(pair, {"sigma": 1.0, "epsilon": 1.3}, locality=Locality(1.9)))


def dense_hessian(state):
    matrix = jax.jit(jax.hessian(energy_at, argnums=1))(state, state.position, state.parameters)
    return np.asarray(matrix).reshape(state.position.size, -1)


SIMPLE = np.zeros((1, 3))
STATES = {
    "Stillinger-Weber, periodic": lambda: stillinger_weber(crystal(DIAMOND, SILICON, (2, 2, 2), 0.1), listed=True),
    "Stillinger-Weber, free": lambda: stillinger_weber(crystal(DIAMOND, SILICON, (2, 1, 1), 0.1, periodic=False)),
    "embedded atoms, periodic": lambda: embedded_atom(crystal(SIMPLE, 1.0, (5, 4, 4), 0.05), listed=True),
    "embedded atoms, free": lambda: embedded_atom(crystal(SIMPLE, 1.0, (4, 3, 2), 0.05, periodic=False)),
    "Lennard-Jones, periodic": lambda: lennard_jones(crystal(SIMPLE, 1.1, (5, 4, 4), 0.05)),
    "Lennard-Jones, free": lambda: lennard_jones(crystal(SIMPLE, 1.1, (9, 2, 2), 0.05, periodic=False)),
}


@pytest.fixture(scope="module", params=STATES.values(), ids=STATES)
def state(request):
    return request.param()


def test_the_coloured_hessian_is_the_dense_one(state):
    expected = dense_hessian(state)
    found = coloured_hessian(state)
    assert (found != found.T).nnz == 0
    np.testing.assert_allclose(found.toarray(), expected, atol=1e-12 * np.abs(expected).max())


@pytest.mark.parametrize("build", [stillinger_weber, embedded_atom])
def test_listed_neighbours_give_the_energy_and_the_forces_of_all_pairs(build):
    sites, edge, cells = (DIAMOND, SILICON, (2, 2, 2)) if build is stillinger_weber else (SIMPLE, 1.0, (5, 4, 4))
    configuration = crystal(sites, edge, cells, 0.05)
    whole, listed = build(configuration), build(configuration, listed=True)
    assert float(energy(listed)) == pytest.approx(float(energy(whole)), rel=1e-13)
    np.testing.assert_allclose(forces(listed), forces(whole), atol=1e-12)


def test_too_many_neighbours_make_no_number():
    state = embedded_atom(crystal(SIMPLE, 1.0, (4, 4, 4), 0.05), listed=True)
    crowded = from_jax_md_neighbors(
        lambda position, neighbor, strength: strength * jnp.sum(position**2),
        state.potential.params,
        state.potential.locality,
        max_neighbors=3,
    )
    crowded = State(state.configuration, crowded, state.pairs)
    assert np.isnan(energy(crowded))
    assert np.isnan(forces(crowded)).all()
    with pytest.raises(UserError, match="more neighbours than max_neighbors"):
        relax(crowded.potential, crowded.configuration)


def test_the_number_of_products_does_not_grow_with_the_system():
    counts = [
        hessian_colouring(stillinger_weber(crystal(DIAMOND, SILICON, (n, 3, 3), 0.02), listed=True)).n_colours
        for n in (3, 12)
    ]
    assert counts[1] <= 1.15 * counts[0]
    assert counts[1] < 40  # 17 particles share a row of blocks


def test_a_reach_declared_too_short_is_refused():
    state = stillinger_weber(crystal(DIAMOND, SILICON, (2, 2, 2), 0.1), locality=Locality(SW_CUTOFF))
    with pytest.raises(UserError, match=r"farther apart than declared: its Hessian misses .*hops"):
        coloured_hessian(state)


@pytest.mark.parametrize("wrong", [{"cutoff": 0.0}, {"cutoff": float("nan")}, {"cutoff": 1.0, "hops": 0}])
def test_a_locality_without_meaning_is_refused(wrong):
    with pytest.raises(ValueError, match="cutoff must be greater than 0 and the hops at least 1"):
        Locality(**wrong)


def test_neighbours_need_a_cutoff():
    with pytest.raises(ValueError, match="finite cutoff"):
        NeighborEnergyFunction(lambda configuration, params, pairs: jnp.zeros(()))


def test_an_unknown_locality_couples_everybody():
    state = lennard_jones(crystal(SIMPLE, 1.1, (3, 2, 2), 0.05, periodic=False))
    potential = EnergyFunction(state.potential.function, state.potential.params)
    unknown = State(state.configuration, potential, state.pairs)
    assert coupling_pattern(unknown).nnz == 12**2
    np.testing.assert_allclose(coloured_hessian(unknown).toarray(), dense_hessian(state), atol=1e-12)


def test_some_particles_can_be_left_out_of_a_larger_matrix(monkeypatch):
    state = lennard_jones(crystal(SIMPLE, 1.1, (5, 4, 4), 0.05))
    monkeypatch.setattr("mdsens.hessian.matrix.SMALL", 0)
    kept = np.arange(80) % 3 > 0
    unknowns = np.repeat(kept, 3)
    np.testing.assert_allclose(
        hessian(state, kept).toarray(), dense_hessian(state)[np.ix_(unknowns, unknowns)], atol=1e-12
    )


def test_a_matrix_too_large_is_refused_and_only_multiplied(monkeypatch):
    state = lennard_jones(crystal(SIMPLE, 1.1, (5, 4, 4), 0.05))
    monkeypatch.setattr(any_energy, "MOST_ENTRIES", 1000)
    with pytest.raises(UserError, match="declare the energy's Locality"):
        hessian(state)
    assert isinstance(factorise(state), MatrixFree)


def test_matrix_free_products_and_solves_are_those_of_the_matrix():
    state = lennard_jones(crystal(SIMPLE, 1.1, (4, 4, 4), 0.0))
    kept = np.arange(64) > 0  # one particle held: no zero modes are left
    factor, matrix = matrix_free(state, kept), dense_hessian(state)[3:, 3:]
    columns = np.random.default_rng(0).standard_normal((factor.size, 2))
    np.testing.assert_allclose(factor.product(columns), matrix @ columns, atol=1e-12 * factor.norm)
    residual = matrix @ factor.solve(columns) - columns
    assert np.linalg.norm(residual) < 1e-7 * np.linalg.norm(columns)
    values = np.linalg.eigvalsh(matrix)
    assert factor.norm == pytest.approx(np.abs(values).max(), rel=1e-6)
    assert factor.n_negative == (values[0] < 0)
    np.testing.assert_array_equal(factor.solve(np.zeros((factor.size, 1))), 0.0)


def test_matrix_free_sees_negative_eigenvalues():
    state = lennard_jones(crystal(SIMPLE, 1.1, (4, 4, 4), 0.15))
    assert np.linalg.eigvalsh(dense_hessian(state))[0] < -1.0
    assert matrix_free(state).n_negative == 1


def test_the_change_of_the_hessian_is_bounded(state):
    step = 1e-4 * np.random.default_rng(1).standard_normal(state.position.shape)
    ends = [dense_hessian(state.moved(state.position + sign * step, state.pairs)) for sign in (1, -1)]
    true = np.linalg.norm(ends[0] - ends[1], ord=2) / 2
    assert true <= directional_norm(state, jnp.asarray(step)) <= 100 * true


def random_pattern(n, density, seed):
    matrix = sp.random_array((n, n), density=density, rng=np.random.default_rng(seed)).toarray()
    return sp.csr_array(np.triu(matrix, 1) + np.triu(matrix, 1).T + np.eye(n))


@pytest.mark.parametrize("density", [0.0, 0.02, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("d", [1, 3])
def test_any_symmetric_pattern_is_recovered(density, d):
    pattern, rng = random_pattern(40, density, 1), np.random.default_rng(2)
    matrix = np.kron(pattern.toarray() != 0, np.ones((d, d))) * rng.standard_normal((40 * d, 40 * d))
    matrix = matrix + matrix.T

    def product(members):
        return np.stack([(matrix @ np.kron(members, np.eye(d)[a])).reshape(40, d) for a in range(d)])

    for colouring in (star_colouring(pattern), full_colouring(40)):
        found = assemble_blocks(colouring, coloured_blocks(colouring, product))
        np.testing.assert_allclose(found.toarray(), matrix, atol=1e-14)
