"""``mdsens fit`` on two tiny packings: table, file, figures, and what is refused."""

import shutil

import h5py
import numpy as np
import pytest

from mdsens.config import load
from mdsens.io import read_tables
from workflows import fit as workflow

TINY = """
[system]
kind = "bidisperse"
n_particles = 40
packing_fraction = 1.0
seed = 4

[potential]
kind = "soft_sphere"
mixing = "independent"
sigma = [0.6, 0.8, 1.0]
epsilon = [1.0, 1.2, 0.8]

[fit]
n_cases = 2
perturbation = 0.005
descent_relaxations = 3
"""


@pytest.fixture
def tiny(tmp_path):
    path = tmp_path / "tiny.toml"
    path.write_text(TINY)
    return path


@pytest.fixture(scope="module")
def finished(command, tmp_path_factory):
    """What ``mdsens fit`` on the tiny configuration says, and the folder that holds it and its ``out``."""
    folder = tmp_path_factory.mktemp("fit")
    (folder / "tiny.toml").write_text(TINY)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", "80")
        return command("fit", folder / "tiny.toml", "-o", folder / "out"), folder


@pytest.fixture
def copied(finished, tmp_path):
    """A copy of the folder that a finished run leaves."""
    return shutil.copytree(finished[1], tmp_path / "copied")


def test_parameters_are_recovered_and_everything_is_saved_and_drawn(mdsens, finished):
    outcome, tmp_path = finished
    assert (outcome.code, outcome.err) == (0, "")
    assert "2 of 2 succeeded; from matched forces 2 of 2" in outcome.out
    assert "an overall scale of soft_sphere.epsilon[A,A], [A,B], [B,B]" in outcome.out
    assert "seed 5, relaxation 2: residual" in outcome.out
    tables = read_tables(tmp_path / "out" / "fit.h5")
    assert tables.kind == "fit"
    cases, history = tables.groups["cases"], tables.groups["gauss_newton"]
    assert cases["worst_error"].max() < 1e-8
    np.testing.assert_array_equal(cases["succeeded"], True)
    np.testing.assert_array_equal(np.isfinite(history["loss"]).sum(axis=1), cases["n_relaxations"])
    assert tables.groups["descent"]["loss"].shape == (2, 3)
    assert tables.groups["structure"]["target"].shape == (40, 2)
    names = {path.name for path in (tmp_path / "out").glob("*.png")}
    assert names == {"fit_loss.png", "fit_parameters.png", "fit_structure.png"}
    assert mdsens("show", tmp_path / "out" / "fit.h5").code == 0


def test_without_descent_and_success_the_reason_is_printed(mdsens, tiny, tmp_path):
    overrides = ["--fit.max_relaxations", "2", "--fit.n_cases", "1", "--fit.descent_relaxations", "0"]
    outcome = mdsens("fit", tiny, *overrides, "-o", tmp_path / "out")
    assert outcome.code == 1  # nothing succeeded
    assert "seed 4: The relaxations were used up before the residual vanished" in outcome.out
    assert "descent" not in read_tables(tmp_path / "out" / "fit.h5").groups


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["--fit.parameters", '["soft_sphere.sgima"]'], ["'soft_sphere.sgima'", "soft_sphere.sigma"]),
        (["--fit.parameters", '["box.length"]'], ["box.length cannot be fitted"]),
        (["--fit.parameters", '["soft_sphere.sigma", "soft_sphere.sigma"]'], ["is repeated"]),
        (["--fit.perturbation", "0"], ["fit.perturbation", "> 0 and <= 0.5"]),
        (["--fit.perturbation", "0.9"], ["fit.perturbation", "> 0 and <= 0.5"]),
        (["--fit.bounds", "[1.5, 2.0]"], ["fit.bounds", "low < 1 < high"]),
        (["--fit.bounds", "[0.5]"], ["fit.bounds[1] is missing"]),
        (["--fit.max_relaxation", "3"], ["fit.max_relaxation", "did you mean fit.max_relaxations"]),
    ],
)
def test_bad_input_is_one_sentence(mdsens, tiny, tmp_path, overrides, words):
    outcome = mdsens("fit", tiny, *overrides, "-o", tmp_path / "out")
    assert outcome.code == 2
    assert all(word in outcome.sentence for word in words), outcome.sentence
    assert not (tmp_path / "out").exists()


def test_a_system_without_a_seed_makes_one_case_only(mdsens, tiny, tmp_path):
    np.savez(tmp_path / "start.npz", position=np.random.default_rng(0).uniform(0, 4, (16, 2)), box=np.array([4.0, 4.0]))
    tiny.write_text('[system]\nkind = "file"\npath = "start.npz"\n[potential]' + TINY.split("[potential]")[1])
    outcome = mdsens("fit", tiny)
    assert outcome.code == 2
    assert "fit.n_cases to 1" in outcome.sentence


def never(*arguments, **options):
    raise AssertionError("a case was fitted again")


