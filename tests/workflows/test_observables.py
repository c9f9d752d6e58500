"""``mdsens observables``, ``validity`` and ``spectrum``, and constant pressure, from the command line to the files."""

import numpy as np
import pytest

from mdsens.io import read_run
from mdsens.results import Verdict

PACKING = """
[system]
kind = "bidisperse"
n_particles = 32
packing_fraction = 0.95

[potential]
kind = "soft_sphere"
"""
HELD = '\n[pressure]\nvalue = 0.03\nbox = "orthorhombic"\n'


@pytest.fixture
def write(tmp_path):
    def written(text):
        path = tmp_path / "tiny.toml"
        path.write_text(PACKING + text)
        return path

    return written


def test_observables_writes_the_jacobian_its_errors_and_its_directions(mdsens, write, tmp_path):
    (tmp_path / "target.toml").write_text(PACKING)
    assert mdsens("relax", tmp_path / "target.toml", "--output.name", "target", "--output.figures", "false").code == 0
    options = '[observables]\nnames = ["energy", "volume", "distance"]\nparameters = ["soft_sphere.sigma"]\n'
    target = 'target = "results/target.h5"\n'
    outcome = mdsens("observables", write(HELD + options + target))
    assert (outcome.code, outcome.err) == (0, "")
    assert "can be tuned independently" in outcome.out
    stored = read_run(tmp_path / "results" / "observables.h5")
    assert list(stored.observables) == ["energy", "volume", "distance"]
    found = stored.analyses["independence"]
    assert list(found["parameters"]) == ["soft_sphere.sigma[A]", "soft_sphere.sigma[B]", "pressure"]
    assert found["jacobian"].shape == found["error"].shape == (3, 3)
    np.testing.assert_allclose(found["jacobian"][0], stored.observables["energy"].values)
    volume = stored.observables["volume"]
    assert volume.value == pytest.approx(stored.constant_pressure.volumes[-1])
    identity = found["parameter_values"] @ (found["jacobian"][1] * [1, 1, -2])  # sum sigma dV/dsigma - d P dV/dP
    assert identity == pytest.approx(2 * volume.value, rel=1e-9)
    counts = stored.analyses["counts"]
    assert float(counts["contact_number"]) > float(counts["isostatic_contact_number"])
    figures = {path.name for path in (tmp_path / "results").glob("observables_*.png")}
    assert {"observables_observables.png", "observables_independence.png", "observables_box.png"} <= figures
    assert mdsens("show", tmp_path / "results" / "observables.h5").code == 0


def test_a_state_is_kept_when_an_observable_is_refused(mdsens, write, tmp_path):
    options = '[observables]\nnames = ["energy", "C44"]\nparameters = ["soft_sphere.sigma"]\n'
    outcome = mdsens("observables", write(options))
    assert outcome.code == 2
    assert "there is no C44 in 2 dimensions" in outcome.sentence
    assert read_run(tmp_path / "results" / "observables.h5").verdict is Verdict.CONVERGED


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ('names = ["energi"]\nparameters = ["soft_sphere.sigma"]', "did you mean energy"),
        ('names = ["energy"]\nparameters = ["soft_sphere.sigmaa"]', "no parameter 'soft_sphere.sigmaa'"),
        ('names = ["energy"]\nparameters = ["soft_sphere.sigma"]\ntarget = "none.h5"', "none.h5 does not exist"),
    ],
)
def test_bad_names_are_refused_before_anything_runs(mdsens, write, options, words):
    outcome = mdsens("observables", write(f"[observables]\n{options}\n"))
    assert outcome.code == 2
    assert words in outcome.sentence


def test_a_target_of_another_size_is_refused_and_the_state_kept(mdsens, write, tmp_path):
    (tmp_path / "other.toml").write_text(PACKING)
    words = ("--system.n_particles", "30", "--output.name", "other", "--output.figures", "false")
    assert mdsens("relax", tmp_path / "other.toml", *words).code == 0
    options = '[observables]\nnames = ["distance"]\nparameters = ["soft_sphere.sigma"]\ntarget = "results/other.h5"\n'
    outcome = mdsens("observables", write(options))
    assert outcome.code == 2
    assert "the target has 30 particles in 2 dimensions, the state 32" in outcome.sentence
    assert (tmp_path / "results" / "observables.h5").exists()


