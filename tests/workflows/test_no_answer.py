"""A study in which nothing was answered keeps its file, says so in one sentence, and ends with exit code 1."""

SHIPPED = {
    "ensemble": ("ensemble.toml", "none of the 2 starts gave an answer"),
    "fit": ("fit_soft_sphere.toml", "no fit succeeded"),
    "compress": ("compress.toml", "no exponent could be fitted"),
}
TINY = ("--system.n_particles", 16, "--output.figures", "false")


def run(mdsens, pytestconfig, tmp_path, command, *overrides):
    shipped, sentence = SHIPPED[command]
    outcome = mdsens(command, pytestconfig.rootpath / "workflows" / shipped, *TINY, *overrides, "-o", tmp_path)
    assert outcome.code == 1
    assert outcome.err.splitlines()[-1].startswith("mdsens: ")
    assert sentence in outcome.err.splitlines()[-1]
    assert (tmp_path / shipped.replace(".toml", ".h5")).exists()


def test_of_an_ensemble_of_unjammed_packings(mdsens, pytestconfig, tmp_path):
    options = (
        "--ensemble.n_starts",
        2,
        "--ensemble.checkpoints",
        "[5]",
        "--ensemble.n_records",
        2,
        "--sweep.diameters",
        "[]",
    )
    run(mdsens, pytestconfig, tmp_path, "ensemble", "--system.packing_fraction", 0.3, *options)


def test_of_fits_without_enough_relaxations(mdsens, pytestconfig, tmp_path):
    options = ("--fit.n_cases", 1, "--fit.max_relaxations", 1, "--fit.descent_relaxations", 0)
    run(mdsens, pytestconfig, tmp_path, "fit", *options)


def test_of_packings_that_do_not_relax(mdsens, pytestconfig, tmp_path):
    options = ("--compress.n_packings", 3, "--compress.pressures", "[1e-2, 5e-3, 2e-3]", "--relaxation.max_steps", 2)
    run(mdsens, pytestconfig, tmp_path, "compress", "--compress.n_resamples", 2, *options)
