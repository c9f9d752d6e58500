"""The suite "large" on tiny systems, in this process; its isolation, resumption and rows apart."""

import csv
import json

import numpy as np
import pytest

from benchmarks.large import growth, jacobian, lammps, pair_diameters, relaxation, run, startup, tables
from benchmarks.large.measure import MeasurementError, main, run_alone
from benchmarks.large.options import Config
from benchmarks.large.problems import Lattice, lammps_start, lattice, many_species, packing, random_half
from benchmarks.large.registry import PARTS
from mdsens.config import load_text
from mdsens.energy import State, energy, forces
from mdsens.io import read_tables
from mdsens.neighbors import neighbor_pairs
from mdsens.relaxation import relax
from mdsens.results import Verdict

TINY = """
[benchmark]
suite = "large"
n_starts = 1
max_force = 1e-9
[relaxation]
n_particles = [32]
n_further = 2
[jacobian]
n_particles = 32
n_columns = 2
[growth]
n_particles = [30]
fit_from = 30
[spheres]
n_particles = 64
[batch]
n_members = 2
[pair_diameters]
n_particles = [15]
[minimisers]
n_particles = 32
"""
needs_lammps = pytest.mark.skipif(not lammps.version(), reason="LAMMPS is not installed")


def in_this_process(spec, *, time_limit):
    return json.loads(json.dumps(PARTS[spec["part"]].measure(spec)))


@pytest.fixture
def tiny(tmp_path):
    path = tmp_path / "tiny.toml"
    path.write_text(TINY)
    return path


@pytest.fixture
def without_lammps(monkeypatch):
    monkeypatch.setattr(lammps, "version", lambda: "")


@pytest.mark.slow
def test_the_suite_measures_stores_and_draws(benchmarks, tiny, tmp_path, monkeypatch, without_lammps):
    monkeypatch.setattr(run, "run_alone", in_this_process)
    parts = ("--benchmark.parts", '["peer", "jacobian", "growth", "minimisers"]')
    outcome = benchmarks("measure", tiny, *parts, "-o", tmp_path / "out")
    assert outcome.code in (0, 1)  # targets are for large systems
    assert "LAMMPS is not installed" in outcome.out
    assert "From a sheared lattice, N = 32: fire" in outcome.out
    written = {path.name for path in (tmp_path / "out").iterdir()}
    figures = {f"benchmark_large_{name}.png" for name in ("benchmark", "response")}
    exports = {f"benchmark_large{end}" for end in (".h5", ".md", ".csv", "_measurements.csv")}
    assert written == figures | exports | {"benchmark_large.members"}
    stored = read_tables(tmp_path / "out" / "benchmark_large.h5")
    assert stored.groups.keys() == {"benchmark", "response_costs", "jacobian", "growth", "minimisers"}
    names = list(map(str, stored.groups["benchmark"]["names"]))
    assert [name.split(" ")[0] for name in names] == ["Jacobian"]  # one size gives no exponent
    assert stored.groups["jacobian"]["column_error"] < 1e-8
    with (tmp_path / "out" / "benchmark_large.csv").open() as file:
        assert [line["what"] for line in csv.DictReader(file)] == names

    def refuse(spec, *, time_limit):
        raise AssertionError(f"{spec} was measured before")

    monkeypatch.setattr(run, "run_alone", refuse)
    again = benchmarks("measure", tiny, *parts, "-o", tmp_path / "out")
    assert (again.code, again.err) == (outcome.code, "")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["relaxation", "spheres"])
def test_a_part_measures_what_its_rows_need(name):
    config = load_text(TINY, schema=Config)
    (spec,) = PARTS[name].specs(config, "")
    result = {**spec, **PARTS[name].measure(spec)}
    assert all(value > 0 for key, value in result.items() if key in ("relax_warm", "response_response", "warm", "peer"))
    assert result.get("peer_error", 0.0) < 1e-6
    PARTS[name].rows(config, [result])


