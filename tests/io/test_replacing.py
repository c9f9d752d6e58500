import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mdsens.errors import UserError
from mdsens.io import Run, certified, write_run
from mdsens.io.replacing import replacing


def test_a_file_is_not_overwritten_unless_asked(run: Run, stored: Path) -> None:
    before = stored.read_bytes()
    with pytest.raises(UserError, match="exists and is not overwritten"):
        write_run(stored, run)
    assert stored.read_bytes() == before
    write_run(stored, run, overwrite=True)
    assert [path.name for path in stored.parent.iterdir()] == [stored.name]


@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt])
def test_a_failure_in_the_middle_leaves_nothing(
    failure: type[BaseException], run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise failure

    monkeypatch.setattr(certified, "write_observable", fail)
    with pytest.raises(failure):
        write_run(tmp_path / "run.h5", run)
    assert not list(tmp_path.iterdir())


def test_a_failure_in_the_middle_leaves_the_old_file(run: Run, stored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = stored.read_bytes()

    def fill_the_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(certified, "write_observable", fill_the_disk)
    with pytest.raises(UserError, match="No space left on device"):
        write_run(stored, run, overwrite=True)
    assert stored.read_bytes() == before


def test_a_kill_in_the_middle_leaves_no_file_under_the_final_name(tmp_path: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path; from mdsens.io.replacing import replacing\n"
        "with replacing(Path(sys.argv[1]), overwrite=False) as part:\n"
        "    part.write_text('half'); time.sleep(60)\n"
    )
    final = tmp_path / "run.h5"
    root = Path(__file__).resolve().parents[2]
    process = subprocess.Popen([sys.executable, "-c", program, str(final)], cwd=root)
    try:
        deadline = time.monotonic() + 50
        while not list(tmp_path.iterdir()) and time.monotonic() < deadline:
            time.sleep(0.05)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    left = [path.name for path in tmp_path.iterdir()]
    assert len(left) == 1
    assert left[0].startswith(".run.h5.")
    assert left[0].endswith(".part")


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"), replacing(tmp_path / "no" / "x.h5", overwrite=False):
        pass


def test_a_folder_under_the_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is a folder"), replacing(tmp_path, overwrite=True):
        pass


def test_an_unwritable_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # the tests may run as root, whom permissions do not stop
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(UserError, match="not writable"), replacing(tmp_path / "x.h5", overwrite=False):
        pass
    assert not list(tmp_path.iterdir())


def test_what_a_killed_run_left_is_removed_by_the_next(run: Run, tmp_path: Path) -> None:
    for name in (".run.h5.0123abcd.part", ".other.h5.0123abcd.part"):
        (tmp_path / name).write_bytes(b"half")
    write_run(tmp_path / "run.h5", run)
    assert {path.name for path in tmp_path.iterdir()} == {"run.h5", ".other.h5.0123abcd.part"}


def test_what_a_living_writer_is_writing_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    with replacing(path, overwrite=True) as slow:
        slow.write_text("slow")
        with replacing(path, overwrite=True) as fast:
            fast.write_text("fast")
        assert path.read_text() == "fast"
    assert path.read_text() == "slow"
    assert [path.name for path in tmp_path.iterdir()] == ["run.h5"]


def test_a_full_disk_is_one_sentence_and_leaves_nothing(run: Run, tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (8192, before[1]))  # the system says that files may not be larger
        with pytest.raises(UserError, match=r"cannot be written \(File too large\)"):
            write_run(tmp_path / "run.h5", run)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list(tmp_path.iterdir())
