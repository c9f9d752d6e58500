"""``mdsens compress`` on three tiny packings: tables, file, figure, resumption, and what is refused."""

import numpy as np
import pytest

from mdsens.io import read_tables
from mdsens.sweep import members
from workflows import compress as workflow
from workflows import study

TINY = """
[system]
kind = "bidisperse"
n_particles = 24
diameters = [1.0, 1.4]
packing_fraction = 0.9

[potential]
kind = "soft_sphere"

[compress]
n_packings = 3
pressures = [1e-2, 3e-3, 1e-3, 1e-4]
fit_range = [1e-3, 1e-2]
n_resamples = 50
"""


@pytest.fixture
def tiny(tmp_path):
    path = tmp_path / "tiny.toml"
    path.write_text(TINY)
    return path


def invented(potential, configuration, pressures, settings):
    """Return the record of a packing that follows the power laws up to its own scatter."""
    generator = np.random.default_rng(int(1e6 * np.asarray(configuration.position)[0, 0]))
    pressure, n = np.array(pressures), configuration.n_particles
    excess = pressure / 0.3
    scatter = 1 + 0.1 * generator.normal(size=(2, len(pressure)))
    fraction = 0.84 + 0.002 * generator.normal() + excess
    return {
        "pressure": pressure,
        "verdict": np.full(len(pressure), "converged"),
        "packing_fraction": fraction,
        "n_contacts": 2 * n - 2 + 2 * n * excess**0.5 * scatter[0],
        "n_backbone": np.full(len(pressure), float(n)),
        "bulk_modulus": 0.3 * fraction * (1 + 1e-3 * generator.normal(size=len(pressure))),
        "shear_modulus": 0.3 * excess**0.5 * scatter[1],
        "seconds": np.zeros(len(pressure)),
    }


def test_points_and_exponents_are_printed_saved_drawn_and_resumed(mdsens, tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(workflow, "followed", invented)
    outcome = mdsens("compress", tiny, "-o", tmp_path / "out")
    assert (outcome.code, outcome.err) == (0, "")
    lines = outcome.out.splitlines()
    assert all(len(line) <= 80 for line in lines if not line.startswith(("results", "figure")))
    assert sum(line.startswith("│") for line in lines) == 4
    assert sum("(phi - phi_J)^b: b =" in line for line in lines) == 5
    assert "states: 12 converged" in outcome.out
    assert [path.name for path in (tmp_path / "out").glob("*.png")] == ["compress_exponents.png"]

    tables = read_tables(tmp_path / "out" / "compress.h5")
    assert (tables.kind, tables.attributes["n_packings"], tables.attributes["dimension"]) == ("compress", 3, 2)
    packings, points, laws = (tables.groups[name] for name in ("packings", "compression", "exponents"))
    assert packings["packing_fraction"].shape == (3, 4)
    assert len(np.unique(packings["packing_fraction"])) == 12  # seeds count up
    np.testing.assert_array_equal(points["fitted"], [True, True, True, False])
    np.testing.assert_array_equal(points["n_used"], 3)
    excess = 2 * packings["n_contacts"] / packings["n_backbone"] - 4 * (1 - 1 / packings["n_backbone"])
    np.testing.assert_allclose(points["excess_contacts_mean"], excess.mean(axis=0))
    assert list(laws["quantity"])[:3] == ["excess_contacts", "modulus_ratio", "pressure"]
    np.testing.assert_allclose(laws["exponent"], [0.5, 0.5, 1.0, 0.5, 0.0], atol=0.2)
    assert mdsens("show", tmp_path / "out" / "compress.h5").code == 0

    monkeypatch.setattr(workflow, "followed", lambda *arguments: pytest.fail("a packing was followed again"))
    again = mdsens("compress", tiny, "-o", tmp_path / "out", "--output.figures", "false")
    assert again.code == 0
    np.testing.assert_array_equal(
        read_tables(tmp_path / "out" / "compress.h5").groups["exponents"]["exponent"], laws["exponent"]
    )


@pytest.mark.slow
def test_three_packings_are_followed(mdsens, tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(members, "default_workers", lambda: 1)  # several would compile the same programs at once
    outcome = mdsens("compress", tiny, "-o", tmp_path / "out")
    assert (outcome.code, outcome.err) == (0, "")
    assert "states: 12 converged" in outcome.out
    tables = read_tables(tmp_path / "out" / "compress.h5").groups
    assert np.all(np.diff(tables["packings"]["packing_fraction"], axis=1) < 0)
    # 24 discs are far too few for the exponents, but contacts go and the pressure is nearly linear
    assert 0.2 < tables["exponents"]["exponent"][0] < 0.8
    assert tables["exponents"]["exponent"][2] == pytest.approx(1.0, abs=0.1)


def test_an_ensemble_that_gives_no_answer_says_why_and_fails(mdsens, tiny, tmp_path, monkeypatch):
    def lost(*arguments):
        nothing = {name: np.full(4, np.nan) for name in invented(*arguments)}
        return nothing | {"pressure": np.array(arguments[2]), "verdict": np.full(4, "max_steps")}

    monkeypatch.setattr(workflow, "followed", lost)
    outcome = mdsens("compress", tiny, "-o", tmp_path / "out")
    assert (outcome.code, "no exponent could be fitted" in outcome.sentence) == (1, True)
    assert "states: 12 max_steps" in outcome.out
    assert "fewer than two packings gave an answer" in " ".join(outcome.out.split())  # lines are wrapped
    assert (tmp_path / "out" / "compress_exponents.png").exists()


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["--compress.pressures", "[1e-2, 1e-4, 1e-3]"], ["rise or fall"]),
        (["--compress.pressures", "[1e-2, -1e-3]"], ["compress.pressures", "> 0"]),
        (["--compress.fit_range", "[1e-3, 5e-3]"], ["2 of the pressures", "fit_range"]),
        (["--compress.n_packings", "2"], ["compress.n_packings"]),
    ],
)
def test_what_cannot_work_is_refused_before_anything_runs(mdsens, tiny, tmp_path, monkeypatch, overrides, words):
    monkeypatch.setattr(study, "run_members", lambda *a, **k: pytest.fail("work began"))
    outcome = mdsens("compress", tiny, *overrides, "-o", tmp_path / "out")
    assert outcome.code == 2
    assert all(word in outcome.sentence for word in words), outcome.sentence
    assert not (tmp_path / "out").exists()


def test_a_law_without_contacts_and_a_crystal_are_refused(mdsens, tiny, tmp_path):
    tiny.write_text(TINY.replace("soft_sphere", "lennard_jones"))
    assert "has no contacts" in mdsens("compress", tiny).sentence
    crystal = TINY.replace('"bidisperse"\nn_particles = 24\ndiameters = [1.0, 1.4]', '"fcc"\nn_cells = [2, 2, 2]')
    tiny.write_text(crystal)
    assert "packings start at random" in mdsens("compress", tiny).sentence
