"""Error bars of correlated samples, against series whose autocorrelation time is known."""

import numpy as np
import pytest

from mdsens.equilibrium import block_errors, estimate


def autoregressive(key, memory, replicas, n_samples):
    r"""Return series x' = memory x + noise, of variance 1 and autocorrelation time (1 + memory)/(2 (1 - memory))."""
    noise = np.random.default_rng(key).standard_normal((replicas, n_samples))
    series = np.empty_like(noise)
    series[:, 0] = noise[:, 0]
    for t in range(1, n_samples):
        series[:, t] = memory * series[:, t - 1] + np.sqrt(1 - memory**2) * noise[:, t]
    return series


@pytest.mark.parametrize("memory", [0.0, 0.5, 0.9])
def test_the_autocorrelation_time_is_the_known_one(memory):
    found = estimate(3.0 + autoregressive(1, memory, 4, 25_000))
    exact = 0.5 * (1 + memory) / (1 - memory)
    # relative error of tau: (4 (2 W + 1)/N)^(1/2), W a few tau, N = 1e5
    assert found.tau == pytest.approx(exact, rel=0.1)
    assert found.n_effective == pytest.approx(1e5 / (2 * found.tau))
    assert found.error == pytest.approx(np.sqrt(2 * exact / 1e5), rel=0.06)
    assert abs(found.mean - 3.0) < 4 * found.error


@pytest.mark.parametrize(("replicas", "n_samples"), [(2, 1000), (4, 100), (1, 200)])
def test_intervals_hold_the_truth_as_often_as_they_should(replicas, n_samples):
    series = autoregressive(2, 0.8, 1000 * replicas, n_samples)
    found = [estimate(series[k : k + replicas]) for k in range(0, len(series), replicas)]
    known = [each for each in found if np.isfinite(each.error)]
    assert len(known) > 980
    inside = np.mean([abs(each.mean) < 1.96 * each.error for each in known])
    assert inside == pytest.approx(0.95, abs=0.02)  # three standard errors of the fraction of 1000 series


def test_samples_that_avoid_each_other_are_worth_more_than_independent_ones():
    found = estimate(autoregressive(3, -0.5, 2, 20_000))
    assert found.tau == pytest.approx(0.5 / 3, rel=0.1)


def test_errors_of_blocks_rise_to_a_plateau_at_the_same_error():
    series = autoregressive(4, 0.9, 4, 25_000)
    lengths, errors, spreads = block_errors(series)
    assert lengths[0] == 1
    assert errors[0] == pytest.approx(np.sqrt(1 / series.size), rel=0.05)
    long = (lengths > 100) & (lengths < 3000)  # ten to three hundred autocorrelation times
    assert np.all(np.abs(errors - estimate(series).error)[long] < 3 * spreads[long])


def test_a_constant_has_no_error():
    found = estimate(np.full((2, 50), 0.1))
    assert (found.error, found.n_effective) == (0.0, 100.0)


def test_an_error_that_cannot_be_told_is_infinite_and_no_number():
    alternating = np.tile([1.0, -1.0], 20)[None]  # too few samples to see how long they go on avoiding each other
    assert estimate(alternating).error == np.inf
