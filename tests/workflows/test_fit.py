"""``mdsens fit`` on two tiny packings: table, file, figures, and what is refused."""

import numpy as np
import pytest

from mdsens.io import read_tables

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


def test_parameters_are_recovered_and_everything_is_saved_and_drawn(mdsens, tiny, tmp_path):
    outcome = mdsens("fit", tiny, "-o", tmp_path / "out")
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
