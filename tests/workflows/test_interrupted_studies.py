"""Kills, interrupts, two runs at once and full disks: nothing is lost, doubled, half-written or crashed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from mdsens.io import kind_of, read_tables

LIMITED = ("sh", "-c", 'ulimit -f 8; exec "$@"', "sh")  # the system says that files may not be larger than 8 kB
TINY = ("--system.n_particles", "12", "--output.figures", "false")
STUDIES = {
    "ensemble": (
        "ensemble.toml",
        *("--ensemble.n_starts", "6", "--ensemble.checkpoints", "[5, 20]", "--ensemble.n_records", "4"),
        *("--sweep.diameters", "[]", "--system.packing_fraction", "1.1"),
    ),
    "compress": (
        "compress.toml",
        *("--compress.n_packings", "4", "--compress.pressures", "[1e-2, 5e-3, 2e-3]", "--compress.n_resamples", "3"),
        *("--compress.fit_range", "[1e-3, 1e-2]", "--compress.pressures", "[1e-2, 5e-3, 2e-3]"),
    ),
    "fit": (
        "fit_soft_sphere.toml",
        *("--system.n_particles", "24", "--fit.n_cases", "4", "--fit.descent_relaxations", "3", "--output.name", "fit"),
    ),
}


def started(root: Path, name: str, folder: Path, before: tuple[str, ...] = ()) -> subprocess.Popen:
    shipped, *overrides = STUDIES[name]
    words = [name, root / "workflows" / shipped, *TINY, *overrides, "-o", folder]
    command = [*before, sys.executable, "-m", "workflows.cli", *map(str, words)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=root, env=os.environ | {"COLUMNS": "80"}, **pipes)


def finished(process: subprocess.Popen) -> tuple[int, str]:
    _, err = process.communicate(timeout=600)
    return process.returncode, err


OTHERS = [pytest.param(name, marks=pytest.mark.exhaustive) for name in STUDIES if name != "ensemble"]


@pytest.fixture(scope="module", params=["ensemble", *OTHERS])
def undisturbed(request, pytestconfig, tmp_path_factory):
    """The name of a study and what an undisturbed run of it leaves."""
    folder = tmp_path_factory.mktemp(request.param)
    code, err = finished(started(pytestconfig.rootpath, request.param, folder))
    assert (code, err) == (0, "")
    return request.param, folder


def assert_complete(folder: Path, undisturbed: Path, name: str) -> None:
    """Check that a folder holds what the undisturbed run left: the same members, the same numbers, nothing else."""
    assert all(kind_of(path) for path in folder.rglob("*.h5"))
    kept = {path.relative_to(undisturbed) for path in undisturbed.rglob("*")}
    assert {path.relative_to(folder) for path in folder.rglob("*")} == kept
    found, expected = (read_tables(where / f"{name}.h5").groups for where in (folder, undisturbed))
    for group, table in expected.items():
        for key, value in table.items():
            if "seconds" not in key:
                np.testing.assert_array_equal(found[group][key], value, err_msg=f"{group}/{key}")


def wait_for_members(folder: Path, count: int) -> None:
    deadline = time.monotonic() + 300
    while len(list(folder.rglob("member-*.h5"))) < count and time.monotonic() < deadline:
        time.sleep(0.02)


def killed_and_resumed(root: Path, name: str, folder: Path, members: int, pause: float) -> None:
    process = started(root, name, folder)
    wait_for_members(folder, members)
    time.sleep(pause)
    process.kill()
    finished(process)
    assert all(kind_of(path) for path in folder.rglob("*.h5"))
    assert finished(started(root, name, folder)) == (0, "")


def test_a_killed_study_resumes_bit_for_bit(undisturbed, pytestconfig, tmp_path):
    name, reference = undisturbed
    (tmp_path / f"{name}.members").mkdir()
    (tmp_path / f".{name}.h5.0123abcd.part").write_bytes(b"left by an earlier kill")
    killed_and_resumed(pytestconfig.rootpath, name, tmp_path, 1, 0.0)
    assert_complete(tmp_path, reference, name)


@pytest.mark.exhaustive
@pytest.mark.parametrize("seed", range(20))
def test_a_study_killed_at_a_random_moment_resumes_bit_for_bit(undisturbed, pytestconfig, tmp_path, seed):
    name, reference = undisturbed
    random = np.random.default_rng(seed)
    killed_and_resumed(pytestconfig.rootpath, name, tmp_path, int(random.integers(0, 4)), float(random.uniform(0, 1)))
    assert_complete(tmp_path, reference, name)


def test_two_runs_at_once_in_one_folder_both_succeed(undisturbed, pytestconfig, tmp_path):
    name, reference = undisturbed
    if name != "ensemble":
        return  # one study is enough: members are kept by the same function
    both = [started(pytestconfig.rootpath, name, tmp_path) for _ in range(2)]
    assert [finished(process) for process in both] == [(0, "")] * 2
    assert_complete(tmp_path, reference, name)


@pytest.mark.exhaustive
@pytest.mark.parametrize(("signals", "code", "word"), [("SIGTERM", 143, "terminated"), ("SIGINT", 130, "interrupted")])
def test_a_signal_ends_a_study_with_one_word_and_it_resumes(undisturbed, pytestconfig, tmp_path, signals, code, word):
    name, reference = undisturbed
    process = started(pytestconfig.rootpath, name, tmp_path)
    wait_for_members(tmp_path, 1)
    process.send_signal(getattr(signal, signals))
    found = finished(process)
    assert found in {(code, f"mdsens: {word}\n"), (0, "")}  # it may just have finished
    assert finished(started(pytestconfig.rootpath, name, tmp_path)) == (0, "")
    assert_complete(tmp_path, reference, name)


@pytest.mark.exhaustive
def test_a_full_disk_ends_a_study_with_one_sentence_and_keeps_members(undisturbed, pytestconfig, tmp_path):
    name, reference = undisturbed
    code, err = finished(started(pytestconfig.rootpath, name, tmp_path, before=LIMITED))
    assert code == 2
    assert err.startswith("mdsens: ")
    assert err.count("\n") == 1
    assert "cannot be written (File too large)" in err
    assert not list(tmp_path.rglob("*.part"))
    assert not (tmp_path / f"{name}.h5").exists()
    if name == "ensemble":
        assert finished(started(pytestconfig.rootpath, name, tmp_path)) == (0, "")
        assert_complete(tmp_path, reference, name)