def test_a_failed_measurement_costs_its_own_row_and_is_tried_again(
    benchmarks, tiny, tmp_path, monkeypatch, without_lammps
):
    asked = []

    def fail(spec, *, time_limit):
        asked.append(spec["n_particles"])
        raise MeasurementError("killed by signal 9")

    monkeypatch.setattr(run, "run_alone", fail)
    words = ("measure", tiny, "--benchmark.parts", '["pair_diameters", "growth"]', "-o", tmp_path / "out")
    for _ in range(2):
        outcome = benchmarks(*words)
        assert outcome.code == 1
        assert "measurements without a result" in outcome.out
        assert "killed by signal 9" in outcome.out
    assert asked == [15, 30] * 2


def test_a_process_of_its_own_reports_failure_and_time_in_a_line():
    with pytest.raises(MeasurementError, match="KeyError: 'nothing'"):
        run_alone({"part": "nothing"}, time_limit=100)
    with pytest.raises(MeasurementError, match=r"not done after 0\.01 s"):
        run_alone({"part": "nothing"}, time_limit=0.01)


def test_a_measurement_prints_json(capsys, monkeypatch):
    from workflows import cli

    monkeypatch.setattr(cli, "prepare_process", lambda: None)
    assert main([json.dumps({"part": "pair_diameters", "n_particles": 15, "start": 0, "max_force": 1e-9})]) == 0
    assert json.loads(capsys.readouterr().out)["n_parameters"] == 55


def test_startup_is_told_stage_by_stage(capsys, monkeypatch):
    from workflows import cli

    monkeypatch.setattr(cli, "prepare_process", lambda: None)
    startup.main()
    marks = json.loads(capsys.readouterr().out)
    assert list(marks) == list(startup.STAGES)
    assert list(marks.values()) == sorted(marks.values())
    seconds = {f"{run}_{name}": k + 0.5 for run in ("first", "later") for k, name in enumerate(marks)}
    (line,) = startup.remarks([{"n_particles": 128, **seconds}])
    assert "our modules 1.50 / 1.50" in line


def test_an_unknown_suite_is_refused_with_the_nearest_one(benchmarks, tiny):
    tiny.write_text(TINY.replace('"large"', '"larg"'))
    outcome = benchmarks("measure", tiny)
    assert outcome.code == 2
    assert 'did you mean "large"?' in outcome.sentence


def test_the_lattice_has_the_packing_fraction_asked_for_and_relaxes():
    problem = lattice(Lattice(60, 1.0, 0.1, 0.05, seed=1), max_force=1e-9)
    diameters = np.asarray(problem.potential.sigma.values)
    assert abs(len(diameters) - 60) <= 6
    assert diameters.min() >= 0.9
    assert diameters.max() <= 1.1
    assert np.pi / 4 * np.sum(diameters**2) / float(problem.configuration.box.volume) == pytest.approx(1.0)
    relaxed = relax(problem.potential, problem.configuration, problem.settings)
    assert relaxed.verdict is Verdict.CONVERGED
    assert relaxed.max_force <= 1e-9
    half = random_half(relaxed.state).tangents.potential
    assert set(np.unique(half.sigma.values)) == {0.0, 1.0}
    assert not np.any(half.epsilon.values)


def test_a_sheared_lattice_is_the_lattice_in_a_sheared_box():
    flat, sheared = (lattice(Lattice(60, 1.0, 0.1, 0.0, seed=1, shear=shear), max_force=1e-9) for shear in (0.0, 0.05))
    inside = [np.linalg.solve(p.configuration.box.matrix, p.configuration.position.T) for p in (flat, sheared)]
    np.testing.assert_allclose(*inside, atol=1e-12)
    assert sheared.configuration.box.matrix[0, 1] != 0


def test_tolerances_are_in_units_of_the_smaller_diameter():
    problem = packing(32, 2, 0.9, (1.0, 1.4), seed=0, max_force=1e-9)
    relaxed = relax(problem.potential, problem.configuration, problem.settings)
    assert problem.settings.max_force * relaxed.force_unit == pytest.approx(1e-9)


def test_ten_species_have_55_diameters_of_their_own():
    problem = many_species(53, seed=0, max_force=1e-9)
    assert problem.potential.sigma.values.shape == (55,)
    assert np.unique(np.asarray(problem.configuration.species)).size == 10