def test_a_finished_fit_resumes_without_computing(mdsens, copied, monkeypatch):
    path = copied / "out" / "fit.h5"
    before = read_tables(path).groups
    path.unlink()
    monkeypatch.setattr(workflow, "run_case", never)
    outcome = mdsens("fit", copied / "tiny.toml", "-o", copied / "out")
    assert (outcome.code, outcome.err) == (0, "")
    after = read_tables(path).groups
    assert after.keys() == before.keys()
    for group, table in before.items():
        for name, array in table.items():
            np.testing.assert_array_equal(after[group][name], array, err_msg=f"{group}/{name}")


def test_an_interruption_keeps_finished_cases_and_the_next_run_does_the_others(mdsens, tiny, tmp_path, monkeypatch):
    real, fitted = workflow.run_case, []

    def interrupted(*arguments, seed, **options):
        if fitted:
            raise KeyboardInterrupt
        fitted.append(seed)
        return real(*arguments, seed=seed, **options)

    def counted(*arguments, seed, **options):
        fitted.append(seed)
        return real(*arguments, seed=seed, **options)

    words = ("fit", tiny, "-o", tmp_path / "out", "--output.figures", "false")
    monkeypatch.setattr("mdsens.sweep.members.default_workers", lambda: 1)
    monkeypatch.setattr(workflow, "run_case", interrupted)
    outcome = mdsens(*words)
    assert (outcome.code, outcome.sentence) == (130, "interrupted")
    assert not (tmp_path / "out" / "fit.h5").exists()
    assert len(list((tmp_path / "out" / "fit.members").glob("*.h5"))) == 1
    monkeypatch.setattr(workflow, "run_case", counted)
    assert mdsens(*words).code == 0
    assert fitted == [4, 5]
    assert mdsens(*words, "--redo").code == 0
    assert fitted == [4, 5, 4, 5]


def test_members_of_another_configuration_stay_and_those_that_fit_are_used(mdsens, copied, monkeypatch):
    monkeypatch.setattr(workflow, "run_case", never)
    outcome = mdsens("fit", copied / "tiny.toml", "--fit.n_cases", "1", "-o", copied / "out")
    assert outcome.code == 0
    assert "holds members of another configuration (fit.n_cases: 2 -> 1)" in outcome.sentence
    assert read_tables(copied / "out" / "fit.h5").groups["cases"]["seed"].tolist() == [4]
    assert len(list((copied / "out" / "fit.members").glob("*.h5"))) == 2


def test_other_options_make_other_members(tiny):
    def key(*overrides):
        config = load(tiny, schema=workflow.Config, overrides=list(overrides)).config
        return next(iter(workflow.stages(config)["cases"].members))

    others = [
        key("--system.seed", "1"),
        key("--fit.perturbation", "0.006"),
        key("--fit.descent_relaxations", "4"),
        key("--relaxation.max_force", "1e-11"),
        key("--fit.parameters", '["soft_sphere.sigma"]'),
    ]
    assert key("--fit.n_cases", "7", "--output.name", "other") == key()
    assert len({key(), *others}) == 6


def test_a_history_is_compared_with_the_members_and_named_without_them(mdsens, copied):
    path = copied / "out" / "fit.h5"
    outcome = mdsens("verify", path)
    assert outcome.code == 0, outcome.out
    with h5py.File(path, "r+") as file:
        file["gauss_newton/loss"][0, 0] *= 1 + 1e-6
    outcome = mdsens("verify", path)
    assert (outcome.code, "FAIL  gauss_newton/loss" in outcome.out) == (1, True)
    shutil.rmtree(copied / "out" / "fit.members")
    outcome = mdsens("verify", path)
    assert outcome.code == 0, outcome.out
    assert "not verified (only with the members: the way of the fit)" in outcome.out


def test_a_wrong_answer_is_found_without_the_members(mdsens, copied):
    path = copied / "out" / "fit.h5"
    shutil.rmtree(copied / "out" / "fit.members")
    with h5py.File(path, "r+") as file:
        file["cases/true"][1, 0] *= 1 + 1e-6
        file["cases/fitted"][0, 0] *= 1 + 1e-6
    out = mdsens("verify", path).out
    assert "FAIL  cases/true" in out
    assert "FAIL  fitted structure of seed 4" in out


def test_at_a_pressure_positions_and_box_give_every_parameter_and_verify(mdsens, tiny, tmp_path):
    overrides = ["--pressure.value", "0.05", "--pressure.box", "triclinic", "--fit.n_cases", "1"]
    outcome = mdsens("fit", tiny, *overrides, "--fit.descent_relaxations", "0", "-o", tmp_path / "out")
    assert outcome.code == 0
    assert "1 of 1 succeeded; from matched forces 1 of 1" in outcome.out
    assert "not determined" not in outcome.out
    path = tmp_path / "out" / "fit.h5"
    cases = read_tables(path).groups["cases"]
    np.testing.assert_allclose(cases["fitted_box"], cases["target_box"], atol=1e-9)
    verified = mdsens("verify", path)
    assert verified.code == 0
    assert "stress against the pressure" in verified.out
    with h5py.File(path, "r+") as file:
        box = next(place for place in ("cases/fitted_box", "fit/cases/fitted_box") if place in file)
        file[box][...] = np.asarray(file[box]) * (1 + 1e-6)
    shutil.rmtree(tmp_path / "out" / "fit.members")
    assert mdsens("verify", path).code == 1
