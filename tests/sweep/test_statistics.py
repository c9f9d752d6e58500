"""Averages over members, some of which gave no answer, and the tables made of them."""

import numpy as np
import pytest

from mdsens.sweep import mean_and_error
from mdsens.sweep.tables import count_right, iterate_arrays, judged, recorded_steps, stacked, sweep_arrays

NAN = np.nan


def test_mean_and_error_are_those_of_numpy():
    values = np.random.default_rng(0).normal(size=(3, 4, 10))
    mean, error, count = mean_and_error(values)
    np.testing.assert_allclose(mean, values.mean(axis=-1), rtol=1e-14)
    np.testing.assert_allclose(error, values.std(axis=-1, ddof=1) / np.sqrt(10), rtol=1e-13)
    np.testing.assert_array_equal(count, np.full((3, 4), 10))


def test_members_without_an_answer_are_left_out_and_counted():
    mean, error, count = mean_and_error(np.array([[1.0, NAN, 3.0, NAN], [2.0, NAN, NAN, NAN], [NAN] * 4]))
    np.testing.assert_array_equal(count, [2, 1, 0])
    np.testing.assert_array_equal(mean, [2.0, 2.0, NAN])
    # two samples 1 and 3: standard deviation sqrt(2), over sqrt(2); one sample has no error
    np.testing.assert_allclose(error, [1.0, NAN, NAN])


def test_a_large_offset_does_not_drown_the_error():
    _, error, _ = mean_and_error(1e12 + np.array([0.0, 1.0, 2.0]))
    assert error == pytest.approx(1 / np.sqrt(3), rel=1e-9)


def test_count_right_counts_answered_members_only():
    found = count_right(np.array([1e-12, 1e-9, 5e-4, 1e-3, 5e-3, 0.3, NAN, np.inf]))
    assert found == {
        "within_1_percent": 5.0,
        "within_0.1_percent": 4.0,
        "within_1e-9": 2.0,
        "worst": np.inf,
        "answered": 7.0,
    }


def test_count_right_of_nobody():
    found = count_right(np.array([NAN, NAN]))
    assert np.isnan(found["worst"])
    assert found["answered"] == found["within_1_percent"] == 0.0


def test_recorded_steps_increase_to_the_last_checkpoint_and_hold_them_all():
    steps = recorded_steps((3000, 300, 1000), 40)
    assert (steps[0], steps[-1]) == (1, 3000)
    assert np.all(np.diff(steps) > 0)
    assert {300, 1000} <= set(steps.tolist())
    assert recorded_steps((1,), 5).tolist() == [1]


def start(error, verdict="converged"):
    series = np.array([10.0, 1.0, error])
    return {
        "verdict": verdict,
        "reference_l1": np.array(NAN if np.isnan(error) else 7.0),
        "implicit_final_error": np.array(error),
        "difference_error": np.array(10 * error),
        "unrolled_error": series,
        "implicit_error": series / 2,
        "unrolled_l1": series * 3,
        "implicit_l1": series * 4,
        "iterate_max_force": series / 10,
    }


def test_records_are_stacked_in_order():
    arrays = stacked([start(0.5), start(NAN, "unjammed")])
    assert arrays["verdict"].tolist() == ["converged", "unjammed"]
    assert arrays["unrolled_error"].shape == (2, 3)


def test_iterates_count_the_refused():
    arrays = iterate_arrays([start(0.5), start(NAN, "unjammed"), start(1e-3)], np.array([1, 5, 20]))
    assert int(arrays["n_refused"]) == 1
    assert arrays["implicit_l1"].shape == (3, 3)
    np.testing.assert_array_equal(arrays["step"], [1, 5, 20])


def test_every_method_is_judged_at_its_own_step():
    table = judged([start(1e-12), start(1e-4), start(NAN)], np.array([1, 5, 20]), (20, 5))
    assert table["method"].tolist() == ["implicit", "re-relaxed difference", "unrolled, 5 steps", "unrolled, 20 steps"]
    np.testing.assert_array_equal(table["answered"], [2, 2, 3, 2])
    np.testing.assert_array_equal(table["within_0.1_percent"], [2, 2, 0, 2])
    np.testing.assert_array_equal(table["within_1e-9"], [1, 1, 0, 1])
    np.testing.assert_allclose(table["worst"], [1e-4, 1e-3, 1.0, 1e-4])


def test_a_sweep_is_averaged_value_by_value():
    names = ("energy", "slope_total", "slope_fixed_box", "magnitude", "l1")
    numbers = [1.0, 3.0, 10.0, NAN]  # two starts at each of two values, one refused
    records = [
        {"verdict": "unjammed" if np.isnan(x) else "converged", **{name: np.array(x) for name in names}}
        for x in numbers
    ]
    arrays = sweep_arrays(records, (0.4, 0.6))
    np.testing.assert_array_equal(arrays["energy_mean"], [2.0, 10.0])
    np.testing.assert_array_equal(arrays["slope_total_sem"], [1.0, NAN])
    np.testing.assert_array_equal(arrays["n_used"], [2, 1])
    np.testing.assert_array_equal(arrays["n_refused"], [0, 1])
    assert arrays["verdict_all"].tolist() == [["converged", "converged"], ["converged", "unjammed"]]
