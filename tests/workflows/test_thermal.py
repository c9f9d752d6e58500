"""``mdsens thermal``: its tables, its file, and what an interruption leaves."""

import dataclasses

import numpy as np
import pytest

from mdsens.config import load
from mdsens.equilibrium import Equilibration
from mdsens.io import read_tables
from workflows import study
from workflows import thermal as workflow

TINY = """
[system]
kind = "bidisperse"
n_particles = 12

[potential]
kind = "soft_sphere"

[thermal]
temperature = 0.05
timestep = 0.1
n_replicas = 4
n_samples = 150
n_equilibration = 20
parameters = ["soft_sphere.sigma[A]"]
relax_first = false
"""


@pytest.fixture
def tiny(tmp_path):
    path = tmp_path / "tiny.toml"
    path.write_text(TINY)
    return path


def test_a_tiny_run_prints_saves_draws_and_resumes_what_was_finished(mdsens, tiny, tmp_path, monkeypatch):
    real, calls = workflow.sample, []

    def interrupted(*arguments, **options):
        if calls:
            raise KeyboardInterrupt
        calls.append(1)
        return real(*arguments, **options)

    monkeypatch.setattr("mdsens.sweep.members.default_workers", lambda: 1)
    monkeypatch.setattr(workflow, "sample", interrupted)
    outcome = mdsens("thermal", tiny, "-o", "out")
    assert (outcome.code, outcome.sentence) == (130, "interrupted")
    assert not (tmp_path / "out" / "thermal.h5").exists()
    assert len(list((tmp_path / "out" / "thermal.members").glob("*.h5"))) == 1

    monkeypatch.setattr(workflow, "sample", lambda *a, **o: calls.append(1) or real(*a, **o))
    outcome = mdsens("thermal", tiny, "-o", "out")
    assert (outcome.code, outcome.err) == (0, "")
    assert len(calls) == 2  # the other batch of two
    lines = outcome.out.splitlines()
    assert all(len(line) <= 80 for line in lines if not line.startswith(("results", "figure", "equilibrated")))
    assert [line.split("│")[1].strip() for line in lines if line.startswith("│")] == [
        "energy_per_particle",
        "pressure",
    ] * 2
    assert "equilibrated: The halves of the run agree" in outcome.out
    assert {path.name for path in (tmp_path / "out").glob("*.png")} == {"thermal_convergence.png"}

    tables = read_tables(tmp_path / "out" / "thermal.h5")
    assert set(tables.groups) == {"averages", "derivatives", "convergence", "series"}
    assert tables.attributes["verdict"] == "equilibrated"
    assert tables.groups["series"]["values"].shape == (4, 150, 2)
    series, averages = tables.groups["series"]["values"], tables.groups["averages"]
    np.testing.assert_allclose(averages["mean"], series.mean(axis=(0, 1)))
    assert len(np.unique(series[:, 0, 0])) == 4  # every replica has noise of its own
    derivatives = tables.groups["derivatives"]
    assert list(derivatives["parameter"]) == ["soft_sphere.sigma[A]"] * 2
    assert np.all(derivatives["value"] > 0)  # larger discs push more
    np.testing.assert_allclose(tables.groups["convergence"]["running"][0, -1], averages["mean"][0])

    (tmp_path / "out" / "thermal.h5").unlink()
    monkeypatch.setattr(workflow, "sample", lambda *a, **o: pytest.fail("a batch was sampled again"))
    assert mdsens("thermal", tiny, "-o", "out", "--output.figures", "false").code == 0
    again = read_tables(tmp_path / "out" / "thermal.h5")
    np.testing.assert_array_equal(again.groups["series"]["values"], series)


def test_other_conditions_make_other_members(tiny):
    def key(*overrides):
        loaded = load(tiny, schema=workflow.Config, overrides=list(overrides))
        return next(iter(workflow.stages(loaded.config)["sampling"].members))

    same = key("--thermal.n_replicas", "8", "--output.name", "other")
    others = [
        key("--thermal.seed", "1"),
        key("--thermal.temperature", "0.1"),
        key("--potential.alpha", "2.5"),
        key("--system.seed", "1"),
        key("--thermal.integrator", "nose_hoover"),
    ]
    assert same == key()
    assert len({key(), *others}) == 6


def test_a_run_that_is_no_equilibrium_is_saved_and_says_so(mdsens, tiny, tmp_path, monkeypatch):
    real = workflow.averages
    short = Equilibration.TOO_SHORT
    monkeypatch.setattr(workflow, "averages", lambda samples: dataclasses.replace(real(samples), verdict=short))
    fast = ("--thermal.n_replicas", "2", "--output.figures", "false")
    outcome = mdsens("thermal", tiny, *fast, "-o", "out")
    assert outcome.code == 1
    assert outcome.sentence == f"sampling: {short.sentence}"
    assert read_tables(tmp_path / "out" / "thermal.h5").attributes["verdict"] == "too_short"


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["--thermal.temperature", "0"], ["thermal.temperature", ">= 1e-100"]),
        (["--thermal.temprature", "1"], ["thermal.temprature", "did you mean thermal.temperature"]),
        (["--thermal.n_samples", "5"], ["thermal.n_samples", "20"]),
        (["--thermal.integrator", "verlet"], ["thermal.integrator", "langevin"]),
        (["--thermal.parameters", '["soft_sphere.sgma"]'], ["'soft_sphere.sgma'", "soft_sphere.sigma"]),
        (["--thermal.observables", '["presure"]'], ["'presure'", "pressure"]),
        (["--thermal.tail_correction", "true"], ["lennard_jones", 'truncation = "cut"']),
        (["--relaxation.skin", "0"], ["relaxation.skin is 0.0"]),
    ],
)
def test_what_cannot_work_is_refused_before_anything_runs(mdsens, tiny, tmp_path, monkeypatch, overrides, words):
    monkeypatch.setattr(study, "run_members", lambda *a, **k: pytest.fail("work began"))
    outcome = mdsens("thermal", tiny, *overrides, "-o", tmp_path / "out")
    assert outcome.code == 2
    assert all(word in outcome.sentence for word in words), outcome.sentence
    assert not (tmp_path / "out").exists()
