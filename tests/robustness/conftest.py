"""The command on input that is wrong in ways drawn at random, in this process, and small files of every kind."""

from __future__ import annotations

import contextlib
import dataclasses
import faulthandler
import functools
import importlib
import io
import os
import re
import shlex
import signal
import traceback
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

import h5py
import numpy as np
import pytest

import mdsens.io
import workflows
from workflows import cli

# Every workflow's first expensive call: what gets there has been accepted.
EXPENSIVE = {
    "relax": ("workflows.state", "relaxed"),
    "sensitivity": ("workflows.state", "relaxed"),
    "observables": ("workflows.state", "relaxed"),
    "validity": ("workflows.state", "relaxed"),
    "spectrum": ("workflows.state", "relaxed"),
    "ensemble": ("workflows.study", "run_members"),
    "compress": ("workflows.study", "run_members"),
    "thermal": ("workflows.study", "run_members"),
    "fit": ("workflows.study", "run_members"),
    "paper": ("workflows.paper.run", "parts"),
}
MOST_SHOWN = 10
LONGEST_SENTENCE = 1000


class Accepted(BaseException):
    """Ends a command where its long computation would begin."""


class Hung(BaseException):
    """Ends a command that takes too long; no ``except Exception`` catches it."""


@dataclass(frozen=True)
class Outcome:
    """What a command left on the terminal, or the traceback that ended it."""

    code: int
    out: str
    err: str
    crash: str = ""

    @property
    def fault(self) -> str:
        """What is wrong with it; nothing for a success, an acceptance, or a refusal in one sentence."""
        if self.crash:
            return self.crash
        if "Traceback" in self.out + self.err:
            return f"a traceback on the terminal: {self.err[-600:]}"
        lines = self.err.splitlines()
        if not all(line.startswith("mdsens: ") for line in lines):
            return f"other than sentences on stderr: {self.err[:600]!r}"
        if self.code == 0 or (self.code == 1 and self.out.endswith("NOT verified\n")):
            return ""
        if self.code not in (1, 2):
            return f"exit code {self.code}"
        if len(lines) != 1:
            return f"exit code {self.code} with {len(lines)} sentences: {self.err[:600]!r}"
        if not lines[0].isprintable():
            return f"a sentence with control characters: {self.err[:600]!r}"
        if len(lines[0]) > LONGEST_SENTENCE:
            return f"a sentence of {len(lines[0])} characters: {self.err[:300]!r}"
        return ""


Command = Callable[..., Outcome]


def run_command(*words: object) -> Outcome:
    """Run the command line in this process; whatever it raises becomes part of the outcome."""
    out, err, code, crash = io.StringIO(), io.StringIO(), 0, ""
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        patch.setattr(cli, "prepare_jax", lambda: None)
        try:
            code = cli.main([str(word) for word in words])
        except Accepted:
            pass
        except (Exception, Hung) as error:
            crash = "".join(traceback.format_exception(error, limit=-6))
    return Outcome(code, out.getvalue(), err.getvalue(), crash)


@pytest.fixture(scope="session")
def command() -> Command:
    """The command."""
    return run_command


@contextlib.contextmanager
def stopped_before_work() -> Iterator[None]:
    """Let every workflow end with ``Accepted`` where its long computation begins."""

    def stop(*arguments: Any, **options: Any) -> None:
        raise Accepted

    with pytest.MonkeyPatch.context() as patch:
        for module, name in EXPENSIVE.values():
            patch.setattr(importlib.import_module(module), name, stop)
        yield


@pytest.fixture(scope="session")
def without_work() -> Callable[[], AbstractContextManager[None]]:
    """Open a time in which every workflow ends with ``Accepted`` where its long computation begins."""
    return stopped_before_work


@contextlib.contextmanager
def watchdog(seconds: float, log: TextIO) -> Iterator[None]:
    """Raise ``Hung`` after some seconds; much later, end the process, which then never came back from a library."""

    def bark(number: int, frame: Any) -> None:
        raise Hung(f"still running after {seconds} s")

    before = signal.signal(signal.SIGALRM, bark)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    faulthandler.dump_traceback_later(3 * seconds + 60, exit=True, file=log)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@dataclass
class Campaign:
    """Many attempts with wrong input, each with a name from which it can be made again; faults are told together.

    Attributes:
        folder: An empty folder for every attempt.
        log: A file that begins with the name of the attempt that is running, for when it ends the process.
        faults: What was found, by name.
    """

    folder: Path
    log: TextIO
    faults: dict[str, str] = field(default_factory=dict)

    def run(self, names: Iterable[str], attempt: Callable[[str, np.random.Generator, Path], str], seconds: float = 20):
        """Make every attempt; each returns what is wrong, or nothing, and ends after some seconds.

        ``MDSENS_FUZZ_ONLY`` chooses attempts by a regular expression.
        """
        only = os.environ.get("MDSENS_FUZZ_ONLY", "")
        for number, name in enumerate(name for name in names if re.fullmatch(only or ".*", name)):
            folder = self.folder / str(number)
            folder.mkdir()
            self.log.seek(0)
            self.log.truncate()
            print(name, file=self.log, flush=True)
            try:
                with watchdog(seconds, self.log):
                    fault = attempt(name, np.random.default_rng(zlib.crc32(name.encode())), folder)
            except Hung as error:
                fault = "".join(traceback.format_exception(error, limit=-6))
            fault = fault or leftovers(folder)
            if fault:
                self.faults[name] = fault
            else:
                remove(folder)

    def conclude(self) -> None:
        """Fail with the faults, one of every kind."""
        if not self.faults:
            return
        kinds: dict[str, list[str]] = {}
        for name, fault in self.faults.items():
            kinds.setdefault("\n".join(fault.strip().splitlines()[-4:]), []).append(name)
        shown = [
            f"--- {', '.join(names[:5])} ({len(names)} of this kind)\n{self.faults[names[0]].strip()}"
            for names in list(kinds.values())[:MOST_SHOWN]
        ]
        words = f"{len(self.faults)} faults of {len(kinds)} kinds, such as\n" + "\n".join(shown)
        pytest.fail(words, pytrace=False)


