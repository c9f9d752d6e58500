"""relax, sensitivity, show, plot and export on tiny systems, from the command line to the files."""

import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from mdsens.io import read_run
from mdsens.results import Verdict
from workflows import cli


def test_relax_saves_the_state_and_draws_it(mdsens, configuration, tmp_path):
    configuration.write_text(configuration.read_text().split("[sensitivity]")[0])
    outcome = mdsens("relax", configuration)
    assert (outcome.code, outcome.err) == (0, "")
    stored = read_run(tmp_path / "results" / "relax.h5")  # the default folder
    assert stored.verdict is Verdict.CONVERGED
    assert stored.max_force <= 1e-12 * stored.force_unit
    assert stored.positions.paths == ()
    figures = {path.name for path in (tmp_path / "results").glob("*.png")}
    assert figures == {"relax_packing.png", "relax_history.png"}
    assert all(str(tmp_path / "results" / name) in outcome.out for name in {*figures, "relax.h5"})


def test_sensitivity_saves_certified_derivatives_and_draws_them(finished):
    outcome, folder = finished
    assert (outcome.code, outcome.err) == (0, "")
    stored = read_run(folder / "sensitivity.h5")
    assert stored.positions.paths == ("soft_sphere.sigma[A]", "box.length")
    assert stored.positions.values.shape == (2, 32, 2)
    assert np.all(stored.positions.certificate.relative_error < 1e-10)
    assert set(stored.observables) == {"energy", "pressure"}
    assert {path.name for path in folder.glob("*.png")} >= {
        "sensitivity_history.png",
        "sensitivity_observables.png",
        "sensitivity_packing_soft_sphere_sigma_A.png",
    }
    assert "2 translations" in outcome.out


def test_sensitivity_of_hertzian_spheres_with_independent_pairs(mdsens, configuration, tmp_path):
    spheres = ["--system.dimension", "3", "--system.packing_fraction", "0.9", "--potential.alpha", "2.5"]
    pairs = ["--potential.mixing", "independent", "--sensitivity.parameters", '["soft_sphere.sigma"]']
    outcome = mdsens("sensitivity", configuration, *spheres, *pairs, "--output.figures", "false", "-o", tmp_path)
    assert (outcome.code, outcome.err) == (0, "")
    stored = read_run(tmp_path / "sensitivity.h5")
    assert stored.positions.paths == tuple(f"soft_sphere.sigma[{pair}]" for pair in ("A,A", "A,B", "B,B"))
    assert stored.positions.values.shape == (3, 32, 3)
    assert np.all(stored.positions.certificate.relative_error < 1e-9)
    assert not list(tmp_path.glob("*.png"))


def test_sensitivity_to_every_diameter_of_a_polydisperse_packing(mdsens, configuration, tmp_path):
    configuration.write_text(
        '[system]\nkind = "polydisperse"\nn_particles = 32\n[potential]\nkind = "soft_sphere"\n'
        '[sensitivity]\nparameters = ["soft_sphere.sigma", "box.length"]\n[output]\nfigures = false\nname = "many"\n'
    )
    assert mdsens("sensitivity", configuration, "-o", tmp_path).code == 0
    stored = read_run(tmp_path / "many.h5")
    assert len(stored.positions.paths) == 33
    # scale identity: all lengths together only rescale the backbone about its mean
    along = np.tensordot(stored.positions.parameter_values, stored.positions.values, axes=1)[stored.backbone]
    centred = stored.position[stored.backbone] - stored.position[stored.backbone].mean(axis=0)
    np.testing.assert_allclose(along, centred, atol=1e-9 * np.abs(centred).max())


def test_an_unjammed_system_is_saved_but_not_answered(mdsens, configuration, tmp_path):
    outcome = mdsens(
        "sensitivity", configuration, "--system.packing_fraction", "0.5", "--output.figures", "false", "-o", tmp_path
    )
    assert outcome.code == 1
    assert Verdict.UNJAMMED.sentence in outcome.sentence
    stored = read_run(tmp_path / "sensitivity.h5")
    assert stored.verdict is Verdict.UNJAMMED
    assert (stored.positions.paths, dict(stored.observables)) == ((), {})
    assert np.isfinite(stored.position).all()