@needs_lammps
@pytest.mark.validation
@pytest.mark.parametrize(("dimension", "fraction"), [(2, 0.9), (3, 0.7)])
def test_lammps_has_our_energy_and_forces_and_reaches_the_tolerance(dimension, fraction):
    problem = packing(200, dimension, fraction, (1.0, 1.4), seed=0, max_force=1e-9)
    configuration = problem.configuration
    pairs = neighbor_pairs(configuration.position, configuration.box, 1.4)
    state = State(configuration, problem.potential, pairs)
    found = lammps.minimise(lammps_start(problem), style="fire", max_force=1e-9)
    assert found.start_energy == pytest.approx(float(energy(state)), rel=1e-12)
    ours = np.asarray(forces(state))
    np.testing.assert_allclose(found.start_forces, ours, atol=1e-12 * np.abs(ours).max())
    assert found.stopped == "force tolerance"
    assert found.max_force <= 1e-9  # its `norm max` is the largest norm of a particle's force, as ours
    two = lammps.minimise(lammps_start(problem), style="cg", max_force=1e-9, ranks=2)
    np.testing.assert_array_equal(two.start_forces.shape, ours.shape)
    np.testing.assert_allclose(two.start_forces, ours, atol=1e-12 * np.abs(ours).max())


def test_the_exponent_of_a_power_law_is_found():
    results = [{"n_discs": n, "response_response": 3e-6 * n**1.2} for n in (10_044, 30_050, 100_100)]
    assert growth.exponent(results) == pytest.approx(1.2)


def made_up(n, start):
    times = {"relax_warm": 2.0 + start, "relax_cold": 9.0, "steps": 100, "relax_memory": 0.5, "n_further": 16}
    stages = ("assembly", "factor", "forward", "adjoint", "whole", "as_is", "cold", "certificate")
    response = {f"response_{stage}": 0.01 for stage in stages} | {"response_response": 0.04}
    further = {"further_parameter": 0.001, "further_observable": 0.002}
    peer = {"lammps_best": 4.0, "lammps_cg": 4.0, "lammps_fire": 5.0, "lammps_two": 3.0}
    return {"n_particles": n, "start": start} | times | response | further | peer


def test_rows_judge_medians_against_the_target_of_the_size():
    results = [made_up(n, start) for n in (1_000, 10_000, 50_000) for start in range(3)]
    rows = {row.name: row for row in relaxation.rows(Config(benchmark={"suite": "large"}), results)}
    relaxing = [rows[f"relax, N = {n}: our time / LAMMPS's"] for n in (1_000, 10_000, 50_000)]
    assert [(row.measured, row.target) for row in relaxing] == [(0.75, 1.0), (0.75, 1.0), (0.75, 0.5)]
    responses = [rows[f"response, N = {n}: its time / LAMMPS's relaxation"] for n in (10_000, 50_000)]
    assert [(row.measured, row.target) for row in responses] == [(0.01, 0.1), (0.01, 0.05)]
    further = rows["further parameter or observable, N = 10000: / LAMMPS's relaxation"]
    assert (further.measured, further.target) == (0.0005, 0.005)  # the dearer of the two
    assert rows["certificate, N = 50000: its time / the response's"].measured == 0.25
    assert len(rows) == 9


def test_without_lammps_the_rows_beside_it_are_left_out():
    results = [{k: v for k, v in made_up(10_000, 0).items() if not k.startswith("lammps")}]
    names = [row.name for row in relaxation.rows(Config(benchmark={"suite": "large"}), results)]
    assert names == ["certificate, N = 10000: its time / the response's"]
    assert np.isnan(tables.relaxation_times(results)["lammps_one"]).all()


def test_rows_beside_published_and_extrapolated_times():
    config = Config(benchmark={"suite": "large"})
    fast = {"n_particles": 53, "warm": 0.0091, "error": 1e-12, "n_parameters": 55, "cold": 1.0}
    speed, error = pair_diameters.rows(config, [fast])
    assert speed.measured == pytest.approx(1000)
    assert error.reached
    column = {"column": 0.1, "column_error": 1e-10, "column_way": "plain", "n_columns": 20}
    (row,) = jacobian.rows(config, [{"n_particles": 1000, "warm": 0.5, "cold": 3.0} | column])
    assert row.measured == pytest.approx(200)


def test_every_name_of_a_part_has_a_part():
    assert set(Config(benchmark={"suite": "large"}).benchmark.parts) == PARTS.keys()
