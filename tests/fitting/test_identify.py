"""Directions that positions do not determine, in words."""

import numpy as np

from mdsens.fitting import identify, parameter_errors

PATHS = ("law.sigma[A]", "law.epsilon[A,A]", "law.epsilon[A,B]", "law.other")


def jacobian(*free):
    """Return a random Jacobian that vanishes along the given directions."""
    matrix = np.random.default_rng(0).standard_normal((20, 4))
    basis, _ = np.linalg.qr(np.array(free, dtype=float).T)
    return matrix - matrix @ basis @ basis.T


def test_a_full_rank_has_no_free_direction():
    found = identify(np.random.default_rng(0).standard_normal((20, 4)), PATHS)
    assert found.words == ()
    np.testing.assert_array_equal(found.determined(np.arange(4.0)), np.arange(4.0))


def test_an_overall_scale_is_named_as_one():
    found = identify(jacobian((0, 1, 1, 0)), PATHS)
    assert found.words == ("an overall scale of law.epsilon[A,A], [A,B]",)


def test_a_parameter_without_effect_is_named_alone():
    assert identify(jacobian((0, 0, 0, 1)), PATHS).words == ("law.other",)


def test_a_combination_comes_with_its_weights():
    words = identify(jacobian((0, 2, -1, 0)), PATHS).words
    assert words[0].startswith("a combination of law.epsilon[A,A], [A,B] (in the logarithms")
    assert "0.5" in words[0]


def test_fewer_rows_than_parameters_leave_directions_free():
    assert identify(np.random.default_rng(0).standard_normal((2, 4)), PATHS).free.shape == (4, 2)


def test_a_jacobian_of_zeros_determines_nothing():
    assert identify(np.zeros((6, 4)), PATHS).free.shape == (4, 4)


def test_errors_are_compared_at_a_fixed_energy_scale():
    found = identify(jacobian((0, 1, 1, 0)), PATHS)
    true = np.array([0.8, 1.0, 2.0, 3.0])
    np.testing.assert_allclose(parameter_errors(true * [1, 7, 7, 1], true, found), 0.0, atol=1e-14)
    assert parameter_errors(true * [1.1, 7, 7, 1], true, found)[0] > 0.09
