"""Full disks, small file systems and folders of others: a sentence, exit code 2, and nothing left half-written."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.exhaustive

LIMITED = ("sh", "-c", 'ulimit -f 8; exec "$@"', "sh")  # the system says that files may not be larger than 8 kB
SMALL = {
    "relax": ("relax", "relax.toml", "--system.n_particles", "48"),
    "sensitivity": ("sensitivity", "sensitivity.toml", "--system.n_particles", "24"),
    "pressure": ("sensitivity", "sensitivity.toml", "--system.n_particles", "24", "--pressure.value", "0.05"),
    "validity": ("validity", "validity.toml", "--system.n_particles", "24"),
    "spectrum": ("spectrum", "spectrum.toml", "--system.n_particles", "24"),
    "thermal": (
        *("thermal", "thermal.toml", "--system.n_cells", "[3, 3, 3]", "--system.spacing", "1.15"),
        *("--potential.cutoff", "1.5", "--potential.truncation", "smooth", "--potential.onset", "1.2"),
        *("--thermal.tail_correction", "false", "--thermal.n_samples", "20", "--thermal.n_equilibration", "5"),
        *("--thermal.n_replicas", "2", "--thermal.replicas_per_batch", "1", "--thermal.sample_every", "5"),
    ),
    "fit": (
        *("fit", "fit_soft_sphere.toml", "--system.n_particles", "24", "--fit.n_cases", "1"),
        *("--fit.descent_relaxations", "2"),
    ),
}


def run(root: Path, words, before=(), **options) -> tuple[int, str]:
    command = [*before, sys.executable, "-m", "workflows.cli", *map(str, words)]
    environment = os.environ | {"COLUMNS": "80", "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, timeout=600, **options)
    return done.returncode, done.stderr


def words_of(root: Path, kind: str, folder: Path):
    name, shipped, *overrides = SMALL[kind]
    figures = ("--output.figures", "false")
    return [name, root / "workflows" / shipped, *overrides, *figures, "--output.name", kind, "-o", folder]


def assert_refused(found: tuple[int, str], words: str, folder: Path) -> None:
    """Check for one sentence and exit code 2, and that nothing is left."""
    code, err = found
    assert code == 2, err
    assert err.startswith("mdsens: ")
    assert err.count("\n") == 1, err
    assert words in err
    assert not list(folder.rglob("*.part"))
    assert not [path for path in folder.rglob("*.h5") if ".members" not in str(path)]


@pytest.mark.parametrize("kind", SMALL)
def test_a_full_disk_ends_in_one_sentence(pytestconfig, tmp_path, kind):
    found = run(pytestconfig.rootpath, words_of(pytestconfig.rootpath, kind, tmp_path), before=LIMITED)
    assert_refused(found, "cannot be written (File too large)", tmp_path)


def test_an_export_to_a_full_disk_ends_in_one_sentence(pytestconfig, tmp_path):
    root = pytestconfig.rootpath
    assert run(root, words_of(root, "relax", tmp_path)) == (0, "")
    words = ["export", tmp_path / "relax.h5", "--to", "extxyz"]
    code, err = run(root, words, before=("sh", "-c", 'ulimit -f 1; exec "$@"', "sh"))
    assert (code, err.count("\n")) == (2, 1), err
    assert "cannot be written (File too large)" in err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["relax.h5"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small file system")
@pytest.mark.parametrize("kind", ["sensitivity", "thermal"])
def test_a_file_system_without_space_ends_in_one_sentence(pytestconfig, tmp_path, kind):
    folder = tmp_path / "small"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8k", "none", folder], capture_output=True).returncode:
        pytest.skip("this machine allows no mounts")
    try:
        found = run(pytestconfig.rootpath, words_of(pytestconfig.rootpath, kind, folder))
        assert_refused(found, "cannot be written (No space left on device)", folder)
    finally:
        subprocess.run(["umount", folder], check=True)


@pytest.mark.parametrize("kind", ["sensitivity", "thermal"])
def test_a_folder_of_another_user_ends_in_one_sentence(pytestconfig, tmp_path, kind):
    folder = tmp_path / "of another"
    folder.mkdir(mode=0o555)
    without_privilege = ()
    if os.geteuid() == 0:
        os.chown(folder, 65534, 65534)
        without_privilege = ("setpriv", "--bounding-set", "-dac_override")  # root, too, heeds the modes of files
        if not shutil.which("setpriv"):
            pytest.skip("root may write everywhere, and setpriv is not here")
    found = run(pytestconfig.rootpath, words_of(pytestconfig.rootpath, kind, folder), before=without_privilege)
    assert_refused(found, "ermission denied", folder)
    assert not list(folder.iterdir())
