"""Power laws through means: the exponent comes back, and its error says how far to trust it."""

import numpy as np
import pytest

from mdsens.errors import NumericalError, UserError
from mdsens.jamming import fit_power_law, jamming_fractions

EXPONENT, PREFACTOR = 0.5, 3.0


def ensemble(generator, n_packings=24, n_points=8, noise=0.3):
    """Return packings that scatter about a power law, each with a part common to all of its points."""
    x = np.geomspace(1e-4, 1e-2, n_points) * (1 + 0.03 * generator.normal(size=(n_packings, n_points)))
    shared, own = generator.normal(size=(n_packings, 1)), generator.normal(size=(n_packings, n_points))
    return x, PREFACTOR * x**EXPONENT * (1 + noise * (shared + own) / np.sqrt(2))


def test_a_known_law_comes_back():
    x, y = ensemble(np.random.default_rng(0), noise=1e-3)
    law = fit_power_law(x, y, 50)
    assert law.exponent == pytest.approx(EXPONENT, abs=5 * law.exponent_error)
    assert law.prefactor == pytest.approx(PREFACTOR, abs=5 * law.prefactor_error)
    assert law.exponent_error < 0.01


def test_the_error_covers_the_exponent():
    generator, inside = np.random.default_rng(1), 0
    for _ in range(40):
        law = fit_power_law(*ensemble(generator), 100)
        inside += abs(law.exponent - EXPONENT) <= 2 * law.exponent_error
    # 24 packings cover about 0.93 with two standard errors: 31 or fewer of 40 would happen once in 500 times
    assert inside >= 32


def test_single_packings_may_be_negative():
    x, y = ensemble(np.random.default_rng(2), n_packings=100, noise=1.0)
    assert (y < 0).any()
    law = fit_power_law(x, y, 100)
    assert law.exponent == pytest.approx(EXPONENT, abs=4 * law.exponent_error)


def test_missing_answers_are_left_out():
    x, y = ensemble(np.random.default_rng(3))
    full = fit_power_law(x[1:], y[1:], 20)
    x[0], y[0] = np.nan, np.nan
    assert fit_power_law(x, y, 20).exponent == pytest.approx(full.exponent, rel=1e-12)


def test_the_same_seed_gives_the_same_error():
    x, y = ensemble(np.random.default_rng(4))
    assert fit_power_law(x, y, 20, 7) == fit_power_law(x, y, 20, 7)
    assert fit_power_law(x, y, 20, 7).exponent_error != fit_power_law(x, y, 20, 8).exponent_error


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda x, y: (x, y[:, 1:]), "both must be"),
        (lambda x, y: (x[:2], y[:2]), "at least 3 packings; there are 2"),
        (lambda x, y: (x[:, :2], y[:, :2]), "at least 3 points; there are 2"),
    ],
)
def test_too_little_is_refused(change, words):
    with pytest.raises(UserError, match=words):
        fit_power_law(*change(*ensemble(np.random.default_rng(5))))
    with pytest.raises(UserError, match="n_resamples is 1"):
        fit_power_law(*ensemble(np.random.default_rng(5)), 1)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda x, y: (-x, y), "abscissa"),
        (lambda x, y: (x, -y), "fewer than two means are positive"),
        (lambda x, y: (x, np.where(np.arange(len(x))[:, None] > 0, np.nan, y)), "fewer than two packings"),
        (lambda x, y: (0 * x + x[0], 0 * y + y[0]), "all packings are the same"),
    ],
)
def test_means_without_a_law_say_so(change, words):
    with pytest.raises(NumericalError, match=words):
        fit_power_law(*change(*ensemble(np.random.default_rng(6))))


def test_a_linear_pressure_is_extrapolated_exactly():
    # P = b (phi - phi_J) has the bulk modulus phi dP/dphi = b phi, whatever state is taken
    at_jamming, slope = np.array([0.84, 0.85]), 0.3
    pressure = np.array([1e-3, 1e-5, 1e-4])
    fraction = at_jamming[:, None] + pressure / slope
    found, error = jamming_fractions(pressure, fraction, slope * fraction)
    np.testing.assert_allclose(found, at_jamming, rtol=1e-14)
    np.testing.assert_allclose(error, 0.0, atol=1e-14)


def test_a_packing_without_low_states_is_extrapolated_from_further_up():
    pressure = np.array([1e-2, 1e-3, 1e-4])
    fraction = np.array([[0.87, np.nan, np.nan], [np.nan] * 3])
    found, error = jamming_fractions(pressure, fraction, np.where(np.isnan(fraction), np.nan, 0.29))
    assert found[0] == pytest.approx(0.87 * (1 - 1e-2 / 0.29))
    assert np.isnan(found[1])
    assert np.isnan(error).all()