def test_sensitivity_at_constant_pressure_is_saved_shown_and_verified(mdsens, write, tmp_path):
    options = '[sensitivity]\nparameters = ["soft_sphere.sigma[A]"]\nobservables = ["enthalpy"]\n'
    outcome = mdsens("sensitivity", write(HELD + options))
    assert (outcome.code, outcome.err) == (0, "")
    path = tmp_path / "results" / "sensitivity.h5"
    stored = read_run(path)
    assert stored.positions.paths == ("soft_sphere.sigma[A]", "pressure")
    held = stored.constant_pressure
    assert held.stress_error <= 1e-12
    assert held.strain_rates.shape == (2, 2, 2)
    assert held.displacements.shape == (2, 32, 2)
    assert stored.observables["enthalpy"].values[1] == pytest.approx(held.volumes[-1], rel=1e-12)
    assert "Response of the box" in outcome.out
    verified = mdsens("verify", path)
    assert verified.code == 0, verified.out
    assert "d x/d pressure" in verified.out
    assert "sum sigma dV/dsigma - d P dV/dP = d V" in verified.out


def test_a_system_that_evaporates_is_kept_with_its_verdict(mdsens, write, tmp_path):
    outcome = mdsens("relax", write("\n[pressure]\nvalue = -0.01\n"))
    assert outcome.code == 1
    assert "grew without bound" in outcome.sentence
    assert read_run(tmp_path / "results" / "relax.h5").verdict is Verdict.EVAPORATED


def test_a_deformation_is_imposed_on_the_start(mdsens, write, tmp_path):
    outcome = mdsens("relax", write("\n[deformation]\ngradient = [[0.0, 0.1], [0.0, 0.0]]\n"))
    assert (outcome.code, outcome.err) == (0, "")
    box = read_run(tmp_path / "results" / "relax.h5").box_matrix
    assert box[0, 1] == pytest.approx(0.1 * box[1, 1])
    wrong = mdsens("relax", write("\n[deformation]\ngradient = [[0.0, 0.1, 0.0]]\n"))
    assert "must have 2 rows of 2 numbers" in wrong.sentence


def test_validity_predicts_the_first_change_and_finds_it(mdsens, write, tmp_path):
    options = '[validity]\nparameter = "soft_sphere.sigma[A]"\nn_steps = 3\n'
    outcome = mdsens("validity", write(options))
    assert (outcome.code, outcome.err) == (0, "")
    assert "first change of a contact along soft_sphere.sigma[A]" in outcome.out
    found = read_run(tmp_path / "results" / "validity.h5").analyses["validity"]
    assert found["step"].shape == (6,)
    nearer = int(np.argmin(np.abs(found["predicted_change"])))
    assert found["observed_change"][nearer] == pytest.approx(found["predicted_change"][nearer], rel=0.1)
    assert (tmp_path / "results" / "validity_validity.png").exists()


def test_validity_along_the_pressure_needs_one(mdsens, write):
    outcome = mdsens("validity", write('[validity]\nparameter = "pressure"\n'))
    assert "needs a [pressure] section" in outcome.sentence
    many = mdsens("validity", write('[validity]\nparameter = "soft_sphere.sigma"\n'))
    assert "name a single entry, such as soft_sphere.sigma[A]" in many.sentence


def test_spectrum_writes_modes_and_the_response_of_the_softest(mdsens, write, tmp_path):
    options = '[spectrum]\nparameters = ["soft_sphere.epsilon"]\nn_derivatives = 2\n'
    outcome = mdsens("spectrum", write(options))
    assert (outcome.code, outcome.err) == (0, "")
    stored = read_run(tmp_path / "results" / "spectrum.h5")
    modes = stored.analyses["spectrum"]
    n_held = int(stored.backbone.sum())
    assert len(modes["eigenvalues"]) == 2 * n_held - 2
    # at fixed box epsilon moves nothing: every eigenvalue is proportional to it
    softest = stored.observables["eigenvalue[0]"]
    assert softest.values[0] == pytest.approx(modes["eigenvalues"][0], rel=1e-9)
    outcome = mdsens("spectrum", write(HELD + options), "--output.name", "held", "--output.figures", "false")
    assert (outcome.code, outcome.err) == (0, "")
    held = read_run(tmp_path / "results" / "held.h5")
    softest = held.observables["eigenvalue[0]"]
    assert softest.paths == ("soft_sphere.epsilon", "pressure")
    # in units of epsilon nothing but the ratio of pressure and epsilon matters: epsilon dl/depsilon + P dl/dP = l
    assert softest.values @ softest.parameter_values == pytest.approx(softest.value, rel=1e-9)
    figures = {path.name for path in (tmp_path / "results").glob("spectrum_*.png")}
    assert {"spectrum_density_of_states.png", "spectrum_softest_mode.png"} <= figures
