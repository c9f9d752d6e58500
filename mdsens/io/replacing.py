"""Files appear under their final name complete or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from mdsens.errors import UserError


@contextlib.contextmanager
def replacing(path: Path, *, overwrite: bool) -> Iterator[Path]:
    """Lend a temporary name in the folder of ``path``; what was written there takes the final name at the end.

    The file is flushed to the disk before it is renamed, so that neither a kill nor a power cut leaves half a file
    under the final name. An exception removes the temporary file; a kill may leave it, hidden, as
    ``.NAME.XXXXXXXX.part``.

    Args:
        path: The final name.
        overwrite: Whether a file of that name may be replaced.

    Yields:
        The temporary name, same folder, no file there yet.

    Raises:
        UserError: When the folder is missing or not writable, the name is taken, or writing fails.
    """
    _check_target(path, overwrite)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        yield temporary
        _flush(temporary)
        _check_target(path, overwrite)  # somebody may have been faster
        os.replace(temporary, path)
        _flush(path.parent)
    except OSError as error:
        raise UserError(
            f"{path} cannot be written ({_reason(error)}): free some space or name another folder."
        ) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


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


def _reason(error: OSError) -> str:
    return error.strerror or (str(error).splitlines() or [type(error).__name__])[0]
