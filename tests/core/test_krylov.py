"""Conjugate gradients on the blocks of a Hessian: the answers of a factor, its sign, and when they are chosen."""

import jax
import numpy as np
import pytest
import scipy.sparse as sp
from jaxtyping import TypeCheckError

from mdsens.energy.paths import select
from mdsens.errors import NumericalError, UserError
from mdsens.hessian import factorise, hessian, pair_blocks
from mdsens.hessian import matrix as hessian_module
from mdsens.hessian.krylov import BlockKrylov, block_krylov
from mdsens.linear import PairBlocks, SupernodalFactor, assemble, pardiso, upper_triangle
from mdsens.relaxation import RelaxationSettings, relax
from mdsens.response import linear_response
from mdsens.results import check
from mdsens.sensitivity import gradient, position_sensitivity
from potentials import soft_sphere
from systems import bidisperse


def relaxed(n=200, dimension=2, packing_fraction=0.9, seed=0, **settings):
    options = bidisperse.Options(n_particles=n, dimension=dimension, packing_fraction=packing_fraction, seed=seed)
    start = bidisperse.build(options)
    law = soft_sphere.build(soft_sphere.Options(), start.diameters, 2)
    relaxation = relax(law, start.configuration, RelaxationSettings(**settings))
    check(relaxation.verdict)
    return relaxation


@pytest.fixture(scope="module", params=[2, 3], ids=["2D", "3D"])
def relaxation(request):
    return relaxed(dimension=request.param)


@pytest.fixture(scope="module")
def factor(relaxation):
    return factorise(relaxation.loaded, relaxation.network.backbone, solver="krylov")


def test_product_and_norm_are_those_of_the_matrix(factor, relaxation):
    dense = hessian(relaxation.loaded, relaxation.network.backbone).toarray()
    columns = np.random.default_rng(0).standard_normal((factor.size, 3))
    np.testing.assert_allclose(factor.product(columns), dense @ columns, atol=1e-13)
    assert factor.norm == pytest.approx(np.abs(dense).sum(axis=1).max(), rel=1e-13)
    assert factor.shift == 0.0
    assert factor.n_negative == 0


def test_solves_are_those_of_a_pseudo_inverse(factor, relaxation):
    dense = hessian(relaxation.loaded, relaxation.network.backbone).toarray()
    columns = dense @ np.random.default_rng(1).standard_normal((factor.size, 11))  # more than are solved at once
    columns[:, 4] = 0.0
    solution = factor.solve(columns)
    left = np.linalg.norm(dense @ solution - columns, axis=0)
    assert (left <= 1e-6 * np.linalg.norm(columns, axis=0)).all()
    assert not solution[:, 4].any()


@pytest.mark.parametrize("dimension", [2, 3])
def test_a_sensitivity_is_that_of_a_factor_and_says_how_it_was_found(dimension):
    by_factor = relaxed(n=60, dimension=dimension, linear_solver="direct")
    by_krylov = relaxed(n=60, dimension=dimension, linear_solver="krylov")
    responses = [linear_response(each) for each in (by_factor, by_krylov)]
    direct, krylov = (position_sensitivity(r, select(r.state, ["soft_sphere.sigma"])) for r in responses)
    # both finish at rounding from the same minimum
    np.testing.assert_allclose(krylov.values, direct.values, atol=1e-9 * np.abs(direct.values).max())
    assert (krylov.certificate.residual <= 1e-13).all()
    assert krylov.certificate.smallest_eigenvalue == pytest.approx(direct.certificate.smallest_eigenvalue, rel=1e-3)
    assert krylov.certificate.zero_modes == direct.certificate.zero_modes
    assert krylov.certificate.method.startswith("block-Jacobi conjugate gradients")
    energy = lambda state: (state.position**2).sum()  # noqa: E731
    leaves = zip(*(jax.tree.leaves(gradient(r, energy)) for r in responses), strict=True)
    for ours, theirs in leaves:
        np.testing.assert_allclose(ours, theirs, rtol=1e-8, atol=1e-8)


