"""Opening HDF5 files of ours, and how plain values are stored in them."""

from __future__ import annotations

import contextlib
import itertools
import mmap
import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

import mdsens
from mdsens.errors import UserError
from mdsens.io.reading import attributes, check_structure, damage, decoded
from mdsens.io.replacing import replacing

SCHEMA_VERSION = 1
CREATOR = "mdsens"
_BOUNDS = ("v110", "v110")  # virtual datasets, and attributes above 64 kB
_HEAP = b"GCOL\x01\0\0\0"  # no text holds zeros
_NUMBERS = itertools.count()  # names of files in memory
_TEXT = h5py.string_dtype("utf-8")


@contextlib.contextmanager
def new_file(path: Path, kind: str, *, overwrite: bool) -> Iterator[Any]:
    """Open a new file for writing that takes its name when it is complete.

    Args:
        path: The final name.
        kind: What the file holds: "run", "ensemble", "benchmark", ...
        overwrite: Whether a file of that name may be replaced.

    Yields:
        The open file, with ``/h5md`` and the schema version in place.

    Raises:
        UserError: When the file cannot be written, or exists and must not be replaced.
    """
    with replacing(path, overwrite=overwrite) as temporary:
        with memory_file() as file:
            write_header(file, kind)
            yield file
            file.flush()
            image = file.id.get_file_image()
        temporary.write_bytes(image)


def memory_file() -> Any:
    """Return a new HDF5 file in memory: the library itself, writing to a disk that is full, ends the process."""
    return h5py.File(f"{next(_NUMBERS)}.h5", "x", libver=_BOUNDS, track_order=True, driver="core", backing_store=False)


def write_header(file: Any, kind: str) -> None:
    """Write ``/h5md``, the kind and the schema version of a new file."""
    write_attributes(file, {"kind": kind, "schema_version": SCHEMA_VERSION})
    header = file.create_group("h5md")
    header.attrs["version"] = np.array([1, 1], dtype=np.int32)
    write_attributes(header.create_group("author"), {"name": "N/A"})
    write_attributes(header.create_group("creator"), {"name": CREATOR, "version": mdsens.__version__})


@contextlib.contextmanager
def stored_file(path: Path) -> Iterator[Any]:
    """Open one of our files for reading.

    Args:
        path: The file.

    Yields:
        The open file.

    Raises:
        UserError: When the file is missing, not HDF5, truncated, not written by mdsens, or of a newer schema.
    """
    file = _opened(path)
    try:
        with file:
            _check_schema(file, path)
            check_structure(file, path)
            yield file
    except UserError:
        raise
    except (OSError, KeyError, RuntimeError) as error:
        # HDF5 finds damage only where it reads
        raise UserError(f"{path} is damaged or incomplete ({_first_line(error)}): make it again.") from error
    except (ValueError, TypeError, AttributeError, MemoryError, SystemError) as error:
        raise UserError(f"{path} is damaged or incomplete (not of types that mdsens writes): make it again.") from error


def kind_of(path: Path) -> str:
    """Return what one of our files holds: "run" for one relaxed state, "ensemble", "benchmark", ...

    Args:
        path: The file.

    Raises:
        UserError: When it is not a readable file of ours; see ``stored_file``.
    """
    with stored_file(Path(path)) as file:
        return kind_in(file)


def kind_in(file: Any) -> str:
    """Return the kind of an open file."""
    return str(attributes(file, {"kind": ("U", ()), "schema_version": ("i", ())})["kind"])


def _opened(path: Path) -> Any:
    if not path.exists():
        raise UserError(f"{path} does not exist: give the path of a results file (.h5).")
    if path.is_dir():
        raise UserError(f"{path} is a folder: give the path of a results file (.h5).")
    try:
        if not h5py.is_hdf5(path):
            path.open("rb").close()
            raise UserError(f"{path} is not an HDF5 file: give a results file written by mdsens.")
        if not _heaps_end(path):
            raise UserError(f"{path} is damaged or incomplete (a heap of texts has no end): make it again.")
        return _unlocked(path)
    except OSError as error:
        if "already open for write" in str(error) or "unable to lock file" in str(error):
            raise UserError(
                f"{path} is open for writing elsewhere, or its writer was killed: close it there, or clear its mark "
                f"with 'h5clear -s {path}'."
            ) from error
        reason = error.strerror or ("it ends too early" if "truncated" in str(error) else _first_line(error))
        raise UserError(f"{path} cannot be read ({reason}): make it again or check its permissions.") from error


def _heaps_end(path: Path) -> bool:
    """Return whether the global heaps of a file (its texts) end: HDF5 2.0 never returns from some that do not.

    A heap is ``GCOL``, its version and 3 zeros, its size, and objects: index (0 for free room), 6 bytes, length, and
    that many bytes in eights. The length of free room includes its head.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        begin = data.find(_HEAP)
        while begin >= 0:
            end = begin + struct.unpack_from("<Q", data, begin + 8)[0] if begin + 16 <= len(data) else begin
            place = begin + 16
            while place + 16 <= min(end, len(data)):
                index, length = struct.unpack_from("<H6xQ", data, place)
                step = 16 + -(-length // 8) * 8 if index else length
                if step < 16 or place + step > end:
                    return False
                place += step
            begin = data.find(_HEAP, begin + 4)
    return True


def _unlocked(path: Path) -> Any:
    """Open without a lock, for complete files do not change and some file systems cannot lock, unless it has one."""
    try:
        return h5py.File(path, "r", locking=False)
    except OSError as error:
        if "locking flag" not in str(error):
            raise
        return h5py.File(path, "r")  # the same file is open in this process


def _check_schema(file: Any, path: Path) -> None:
    creator = decoded(file["h5md/creator"].attrs.get("name", "")) if "h5md/creator" in file else ""
    if not (isinstance(creator, str) and creator == CREATOR) or not {"schema_version", "kind"} <= set(file.attrs):
        raise UserError(f"{path} is an HDF5 file but was not written by mdsens: give a results file of mdsens.")
    version = decoded(file.attrs["schema_version"])
    if not isinstance(version, int):
        raise damage(file, "@schema_version", "no integer")
    if version > SCHEMA_VERSION:
        raise UserError(
            f"{path} has schema version {version}, but this mdsens reads only up to {SCHEMA_VERSION}: update mdsens."
        )


def _first_line(error: Exception) -> str:
    return (str(error).strip("'\"").splitlines() or [type(error).__name__])[0]


def write_attributes(node: Any, values: Mapping[str, Any]) -> None:
    """Store numbers, truth values, texts and arrays of them as attributes of an HDF5 object."""
    for name, value in values.items():
        node.attrs[name] = encoded(value)


def write_text(group: Any, name: str, text: str) -> None:
    """Store a text of any length as a dataset."""
    group.create_dataset(name, data=text, dtype=_TEXT)


def write_texts(group: Any, name: str, texts: Sequence[str]) -> None:
    """Store a list of texts as a dataset."""
    group.create_dataset(name, data=list(texts), dtype=_TEXT, shape=(len(texts),))


def encoded(value: Any) -> Any:
    """Return a value in a form that h5py stores: sequences of text become arrays of UTF-8."""
    if isinstance(value, str):
        return value
    array = np.asarray(value)
    if array.dtype.kind in "UO" or (array.size == 0 and isinstance(value, tuple)):
        return np.array(value, dtype=_TEXT)
    return array[()]
