"""mdsens verify: right derivatives pass, wrong ones do not."""

import h5py
import pytest


def test_a_results_file_verifies(mdsens, results):
    outcome = mdsens("verify", results)
    assert outcome.code == 0, outcome.out
    assert "d x/d soft_sphere.sigma[A] against re-relaxed differences, h = " in outcome.out
    assert "sum sigma dP/dsigma + L dP/dL = -d P" in outcome.out
    assert outcome.out.endswith("verified\n")
    assert "FAIL" not in outcome.out


def test_a_configuration_verifies_and_writes_nothing(mdsens, configuration, tmp_path):
    outcome = mdsens("verify", configuration)
    assert outcome.code == 0, outcome.out
    assert "stored values" not in outcome.out
    assert list(tmp_path.iterdir()) == [configuration]


@pytest.mark.parametrize("factor", [1.0 + 1e-7, -1.0, float("nan")])
def test_tampered_sensitivities_do_not_verify(mdsens, results, factor):
    with h5py.File(results, "r+") as file:
        name = next(name for name in file["particles/trajectory"] if name.startswith("d_position"))
        vectors = file[f"particles/trajectory/{name}/value"]
        vectors[...] = factor * vectors[...]
    outcome = mdsens("verify", results)
    assert outcome.code == 1
    assert "FAIL  stored values against recomputed ones" in outcome.out
    assert outcome.out.endswith("NOT verified\n")


def test_positions_that_are_not_relaxed_do_not_verify(mdsens, results):
    with h5py.File(results, "r+") as file:
        position = file["particles/trajectory/position/value"]
        position[0, 0] += 1e-6  # so little that the relaxation goes back to the same state
    outcome = mdsens("verify", results)
    assert outcome.code == 1
    assert "FAIL  largest force at the stored positions" in outcome.out


def test_derivatives_that_vanish_and_entries_that_are_zero_verify(mdsens, configuration):
    # one energy scale for all moves nothing; the shear of a square box is an entry of value 0
    names = '["soft_sphere.epsilon", "box.matrix[0,1]"]'
    outcome = mdsens("verify", configuration, "--sensitivity.parameters", names)
    assert outcome.code == 0, outcome.out


def test_a_file_without_sensitivities_is_refused(mdsens, configuration, tmp_path):
    configuration.write_text(configuration.read_text().split("[sensitivity]")[0])
    assert mdsens("relax", configuration, "--output.figures", "false", "-o", tmp_path).code == 0
    outcome = mdsens("verify", tmp_path / "relax.h5")
    assert outcome.code == 2
    assert "holds no sensitivities: make it with mdsens sensitivity" in outcome.sentence


def test_an_unjammed_configuration_is_not_verified(mdsens, configuration):
    outcome = mdsens("verify", configuration, "--system.packing_fraction", "0.5")
    assert outcome.code == 1
    assert "unjammed" in outcome.sentence