def leftovers(folder: Path) -> str:
    """Return what a command must not leave behind."""
    left = [str(path.relative_to(folder)) for path in folder.rglob("*.part")]
    return f"left behind: {left}" if left else ""


def remove(folder: Path) -> None:
    """Remove a folder with all that is in it."""
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
    folder.rmdir()


@pytest.fixture
def campaign(tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Campaign]:
    """Attempts in folders of their own; faults are told at the end."""
    monkeypatch.setenv("COLUMNS", "80")
    cache = getattr(request.config, "cache", None)  # without it pytest was started with -p no:cacheprovider
    path = (cache.mkdir("robustness") if cache else tmp_path.parent) / request.node.name
    with path.open("w") as log:
        yield Campaign(tmp_path, log)
    path.unlink()


def n_attempts(share: float) -> int:
    """Return a share of the number of attempts that ``MDSENS_FUZZ`` asks for."""
    return round(share * int(os.environ.get("MDSENS_FUZZ", "400")))


@pytest.fixture(scope="session")
def attempts() -> Callable[[float], int]:
    """A share of the number of attempts that ``MDSENS_FUZZ`` asks for, 400 by default."""
    return n_attempts


# Shipped configurations, and overrides that make each a matter of seconds.
SMALL = {
    "sensitivity": ("sensitivity", "--system.n_particles 12"),
    "pressure": ("sensitivity", "--system.n_particles 12 --pressure.value 0.05"),
    "observables": (
        "observables",
        """--system.n_particles 12 --observables.names '["bulk_modulus", "packing_fraction", "eigenvalue[0]"]'
        --observables.parameters '["soft_sphere.sigma[0]", "soft_sphere.epsilon"]'""",
    ),
    "spectrum": ("spectrum", "--system.n_particles 12 --spectrum.n_derivatives 2"),
    "ensemble": (
        "ensemble",
        """--system.n_particles 12 --ensemble.n_starts 2 --ensemble.checkpoints '[5, 20]' --ensemble.n_records 5
        --sweep.diameters '[0.6, 0.8]' --sweep.n_starts 2""",
    ),
    "compress": (
        "compress",
        """--system.n_particles 16 --compress.n_packings 3 --compress.pressures '[1e-2, 3e-3, 1e-3, 3e-4]'
        --compress.n_resamples 10 --compress.fit_range '[9e-4, 1e-2]'""",
    ),
    "thermal": (
        "thermal",
        """--system.n_cells '[3, 3, 3]' --system.spacing 1.15 --potential.cutoff 1.5 --potential.truncation smooth
        --potential.onset 1.2 --thermal.tail_correction false --thermal.n_samples 20
        --thermal.n_equilibration 5 --thermal.n_replicas 2 --thermal.replicas_per_batch 1 --thermal.sample_every 5""",
    ),
    "fit": ("fit_soft_sphere", "--system.n_particles 24 --fit.n_cases 1 --fit.descent_relaxations 2"),
}


def words_for(kind: str) -> list[str]:
    """Return the words of the command that makes a small file of a kind, but for the folder."""
    name, changes = SMALL[kind]
    configuration = str(Path(workflows.__file__).with_name(f"{name}.toml"))
    output = ["--output.figures", "false", "--output.name", kind]
    return [name.split("_")[0], configuration, *shlex.split(changes), *output]


@pytest.fixture(scope="session")
def small_words() -> Callable[[str], list[str]]:
    """The words of the command that makes a small file of a kind, but for the folder."""
    return words_for


def of_any_time(collect: Callable[..., mdsens.io.Provenance]) -> Callable[..., mdsens.io.Provenance]:
    """Let provenance say nothing that is another in the next run, so that the same bytes are spoilt."""

    def collected(*arguments: Any) -> mdsens.io.Provenance:
        found = collect(*arguments)
        words = {"commit": "0" * 40, "dirty": "no", "code": "0" * 16, "created": "2000-01-01T00:00:00+00:00"}
        return dataclasses.replace(found, **words, device="any", seconds=dict.fromkeys(found.seconds, 1.0))

    return collected


def forget_seconds(path: Path) -> None:
    """Set every time that was measured to one second."""

    def forget(name: str, node: Any) -> None:
        if name.endswith("/seconds") and isinstance(node, h5py.Dataset):
            node[...] = np.ones(node.shape)
        elif "seconds" in node.attrs:
            node.attrs.modify("seconds", 1.0)

    with h5py.File(path, "r+") as file:
        file.visititems(forget)


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Make a small results file of a kind once; of a study, its members lie beside it. ``member`` is one of these."""

    @functools.cache
    def make(kind: str) -> Path:
        if kind == "member":
            return min(make("compress").with_name("compress.members").glob("*.h5"))
        folder = tmp_path_factory.mktemp(kind)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("mdsens.io.collect", of_any_time(mdsens.io.collect))
            outcome = run_command(*words_for(kind), "-o", folder)
        path = folder / f"{kind}.h5"
        assert path.exists(), outcome.err + outcome.crash
        for written in folder.rglob("*.h5"):
            forget_seconds(written)
        return path

    return make
