"""Files appear under their final name complete or not at all."""

from __future__ import annotations

import contextlib
import glob
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from mdsens.errors import UserError

try:
    import fcntl
except ImportError:  # no such locks on Windows: there a killed run's temporary file stays
    fcntl = None  # type: ignore[assignment]


@contextlib.contextmanager
def replacing(path: Path, *, overwrite: bool) -> Iterator[Path]:
    """Lend a temporary file in the folder of ``path``; what is written into it takes the final name at the end.

    The file is flushed to the disk before it is renamed, so that neither a kill nor a power cut leaves half a file
    under the final name. An exception removes the temporary file, ``.NAME.XXXXXXXX.part``; one that a kill left behind
    is removed by the next who writes ``path``: a living writer holds a lock on his.

    Args:
        path: The final name.
        overwrite: Whether a file of that name may be replaced.

    Yields:
        The temporary file: empty, in the same folder.

    Raises:
        UserError: When the folder is missing or not writable, the name is taken, or writing fails.
    """
    _check_target(path, overwrite)
    try:
        _remove_abandoned(path)
        with _reserved(path) as temporary:
            yield temporary
            _flush(temporary)
            _check_target(path, overwrite)  # somebody may have been faster
            os.replace(temporary, path)
            _flush(path.parent)
    except OSError as error:
        raise UserError(
            f"{path} cannot be written ({reason_of(error)}): free some space or name another folder."
        ) from error


def write_plain(path: Path, text: str) -> None:
    """Write a text file in one stroke, in the place of one of that name.

    Raises:
        UserError: When it cannot be written.
    """
    with replacing(path, overwrite=True) as temporary:
        temporary.write_text(text, encoding="utf-8")


def reason_of(error: OSError) -> str:
    """Return what the system says about a failure: ``No space left on device``."""
    return error.strerror or (str(error).splitlines() or [type(error).__name__])[0]


@contextlib.contextmanager
def _reserved(path: Path) -> Iterator[Path]:
    """Create a temporary file and hold a lock on it; remove it at the end if it still has its name."""
    descriptor, temporary = _created(path)
    try:
        yield temporary
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        os.close(descriptor)


def _created(path: Path) -> tuple[int, Path]:
    while True:
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
        descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666)
        try:
            _lock(descriptor)
        except BlockingIOError:  # somebody takes it for abandoned: another one
            os.close(descriptor)
            continue
        except OSError:  # some network file systems have no locks; then nobody removes anything either
            return descriptor, temporary
        if temporary.exists():
            return descriptor, temporary
        os.close(descriptor)


def _remove_abandoned(path: Path) -> None:
    """Remove the temporary files of ``path`` that no living writer has locked."""
    for name in path.parent.glob(f".{glob.escape(path.name)}.*.part"):
        with contextlib.suppress(OSError):
            descriptor = os.open(name, os.O_RDWR)
            try:
                _lock(descriptor)
                name.unlink()
            finally:
                os.close(descriptor)


def _lock(descriptor: int) -> None:
    """Lock an open file, or raise: ``BlockingIOError`` when somebody holds the lock, ``OSError`` without locks."""
    if fcntl is None:
        raise OSError("this system has no file locks")
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _check_target(path: Path, overwrite: bool) -> None:
    folder = path.parent
    if not folder.is_dir():
        raise UserError(f"the folder {folder} does not exist, so {path.name} cannot be written there: create it first.")
    if path.is_dir():
        raise UserError(f"{path} is a folder: give the name of a file to write.")
    if path.exists() and not overwrite:
        raise UserError(f"{path} exists and is not overwritten: remove it or choose another name.")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UserError(
            f"the folder {folder} is not writable, so {path.name} cannot be written there: name another folder."
        )


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