def test_a_large_packing_with_rattlers_is_polished_without_a_factor():
    relaxation = relaxed(n=400, packing_fraction=0.86, seed=1, linear_solver="krylov")
    assert relaxation.network.n_rattlers > 0
    assert relaxation.history.newton.any()
    assert isinstance(relaxation.factor, BlockKrylov)
    assert relaxation.max_force <= 1e-12


def test_a_negative_eigenvalue_is_found_and_solved_with(relaxation):
    state = relaxation.state
    displaced = state.moved(
        state.position + 0.05 * jax.random.normal(jax.random.key(0), state.position.shape), state.pairs
    )
    dense = hessian(displaced).toarray()
    assert np.linalg.eigvalsh(dense)[0] < 0
    factor = factorise(displaced, solver="krylov")
    assert factor.n_negative == 1
    assert "MINRES" in factor.method
    columns = dense @ np.random.default_rng(2).standard_normal((factor.size, 2))
    solution = np.zeros_like(columns)
    for _ in range(3):  # as whoever solves does
        solution += factor.solve(columns - dense @ solution)
    left = np.linalg.norm(dense @ solution - columns, axis=0)
    assert (left <= 1e-8 * np.linalg.norm(columns, axis=0)).all()


def test_a_slightly_negative_eigenvalue_is_found(relaxation):
    dense = hessian(relaxation.loaded, relaxation.network.backbone)
    values, vectors = np.linalg.eigh(dense.toarray())
    lowest = vectors[:, relaxation.loaded.configuration.dimension]  # beyond the translations
    # turn the softest mode over, by a little
    shift = (values[relaxation.loaded.configuration.dimension] + 1e-4) * np.outer(lowest, lowest)
    upper = np.triu(dense.toarray() - shift)
    assert block_krylov(sp.csr_array(upper), relaxation.loaded.configuration.dimension).n_negative == 1


def test_infinite_entries_are_refused():
    pairs = PairBlocks(np.full((1, 2, 2), np.nan), np.array([0]), np.array([1]), 2)
    with pytest.raises(NumericalError, match="infinite or NaN"):
        block_krylov(upper_triangle(pairs), 2)


def test_a_particle_without_contacts_does_no_harm():
    pairs = PairBlocks(np.eye(2)[None], np.array([0]), np.array([1]), 3)
    factor = block_krylov(upper_triangle(pairs), 2)
    right = np.array([1.0, 2, -1, -2, 0, 0])[:, None]
    np.testing.assert_allclose(assemble(pairs) @ factor.solve(right), right, atol=1e-12)


@pytest.mark.skipif(not pardiso.available(), reason="MKL is not installed")
def test_a_factor_that_would_not_fit_is_not_tried(monkeypatch):
    pairs = pair_blocks(relaxed(n=400).loaded)
    assert pairs.n_particles * 2 > hessian_module.SMALL
    state = relaxed(n=400).loaded
    assert isinstance(factorise(state), SupernodalFactor)
    monkeypatch.setattr(hessian_module, "_MOST_NUMBERS", 1e3)
    assert isinstance(factorise(state), BlockKrylov)
    assert isinstance(factorise(state, solver="direct"), SupernodalFactor)


def test_without_mkl_spheres_are_not_factored(monkeypatch, relaxation):
    monkeypatch.setattr(pardiso, "available", lambda: False)
    monkeypatch.setattr(hessian_module, "SMALL", 0)
    monkeypatch.setattr(hessian_module, "_MOST_SUPERLU", 100)
    chosen = factorise(relaxation.loaded, relaxation.network.backbone)
    assert isinstance(chosen, BlockKrylov) == (relaxation.loaded.configuration.dimension == 3)


def test_an_unknown_solver_is_refused():
    # annotations are checked under test, the sentence is what users see
    with pytest.raises((UserError, TypeCheckError), match=r"linear_solver"):
        RelaxationSettings(linear_solver="lu")
