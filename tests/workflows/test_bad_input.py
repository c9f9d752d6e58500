"""Bad input: one clear sentence, exit code 2, no traceback, nothing overwritten."""

import h5py
import numpy as np
import pytest

KEPT = b"an earlier result"


@pytest.fixture
def refused(mdsens, configuration, tmp_path):
    """Return a function that runs ``sensitivity``, checks that it is refused and spares what is there."""
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "sensitivity.h5").write_bytes(KEPT)

    def run(*overrides):
        outcome = mdsens("sensitivity", configuration, *overrides, "-o", folder)
        assert outcome.code == 2
        assert [path.name for path in folder.iterdir()] == ["sensitivity.h5"]
        assert (folder / "sensitivity.h5").read_bytes() == KEPT
        return outcome.sentence

    return run


CASES = {
    "misspelt key": (["--relaxation.max_forse", "1e-9"], ["relaxation.max_forse", "max_force"]),
    "misspelt section": (["--relaxatoin.skin", "1"], ["relaxatoin", "relaxation"]),
    "misspelt kind": (["--system.kind", "bidispers"], ["system.kind", "bidispers", "bidisperse"]),
    "out of range": (["--relaxation.max_force", "-1"], ["relaxation.max_force", "-1", "> 0 and <= 0.01"]),
    "wrong type": (["--system.n_particles", "many"], ["system.n_particles", "many"]),
    "negative diameter": (["--system.diameters", "[-0.6, 1.0]"], ["system.diameters", "-0.6", "> 0"]),
    "NaN diameter": (["--system.diameters", "[nan, 1.0]"], ["system.diameters", "nan"]),
    "NaN sigma": (["--potential.sigma", "[nan, 1.0]"], ["sigma", "nan"]),
    "negative sigma": (["--potential.sigma", "[-0.6, 1.0]"], ["potential.sigma[0]", "-0.6", "> 0"]),
    "unknown parameter": (
        ["--sensitivity.parameters", '["soft_sphere.sgima[A]"]'],
        ["'soft_sphere.sgima[A]'", "soft_sphere.sigma[A]"],
    ),
    "unknown species": (["--sensitivity.parameters", '["soft_sphere.sigma[C]"]'], ["soft_sphere.sigma[A]"]),
    "unknown observable": (["--sensitivity.observables", '["presure"]'], ["'presure'", "did you mean pressure"]),
}


@pytest.mark.parametrize(("overrides", "words"), CASES.values(), ids=CASES)
def test_a_wrong_value_is_one_sentence(refused, overrides, words):
    sentence = refused(*overrides)
    assert all(word in sentence for word in words), sentence


ARRAYS = {"position": np.random.default_rng(0).uniform(0, 4, (16, 2)), "box": np.array([4.0, 4.0])}
STARTS = {
    "identical positions": ({"position": np.full((16, 2), 1.5)}, [1.0], ["0 and 1", "same place"]),
    "images of each other": (
        {"position": np.vstack([ARRAYS["position"][:15], ARRAYS["position"][0] + np.array([4.0, -4.0])])},
        [1.0],
        ["0 and 15", "same place"],
    ),
    "NaN position": ({"position": np.full((16, 2), np.nan)}, [1.0], ["particle 0", "nan"]),
    "negative diameters": ({"diameters": np.full(16, -1.0)}, None, ["diameter of particle 0", "-1.0"]),
    "NaN diameters": ({"diameters": np.full(16, np.nan)}, None, ["diameter of particle 0", "nan"]),
    "no diameters": ({}, None, ["system.diameters"]),
    "flat box": ({"box": np.array([0.0, 4.0])}, [1.0], ["determinant 0"]),
}


