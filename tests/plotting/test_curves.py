"""Curves, tables and bars show the numbers they are given."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes

from mdsens import plotting
from mdsens.plotting.benchmark import margins
from mdsens.plotting.iterates import median
from mdsens.plotting.observables import MOST_COLUMNS, elasticities, most_important
from mdsens.plotting.spectrum import spectrum
from mdsens.plotting.sweep import curve_slopes


def line(axes: Axes, name: str) -> Any:
    return next(child for child in axes.get_children() if child.get_gid() == name)


def test_iterates_show_one_thin_line_per_start_and_the_median(iterates: plotting.Iterates) -> None:
    norm, error = plotting.draw_iterates(iterates).axes
    for axes, unrolled, implicit in (
        (norm, iterates.unrolled_l1, iterates.implicit_l1),
        (error, iterates.unrolled_error, iterates.implicit_error),
    ):
        for name, values in (("unrolled", unrolled), ("implicit", implicit)):
            assert len(line(axes, name).get_paths()) == len(values)
            np.testing.assert_allclose(line(axes, f"median {name}").get_ydata(), median(values))
        assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
        assert {text.get_text() for text in axes.texts} >= {"300", "1000", "3000"}
    assert len(line(norm, "reference").get_ydata()) == 4


def test_iterates_say_how_many_starts_were_refused(iterates: plotting.Iterates) -> None:
    written = [text.get_text() for axes in plotting.draw_iterates(iterates).axes for text in axes.texts]
    assert "4 of 5 starts jammed and converged\n1 refused" in written


def test_the_median_needs_half_of_the_starts() -> None:
    values = np.array([[1.0, np.nan], [3.0, np.nan], [5.0, 7.0]])
    np.testing.assert_array_equal(median(values), [3.0, np.nan])


def test_differences_of_a_quadratic_are_its_slope(sweep: plotting.Sweep) -> None:
    middle, slope, sem = curve_slopes(sweep)
    np.testing.assert_allclose(slope, 2 * middle)
    np.testing.assert_allclose(sem, np.sqrt(2) * 0.01 / np.diff(sweep.theta))


def test_sweep_panels_share_theta_and_carry_the_means(sweep: plotting.Sweep) -> None:
    figure = plotting.draw_sweep(sweep)
    means = (sweep.energy_mean, sweep.slope_total_mean, sweep.slope_fixed_box_mean, sweep.magnitude_mean)
    for axes, mean in zip(figure.axes, means, strict=True):
        curves = [child for child in axes.lines if len(child.get_xdata()) == len(mean)]
        np.testing.assert_array_equal(curves[0].get_xdata(), sweep.theta)
        np.testing.assert_array_equal(curves[0].get_ydata(), mean)
        assert axes.collections  # the band
        assert "epsilon" in axes.get_ylabel() or "theta" in axes.get_ylabel()


def test_sweep_counts_refused_packings_at_every_point(sweep: plotting.Sweep) -> None:
    first = plotting.draw_sweep(sweep).axes[0]
    assert [text.get_text() for text in first.texts].count("2") == 10
    assert "of 40 packings" in first.get_title()


def test_history_marks_newton_steps_and_leaves_out_what_is_not_positive() -> None:
    energy, force = np.array([3.0, 2.0, 1.1, 1.0, 1.0]), np.array([1.0, 0.1, 1e-3, 1e-8, 1e-14])
    newton = np.array([False, False, False, True, True])
    upper, lower = plotting.draw_history(energy, force, newton, minimizer="L-BFGS", tolerance=1e-12).axes
    assert "L-BFGS" in [text.get_text() for text in upper.get_legend().get_texts()]
    np.testing.assert_allclose(line(upper, "trace").get_ydata(), [2.0, 1.0, 0.1, np.nan, np.nan])
    np.testing.assert_array_equal(line(lower, "newton").get_xdata(), [4, 5])
    assert (upper.get_yscale(), lower.get_yscale()) == ("log", "log")
    assert "tolerance" in [text.get_text() for text in lower.texts]


def test_a_history_without_newton_steps_is_drawn() -> None:
    nothing = np.zeros(3, dtype=bool)
    assert len(plotting.draw_history(np.ones(3), np.ones(3), nothing, minimizer="FIRE").axes) == 2


def test_observables_show_every_derivative_with_its_error() -> None:
    figure = plotting.draw_observables(
        observables=("energy", "pressure"),
        values=np.array([2.0, 0.0]),
        parameters=("a.sigma", "a.epsilon"),
        parameter_values=np.array([1.0, 4.0]),
        jacobian=np.array([[1.25, -3.5], [0.5, 0.25]]),
        error=np.full((2, 2), 2e-9),
    )
    written = [text.get_text() for text in figure.axes[0].texts]
    assert {"1.25", "−3.5", "0.5", "0.25"} <= set(written)
    assert written.count(r"$\pm$ $2\times10^{-9}$") == 4


def test_elasticities_are_undefined_for_vanishing_observables() -> None:
    found = elasticities(np.array([2.0, 0.0]), np.array([1.0, 4.0]), np.array([[1.0, 2.0], [1.0, 2.0]]))
    np.testing.assert_array_equal(found, [[0.5, 4.0], [np.nan, np.nan]])


def test_only_the_most_important_parameters_are_tabulated() -> None:
    elasticity = np.arange(20.0)[None] * np.where(np.arange(20) % 2, 1, -1)
    np.testing.assert_array_equal(most_important(elasticity), np.arange(20 - MOST_COLUMNS, 20))


def test_participation_is_one_for_all_and_one_over_n_for_a_single_one() -> None:
    n, k = 6, 4
    jacobian = np.zeros((k, n, 2))
    jacobian[0, :, 0] = 3.0  # one parameter moves everybody alike
    jacobian[1, 2, 1] = 1.0  # another one a single particle
    found = spectrum(jacobian)
    np.testing.assert_allclose(found.values[:2], [3.0 * np.sqrt(n), 1.0])
    np.testing.assert_allclose(found.particles[:2], [1.0, 1 / n])
    np.testing.assert_allclose(found.parameters[:2], [1 / k, 1 / k])


def test_spectrum_figure_holds_all_singular_values() -> None:
    jacobian = np.random.default_rng(0).normal(size=(10, 8, 2))
    left, right = plotting.draw_spectrum(jacobian, parameter="a.sigma").axes
    np.testing.assert_allclose(left.lines[0].get_ydata(), spectrum(jacobian).values)
    assert right.get_ylabel() == "participation ratio"
    assert "10 parameters, 8 particles" in left.texts[0].get_text()


def test_margins_are_above_one_exactly_for_rows_that_pass(benchmark_rows: plotting.Benchmark) -> None:
    np.testing.assert_allclose(margins(benchmark_rows), [3.0, 100.0, 0.5, np.inf])
    np.testing.assert_array_equal(benchmark_rows.passed, [True, True, False, True])


def test_bars_are_as_long_as_the_margins_and_failures_are_marked(benchmark_rows: plotting.Benchmark) -> None:
    axes = plotting.draw_benchmark(benchmark_rows).axes[0]
    ends = [bar.get_x() + bar.get_width() for bar in axes.patches]
    np.testing.assert_allclose(ends, [3.0, 100.0, 0.5, 1e4])
    assert [bool(bar.get_hatch()) for bar in axes.patches] == [False, False, True, False]
    marks = [text.get_text().split()[-1] for text in axes.texts]
    assert marks == ["pass", "pass", "FAIL", "pass"]


def test_a_measurement_that_is_not_a_number_fails() -> None:
    rows = plotting.Benchmark(("lost",), np.array([np.nan]), np.array([1.0]), ("at most",))
    assert not rows.passed.any()
    assert plotting.draw_benchmark(rows).axes[0].patches[0].get_hatch()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"), (17.3, "17.3"), (0.25, "0.25"), (-2.0, "−2"), (1e-10, "$10^{-10}$"), (9.96e-27, "$10^{-26}$"),
        (3.2e-13, r"$3.2\times10^{-13}$"), (float("nan"), "not finite"),
    ],
)  # fmt: skip
def test_numbers_are_written_as_in_print(value: float, text: str) -> None:
    from mdsens.plotting.labels import scientific

    assert scientific(value) == text


def test_relaxation_times_show_medians_of_what_was_measured(relaxation_times: plotting.RelaxationTimes) -> None:
    (axes,) = plotting.draw_relaxation_times(relaxation_times).axes
    np.testing.assert_allclose(line(axes, "mdsens").get_ydata(), [0.2, 3.0])
    np.testing.assert_allclose(line(axes, "LAMMPS, one core").get_ydata(), [0.4, 6.0])
    assert "LAMMPS, two cores" not in axes.get_legend_handles_labels()[1]
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")


def test_response_costs_add_up_beside_their_power_law(response_costs: plotting.ResponseCosts) -> None:
    seconds, memory = plotting.draw_response_costs(response_costs).axes
    np.testing.assert_allclose(line(seconds, "response").get_ydata(), response_costs.total)
    law = line(seconds, "power law")
    np.testing.assert_array_equal(law.get_xdata(), response_costs.n_particles[1:])
    np.testing.assert_allclose(law.get_ydata() / response_costs.total[1:], 1.6)
    assert any("1.25" in text.get_text() for text in seconds.texts)
    np.testing.assert_array_equal(line(memory, "relaxation and response").get_ydata(), response_costs.memory)


def test_one_size_has_no_power_law(response_costs: plotting.ResponseCosts) -> None:
    seconds, _ = plotting.draw_response_costs(dataclasses.replace(response_costs, exponent=float("nan"))).axes
    assert not any(child.get_gid() == "power law" for child in seconds.get_children())
