"""The ensemble: its table, its file, and what an interruption leaves."""

import re

import numpy as np
import pytest

from mdsens.config import load
from mdsens.io import read_tables
from workflows import ensemble as workflow
from workflows import study


def test_the_table_fits_eighty_columns_with_one_line_per_method(ensemble):
    outcome, _ = ensemble
    assert (outcome.code, outcome.err) == (0, "")
    lines = outcome.out.splitlines()
    assert all(len(line) <= 80 for line in lines if not line.startswith(("results", "figure")))
    rows = [re.split(r"\s*│\s*", line.strip("│ ")) for line in lines if line.startswith("│")]
    assert [row[0] for row in rows] == [
        "implicit",
        "re-relaxed difference",
        "unrolled, 5 steps",
        "unrolled, 20 steps",
    ]
    assert rows[0][1:4] == ["2", "2", "2"]  # the implicit answer is right to 1e-9 on both
    assert "starts: 2 converged" in outcome.out


def test_the_file_holds_starts_iterates_judgement_and_sweep(ensemble):
    tables = read_tables(ensemble[1] / "out" / "ensemble.h5")
    assert tables.attributes["parameter"] == "soft_sphere.sigma[A]"
    assert set(tables.groups) == {"starts", "iterates", "who_is_right", "sweep"}
    iterates = tables.groups["iterates"]
    assert {5, 20} <= set(iterates["step"])
    assert iterates["unrolled_l1"].shape == (2, len(iterates["step"]))
    starts = tables.groups["starts"]
    assert np.all(starts["implicit_final_error"] < 1e-9)
    assert np.all(starts["difference_error"] < 1e-5)
    assert len(np.unique(starts["energy"])) == 2  # seeds count up
    sweep = tables.groups["sweep"]
    np.testing.assert_array_equal(sweep["theta"], [0.6, 0.8])
    np.testing.assert_array_equal(sweep["n_used"] + sweep["n_refused"], [2, 2])
    np.testing.assert_array_equal(sweep["energy_all"][0], starts["energy"])  # the same packings


def test_the_figures_are_drawn(ensemble):
    names = {path.name for path in (ensemble[1] / "out").glob("*.png")}
    assert names == {"ensemble_iterates.png", "ensemble_sweep.png"}


def test_a_finished_ensemble_resumes_without_computing(mdsens, ensemble, monkeypatch):
    def never(*arguments):
        raise AssertionError("a member was computed again")

    folder = ensemble[1]
    before = read_tables(folder / "out" / "ensemble.h5").groups
    (folder / "out" / "ensemble.h5").unlink()
    monkeypatch.setattr(workflow, "start_member", never)
    monkeypatch.setattr(workflow, "sweep_member", never)
    outcome = mdsens("ensemble", folder / "tiny.toml", "-o", folder / "out", "--output.figures", "false")
    assert outcome.code == 0
    after = read_tables(folder / "out" / "ensemble.h5").groups
    for group, table in before.items():
        for name, array in table.items():
            np.testing.assert_array_equal(after[group][name], array)


def test_an_interruption_leaves_finished_members_and_no_result(mdsens, ensemble_text, tmp_path, monkeypatch):
    finished = []

    def work(potential, configuration, *rest):
        if len(finished) == 2:
            raise KeyboardInterrupt
        finished.append(configuration)
        return {"verdict": "converged", "energy": np.array(1.0)}

    monkeypatch.setattr(workflow, "start_member", work)
    (tmp_path / "tiny.toml").write_text(ensemble_text)
    outcome = mdsens("ensemble", "tiny.toml", "--ensemble.n_starts", "5", "-o", tmp_path)
    assert (outcome.code, outcome.sentence) == (130, "interrupted")
    assert not (tmp_path / "ensemble.h5").exists()
    members = sorted((tmp_path / "ensemble.members").glob("*.h5"))
    assert len(members) == len(finished)
    assert all(read_tables(member).groups["member"]["verdict"] == "converged" for member in members)


def test_another_relaxation_or_parameter_makes_other_members(ensemble_text, tmp_path):
    def key(*overrides):
        (tmp_path / "tiny.toml").write_text(ensemble_text)
        loaded = load(tmp_path / "tiny.toml", schema=workflow.Config, overrides=list(overrides))
        return next(iter(workflow.stages(loaded.config)["starts"].members))

    same = key("--ensemble.n_starts", "7", "--output.name", "other", "--sweep.n_starts", "3")
    others = [
        key("--system.seed", "1"),
        key("--potential.alpha", "2.5"),
        key("--relaxation.max_force", "1e-11"),
        key("--ensemble.parameter", "soft_sphere.sigma[B]"),
    ]
    assert same == key()
    assert len({key(), *others}) == 5


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["--ensemble.parameter", "soft_sphere.sgma[A]"], ["'soft_sphere.sgma[A]'", "soft_sphere.sigma[A]"]),
        (["--ensemble.parameter", "soft_sphere.sigma"], ["single entry", "soft_sphere.sigma[A]"]),
        (["--ensemble.parameter", "soft_sphere.sigma[B]"], ["sweep.diameters changes soft_sphere.sigma[A]"]),
        (["--potential.sigma", "[0.6, 1.0]"], ["sweep.diameters changes the box"]),
        (["--ensemble.checkpoints", "[0]"], ["ensemble.checkpoints"]),
        (["--ensemble.checkpoints", "[]"], ["ensemble.checkpoints"]),
        (["--ensemble.checkpoints", "[5, 5]"], ["ensemble.checkpoints", "5 is repeated"]),
        (["--sweep.diameters", "[-0.5]"], ["sweep.diameters", "> 0"]),
        (["--sweep.diameters", "[0.5, 0.5]"], ["sweep.diameters", "0.5 is repeated"]),
    ],
)
def test_what_cannot_work_is_refused_before_anything_runs(
    mdsens, ensemble_text, tmp_path, monkeypatch, overrides, words
):
    monkeypatch.setattr(study, "run_members", lambda *a, **k: pytest.fail("work began"))
    (tmp_path / "tiny.toml").write_text(ensemble_text)
    outcome = mdsens("ensemble", "tiny.toml", *overrides, "-o", tmp_path / "out")
    assert outcome.code == 2
    assert all(word in outcome.sentence for word in words), outcome.sentence
    assert not (tmp_path / "out").exists()


def test_another_system_is_refused(mdsens, ensemble_text, tmp_path):
    text = ensemble_text.replace('kind = "bidisperse"', 'kind = "polydisperse"')
    (tmp_path / "tiny.toml").write_text(text)
    outcome = mdsens("ensemble", "tiny.toml")
    assert outcome.code == 2
    assert 'an ensemble needs "bidisperse"' in outcome.sentence