@pytest.mark.parametrize(("change", "diameters", "words"), STARTS.values(), ids=STARTS)
def test_a_wrong_start_from_a_file_is_one_sentence(refused, configuration, tmp_path, change, diameters, words):
    np.savez(tmp_path / "start.npz", **{**ARRAYS, **change})
    given = f"diameters = {diameters}\n" if diameters else ""
    configuration.write_text(
        f'[system]\nkind = "file"\npath = "{tmp_path / "start.npz"}"\n{given}[potential]\nkind = "soft_sphere"\n'
        '[sensitivity]\nparameters = ["soft_sphere.sigma"]\n'
    )
    sentence = refused()
    assert all(word in sentence for word in words), sentence


@pytest.mark.parametrize("text", ["[system\n", "system = 3\n", "", "\xff"])
def test_a_broken_configuration_is_one_sentence(refused, configuration, text):
    configuration.write_bytes(text.encode("latin-1"))
    assert refused()


def test_a_missing_configuration_is_one_sentence(mdsens):
    outcome = mdsens("relax", "nowhere.toml")
    assert outcome.code == 2
    assert "nowhere.toml" in outcome.sentence


def foreign(path):
    with h5py.File(path, "w") as file:
        file["x"] = np.zeros(3)


FILES = {
    "missing": lambda path: None,
    "text": lambda path: path.write_text("not HDF5"),
    "empty": lambda path: path.touch(),
    "foreign": foreign,
    "folder": lambda path: path.mkdir(),
}


@pytest.mark.parametrize("make", FILES.values(), ids=FILES)
@pytest.mark.parametrize("command", [["show"], ["plot"], ["export", "--to", "extxyz"], ["verify"]], ids=lambda c: c[0])
def test_a_file_that_is_not_ours_is_one_sentence(mdsens, tmp_path, command, make):
    make(tmp_path / "file.h5")
    before = sorted(tmp_path.iterdir())
    outcome = mdsens(*command, "file.h5")
    assert outcome.code == 2
    assert "file.h5" in outcome.sentence
    assert outcome.out == ""
    assert sorted(tmp_path.iterdir()) == before


def test_a_truncated_file_is_one_sentence(mdsens, results):
    results.write_bytes(results.read_bytes()[: results.stat().st_size // 2])
    for command in ("show", "verify", "plot"):
        outcome = mdsens(command, results)
        assert outcome.code == 2
        assert str(results) in outcome.sentence


@pytest.mark.parametrize("command", ["relax", "sensitivity"])
def test_an_unwritable_folder_is_one_sentence(mdsens, configuration, unwritable, command):
    if command == "relax":
        configuration.write_text(configuration.read_text().split("[sensitivity]")[0])
    outcome = mdsens(command, configuration, "-o", unwritable)
    assert outcome.code == 2
    assert f"the output folder {unwritable} cannot be written to" in outcome.sentence


def test_plot_into_an_unwritable_folder_is_one_sentence(mdsens, results, unwritable):
    outcome = mdsens("plot", results, "-o", unwritable)
    assert outcome.code == 2
    assert "cannot be written to" in outcome.sentence


def test_an_ensemble_file_verifies_against_its_members(mdsens, ensemble):
    outcome = mdsens("verify", ensemble[1] / "out" / "ensemble.h5")
    assert outcome.code == 0, outcome.out + outcome.err
    assert "only with the members" in outcome.out


def test_more_particles_than_memory_holds_are_refused_before_anything_is_computed(refused):
    assert "needs at least" in refused("--system.n_particles", "10000000")


def test_extreme_scales_are_refused(refused):
    for scale in ("1e200", "1e-200"):
        assert "1e+100" in refused("--potential.epsilon", scale)


def test_a_lattice_of_more_sites_than_memory_holds_is_refused_before_it_is_built(refused, configuration):
    configuration.write_text(
        '[system]\nkind = "fcc"\nspacing = 1.0\nn_cells = [1000, 1000, 1000]\n[potential]\nkind = "soft_sphere"\n'
        '[sensitivity]\nparameters = ["soft_sphere.sigma"]\n'
    )
    assert "4000000000 particles needs at least" in refused()
