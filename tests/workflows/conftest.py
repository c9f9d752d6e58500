"""The command in this process, on systems so small that compilation is all the time they take."""

from __future__ import annotations

import contextlib
import functools
import io
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from benchmarks.__main__ import BENCHMARKS
from workflows import cli

TINY = """
[system]
kind = "bidisperse"
n_particles = 32

[potential]
kind = "soft_sphere"
"""
TINY_SENSITIVITY = TINY + '[sensitivity]\nparameters = ["soft_sphere.sigma[A]", "box.length"]\n'
TINY_ENSEMBLE = (
    TINY
    + """
[ensemble]
n_starts = 2
checkpoints = [5, 20]
n_records = 5

[sweep]
diameters = [0.6, 0.8]
n_starts = 2
"""
)


@dataclass(frozen=True)
class Outcome:
    """What a command left on the terminal."""

    code: int
    out: str
    err: str

    @property
    def sentence(self) -> str:
        """The complaint, after checking that it is one sentence and nothing else."""
        assert self.err.startswith("mdsens: "), self.err
        assert self.err.count("\n") == 1, self.err
        assert "Traceback" not in self.err
        return self.err.removeprefix("mdsens: ").strip()


Mdsens = Callable[..., Outcome]


def run_command(*words: object, program: cli.Program = cli.MDSENS) -> Outcome:
    """Run the command line in this process, which has switched float64 on already."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        patch.setattr(cli, "prepare_process", lambda: None)
        code = cli.main([str(word) for word in words], program)
    return Outcome(code, out.getvalue(), err.getvalue())


@pytest.fixture(scope="session")
def command() -> Mdsens:
    """The command, for what several tests look at."""
    return run_command


@pytest.fixture
def mdsens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Mdsens:
    """The command, run in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    return run_command


@pytest.fixture
def benchmarks(mdsens: Mdsens) -> Mdsens:
    """The command of the benchmarks, likewise."""
    return functools.partial(mdsens, program=BENCHMARKS)


@pytest.fixture
def configuration(tmp_path: Path) -> Path:
    """A tiny configuration for relax and sensitivity."""
    path = tmp_path / "tiny.toml"
    path.write_text(TINY_SENSITIVITY)
    return path


@pytest.fixture
def ensemble_text() -> str:
    """A tiny configuration for ensemble."""
    return TINY_ENSEMBLE


@pytest.fixture(scope="session")
def ensemble(tmp_path_factory: pytest.TempPathFactory) -> tuple[Outcome, Path]:
    """What ``mdsens ensemble`` on the tiny configuration says, and the folder that holds it and its ``out``."""
    folder = tmp_path_factory.mktemp("ensemble")
    (folder / "tiny.toml").write_text(TINY_ENSEMBLE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", "80")
        return run_command("ensemble", folder / "tiny.toml", "-o", folder / "out"), folder


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Outcome, Path]:
    """What ``mdsens sensitivity`` on the tiny configuration says, and the folder it leaves."""
    folder = tmp_path_factory.mktemp("sensitivity")
    (folder / "tiny.toml").write_text(TINY_SENSITIVITY)
    return run_command("sensitivity", folder / "tiny.toml", "-o", folder / "out"), folder / "out"


@pytest.fixture
def results(finished: tuple[Outcome, Path], tmp_path: Path) -> Path:
    """A copy of the tiny results file, alone in its folder."""
    path = tmp_path / "copy" / "sensitivity.h5"
    path.parent.mkdir()
    path.write_bytes((finished[1] / "sensitivity.h5").read_bytes())
    return path


@pytest.fixture
def unwritable(tmp_path: Path) -> Iterator[Path]:
    """A folder that cannot be written to, not even by root."""
    if os.geteuid() == 0:
        yield Path("/proc/self")
        return
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o500)
    yield folder
    folder.chmod(0o700)
