"""Direct factors: banded and sparse ones agree with dense algebra and with each other."""

import jax
import numpy as np
import pytest

from mdsens.errors import NumericalError
from mdsens.hessian import SMALL, factorise, hessian, pair_blocks
from mdsens.linear import (
    SHIFT,
    BandedCholesky,
    PairBlocks,
    SparseLU,
    Spectrum,
    SupernodalFactor,
    assemble,
    banded_cholesky,
    pardiso,
    sparse_factor,
    sparse_lu,
    spectrum,
    upper_triangle,
)
from mdsens.relaxation import relax
from potentials import soft_sphere
from systems import bidisperse


@pytest.fixture(scope="module", params=[2, 3], ids=["2D", "3D"])
def relaxation(request):
    options = bidisperse.Options(n_particles=40, dimension=request.param, packing_fraction=0.9)
    start = bidisperse.build(options)
    law = soft_sphere.build(soft_sphere.Options(), start.diameters, 2)
    return relax(law, start.configuration)


@pytest.fixture(scope="module", params=["banded", "sparse", "supernodal"])
def factor(request, relaxation):
    kind = {
        "banded": lambda: banded_cholesky(pair_blocks(relaxation.state)),
        "sparse": lambda: sparse_lu(hessian(relaxation.state)),
        "supernodal": lambda: sparse_factor(upper_triangle(pair_blocks(relaxation.state))),
    }
    return kind[request.param]()


def test_product_and_norm_are_those_of_the_matrix(factor, relaxation):
    dense = hessian(relaxation.state).toarray()[np.ix_(factor.order, factor.order)]
    columns = np.random.default_rng(0).standard_normal((factor.size, 3))
    np.testing.assert_allclose(factor.product(columns), dense @ columns, atol=1e-13)
    assert factor.norm == pytest.approx(np.abs(dense).sum(axis=1).max(), rel=1e-13)
    assert factor.shift == SHIFT * factor.norm


def test_solve_inverts_the_shifted_matrix(factor, relaxation):
    dense = hessian(relaxation.state).toarray()[np.ix_(factor.order, factor.order)]
    shifted = dense + factor.shift * np.eye(factor.size)
    columns = np.random.default_rng(1).standard_normal((factor.size, 3))
    # backward stable: the residual is rounding times |H| |y|, and |y| reaches 1/shift along the translations
    solution = factor.solve(columns)
    assert np.abs(shifted @ solution - columns).max() < 1e-13 * factor.norm * np.abs(solution).max()


def test_small_minima_get_a_band_and_others_a_sparse_factor(relaxation):
    assert isinstance(relaxation.factor, BandedCholesky)
    assert relaxation.factor.n_negative == 0
    start = bidisperse.build(bidisperse.Options(n_particles=SMALL // 2 + 1, seed=1))
    law = soft_sphere.build(soft_sphere.Options(), start.diameters, 2)
    large = relax(law, start.configuration)
    assert isinstance(large.factor, SupernodalFactor if pardiso.available() else SparseLU)


@pytest.mark.parametrize(("n", "dimension"), [(20, 2), (20, 3)])
def test_tiny_minima_are_diagonalised(n, dimension):
    start = bidisperse.build(
        bidisperse.Options(n_particles=n, dimension=dimension, packing_fraction=1.05 - 0.1 * dimension, seed=1)
    )
    law = soft_sphere.build(soft_sphere.Options(), start.diameters, 2)
    relaxation = relax(law, start.configuration)
    factor, loaded = relaxation.factor, (relaxation.loaded, relaxation.network.backbone)
    assert isinstance(factor, Spectrum)
    assert (factor.n_negative, factor.shift, int(factor.zero.sum())) == (0, 0.0, dimension)
    dense = hessian(*loaded).toarray()
    np.testing.assert_allclose(factor.matrix, dense, atol=1e-15)
    assert factor.norm == pytest.approx(np.abs(dense).sum(axis=1).max(), rel=1e-13)
    columns = np.random.default_rng(0).standard_normal((factor.size, 3))
    inverse = np.linalg.pinv(dense, rcond=1e-9, hermitian=True)
    np.testing.assert_allclose(factor.product(columns), dense @ columns, atol=1e-14)
    np.testing.assert_allclose(factor.solve(columns), inverse @ columns, atol=1e-12 * np.abs(inverse).max())


def test_a_tiny_matrix_with_infinite_entries_is_refused():
    with pytest.raises(NumericalError, match="infinite or NaN"):
        spectrum(np.array([[np.inf]]))


def test_negative_eigenvalues_are_counted():
    # three particles in a triangle joined by one stiff, one soft and one negative spring
    angles = np.array([0.0, 2.0, 4.0])
    normals = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    blocks = np.array([2.0, 1.0, -3.0])[:, None, None] * normals[:, :, None] * normals[:, None, :]
    pairs = PairBlocks(blocks, np.array([0, 0, 1]), np.array([1, 2, 2]), 3)
    assert banded_cholesky(pairs) is None
    expected = np.linalg.eigvalsh(assemble(pairs).toarray())
    assert sparse_lu(assemble(pairs)).n_negative == np.sum(expected < -1e-9) == 1
    assert sparse_factor(upper_triangle(pairs)).n_negative == 1


def test_a_random_state_is_factored_whatever_its_inertia(relaxation):
    state = relaxation.state
    displaced = state.moved(
        state.position + 0.3 * jax.random.normal(jax.random.key(0), state.position.shape), state.pairs
    )
    values = np.linalg.eigvalsh(hessian(displaced).toarray())
    assert factorise(displaced).n_negative == np.sum(values < -1e-9) > 0


def test_infinite_entries_are_refused():
    pairs = PairBlocks(np.full((1, 2, 2), np.nan), np.array([0]), np.array([1]), 2)
    assert banded_cholesky(pairs) is None
    with pytest.raises(NumericalError, match="infinite or NaN"):
        sparse_lu(assemble(pairs))


@pytest.mark.skipif(not pardiso.available(), reason="MKL is not installed")
def test_an_earlier_factor_lends_its_order_to_the_same_pattern(relaxation):
    pairs = pair_blocks(relaxation.loaded, relaxation.network.backbone)
    upper = upper_triangle(pairs)
    first = sparse_factor(upper)
    stiffer = upper.copy()
    stiffer.data = 2.0 * upper.data
    second = sparse_factor(stiffer, first)
    np.testing.assert_array_equal(second.factor.order, first.factor.order)
    columns = np.random.default_rng(2).standard_normal((first.size, 2))
    np.testing.assert_allclose(second.solve(columns), 0.5 * first.solve(columns), rtol=1e-6)


def test_without_mkl_superlu_serves(relaxation, monkeypatch):
    monkeypatch.setattr(pardiso, "available", lambda: False)
    assert isinstance(sparse_factor(upper_triangle(pair_blocks(relaxation.state))), SparseLU)