def test_a_relaxation_without_enough_steps_is_saved_with_its_verdict(mdsens, configuration, tmp_path):
    words = ["--relaxation.max_steps", "20", "--output.figures", "false", "-o", tmp_path]
    outcome = mdsens("sensitivity", configuration, *words)
    assert outcome.code == 1
    assert Verdict.MAX_STEPS.sentence in outcome.sentence
    assert read_run(tmp_path / "sensitivity.h5").verdict is Verdict.MAX_STEPS


def test_a_saved_state_starts_another_run(mdsens, configuration, results, tmp_path):
    text = configuration.read_text()
    begin, end = text.index("[system]"), text.index("[potential]")
    configuration.write_text(
        text[:begin] + f'[system]\nkind = "file"\npath = "{results}"\ndiameters = [0.6, 1.0]\n' + text[end:]
    )
    words = ["--sensitivity.parameters", '["box.length"]', "--output.figures", "false", "-o", tmp_path]
    assert mdsens("sensitivity", configuration, *words).code == 0
    before, after = read_run(results), read_run(tmp_path / "sensitivity.h5")
    np.testing.assert_allclose(after.position, before.position, atol=1e-12)
    np.testing.assert_allclose(after.positions.values[0], before.positions.values[1], atol=1e-9)


def test_show_summarises_with_provenance(mdsens, results):
    outcome = mdsens("show", results)
    assert (outcome.code, outcome.err) == (0, "")
    words = ("32 particles", "soft_sphere.sigma[A]", "converged", "smallest non-zero eigenvalue", "jax", "seed 0")
    assert all(word in outcome.out for word in words)


def test_plot_draws_the_same_figures_from_the_file_alone(mdsens, finished, results, tmp_path):
    outcome = mdsens("plot", results, "--format", "svg")
    assert outcome.code == 0
    expected = {path.stem for path in finished[1].glob("*.png")}
    assert {path.stem for path in results.parent.glob("*.svg")} == expected
    assert mdsens("plot", results, "-o", tmp_path / "pictures").code == 0
    assert {path.stem for path in (tmp_path / "pictures").glob("*.png")} == expected


@pytest.mark.parametrize("ending", ["extxyz", "gsd"])
def test_export_writes_beside_the_file_and_never_over_another(mdsens, results, ending):
    pytest.importorskip({"extxyz": "ase", "gsd": "gsd"}[ending])
    written = results.with_suffix(f".{ending}")
    outcome = mdsens("export", results, "--to", ending)
    assert (outcome.code, outcome.out) == (0, f"written  {written}\n")
    written.write_text("kept")
    again = mdsens("export", results, "--to", ending)
    assert again.code == 2
    assert str(written) in again.sentence
    assert written.read_text() == "kept"


def test_export_chooses_the_arrows_by_parameter(mdsens, results, tmp_path):
    words = ("export", results, "--to", "extxyz", "-o", tmp_path / "arrows.extxyz", "--parameter")
    assert mdsens(*words, "box.length").code == 0
    assert 'parameter="box.length"' in (tmp_path / "arrows.extxyz").read_text()
    refused = mdsens(*words, "box.width")
    assert refused.code == 2
    assert "box.length" in refused.sentence


def test_the_installed_entry_point_works_in_a_process_of_its_own(results):
    done = subprocess.run(
        [sys.executable, "-m", "workflows.cli", "show", str(results)],
        capture_output=True,
        text=True,
        cwd=Path(cli.__file__).parents[1],
    )
    assert done.returncode == 0, done.stderr
    assert "converged" in done.stdout


def test_a_later_run_replaces_the_results_of_an_earlier_one(mdsens, configuration, results):
    (results.parent / "relax.h5").write_bytes(results.read_bytes())
    configuration.write_text(configuration.read_text().split("[sensitivity]")[0])
    assert mdsens("relax", configuration, "--output.figures", "false", "-o", results.parent).code == 0
    with h5py.File(results.parent / "relax.h5") as file:
        assert "sensitivity/jacobian" not in file
    assert not [path for path in results.parent.iterdir() if path.suffix not in (".h5",)]
