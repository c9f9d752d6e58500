"""The benchmark: its table, and what it says without its peer."""

import math
import sys

import numpy as np
import pytest

from workflows.rows import Row, as_arrays, print_rows

ROWS = [
    Row("error, worst", 1e-12, 1e-9, "at most", "40 of 40 jammed"),
    Row("speed-up", 7.5, 10, "at least"),
    Row("undefined", math.nan, 1.0, "at least"),
]


@pytest.fixture
def benchmark(tmp_path):
    path = tmp_path / "tiny.toml"
    path.write_text(
        '[system]\nkind = "bidisperse"\nn_particles = 16\n'
        '[potential]\nkind = "soft_sphere"\n[benchmark]\nn_starts = 2\n'
    )
    return path


def test_without_jaxopt_it_says_how_to_install_it(benchmarks, benchmark, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "jaxopt", None)
    outcome = benchmarks("measure", benchmark, "-o", tmp_path / "out")
    assert outcome.code == 2
    assert "pip install 'mdsens[benchmark]'" in outcome.sentence
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "overrides",
    [
        ["--potential.alpha", "2.5"],
        ["--potential.mixing", "independent"],
        ["--system.diameters", "[0.6, 1.2]"],
        ["--benchmark.parameter", "soft_sphere.sigma[B]"],
    ],
)
def test_a_problem_that_the_peer_does_not_know_is_refused(benchmarks, benchmark, overrides):
    outcome = benchmarks("measure", benchmark, *overrides)
    assert outcome.code == 2
    assert "the benchmark's peer knows" in outcome.sentence


def test_a_row_is_reached_on_the_right_side_of_its_target_and_never_when_undefined():
    assert [row.reached for row in ROWS] == [True, False, False]
    assert Row("equal", 10.0, 10, "at least").reached
    assert not Row("undefined", math.nan, 1.0, "at most").reached


def test_rows_become_columns():
    arrays = as_arrays(ROWS)
    assert all(len(column) == 3 for column in arrays.values())
    assert arrays["names"].tolist() == ["error, worst", "speed-up", "undefined"]
    np.testing.assert_array_equal(arrays["reached"], [True, False, False])


def test_the_printed_table_tells_reached_from_missed(capsys):
    print_rows(ROWS)
    lines = capsys.readouterr().out.splitlines()
    first, second = (next(line for line in lines if name in line) for name in ("error, worst", "speed-up"))
    assert all(word in first for word in ("1e-12", "<= 1e-09", "ok", "40 of 40 jammed"))
    assert all(word in second for word in ("7.5", ">= 10", "MISSED"))
