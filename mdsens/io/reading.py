"""What a file holds is asked for with its type and shape; what is not so is damage, named by its place in the file."""

from __future__ import annotations

import contextlib
import posixpath
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import h5py
import numpy as np

from mdsens.errors import UserError

Shape = tuple[int | None, ...]  # None: any length
_KINDS = {"f": "numbers", "i": "integers", "b": "truth values", "U": "text"}
_MOST_UNSTORED = 2**26  # bytes that a dataset may hold without storing them: never written, or compressed
_COMPRESSION = 1100  # deflate cannot do better


def damage(node: Any, name: str, what: str) -> UserError:
    """Return the refusal of a file of which something is not as it was written.

    Args:
        node: The HDF5 object that holds it.
        name: Its name there.
        what: What is wrong with it.
    """
    place = posixpath.join(node.name, name)
    return UserError(f"{node.file.filename} is damaged or incomplete at {place} ({what}): make it again.")


@contextlib.contextmanager
def fitting_together(path: Path) -> Iterator[None]:
    """Refuse a file whose tables, each readable, turn out not to fit together where they are used.

    Raises:
        UserError: In the place of what Python says about missing names and shapes that disagree.
    """
    try:
        yield
    except UserError:
        raise
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise UserError(
            f"{path} is damaged or incomplete (its contents do not fit together): make it again."
        ) from error


def numbers(group: Any, name: str, shape: Shape, kind: str = "f", *, finite: bool = False) -> np.ndarray:
    """Return an array.

    Args:
        group: Where it is.
        name: Its name there.
        shape: Its shape; None for any length.
        kind: "f" for float64, "i" for integers, "b" for truth values.
        finite: Whether every number must be finite.

    Raises:
        UserError: When there is none, or it is of another kind or shape.
    """
    dataset = group.get(name)
    if not isinstance(dataset, h5py.Dataset):
        raise damage(group, name, "there is no array")
    _check(group, name, dataset.dtype, dataset.shape, kind, shape)
    found = np.asarray(dataset[()])
    if finite and not np.isfinite(found).all():
        raise damage(group, name, "a number is not finite")
    return found


def text(group: Any, name: str) -> str:
    """Return a text stored as a dataset."""
    return str(_texts(group, name, ())[()])


def texts(group: Any, name: str, length: int | None = None) -> tuple[str, ...]:
    """Return a list of texts stored as a dataset."""
    return tuple(map(str, _texts(group, name, (length,))))


def _texts(group: Any, name: str, shape: Shape) -> np.ndarray:
    dataset = group.get(name)
    if not isinstance(dataset, h5py.Dataset) or h5py.check_string_dtype(dataset.dtype) is None:
        raise damage(group, name, "there is no text")
    found = np.asarray(decoded(dataset[()]), dtype=np.str_)
    _check(group, name, found.dtype, found.shape, "U", shape)
    return found


def child(group: Any, name: str) -> Any:
    """Return a group inside a group.

    Raises:
        UserError: When there is none.
    """
    found = group.get(name)
    if not isinstance(found, h5py.Group):
        raise damage(group, name, "there is no group")
    return found


def attributes(node: Any, expected: Mapping[str, tuple[str, Shape]]) -> dict[str, Any]:
    """Return exactly the expected attributes of an HDF5 object.

    Args:
        node: The object.
        expected: Kind and shape of every attribute; kind as for ``numbers``, "U" for text.

    Returns:
        Python scalars and texts, arrays of numbers, tuples of texts.

    Raises:
        UserError: When one is missing, unknown, or of another kind or shape.
    """
    found = read_attributes(node)
    unlike = sorted(expected.keys() ^ found.keys())
    if unlike:
        raise damage(node, f"@{unlike[0]}", "no such attribute" if unlike[0] in expected else "an unknown attribute")
    return {name: _attribute(node, name, found[name], *kind) for name, kind in expected.items()}


def _attribute(node: Any, name: str, value: Any, kind: str, shape: Shape) -> Any:
    array = np.asarray(value)
    if array.size == 0 and kind == "U":  # an empty list has no type of its own
        array = array.astype(np.str_)
    _check(node, f"@{name}", array.dtype, array.shape, kind, shape)
    if kind == "U" and shape:
        return tuple(map(str, array))
    return array if shape else value


def _check(node: Any, name: str, dtype: np.dtype[Any], found: Any, kind: str, shape: Shape) -> None:
    if dtype.kind not in {"i": "iu"}.get(kind, kind):
        raise damage(node, name, f"{dtype} where {_KINDS[kind]} belong")
    if found is None or len(found) != len(shape) or any(b not in (None, a) for a, b in zip(found, shape, strict=True)):
        words = "x".join("any" if length is None else str(length) for length in shape) or "a single one"
        raise damage(node, name, f"shape {found} where {words} belongs")


def read_attributes(node: Any) -> dict[str, Any]:
    """Return all attributes of an HDF5 object as Python scalars, texts and arrays (of ``str`` where they hold text)."""
    return {name: decoded(value) for name, value in node.attrs.items()}


def decoded(value: Any) -> Any:
    """Return the inverse of ``hdf5.encoded``: text as ``str``, scalars as Python's own, arrays as they are."""
    if isinstance(value, bytes):
        return value.decode("utf-8")
    if isinstance(value, h5py.Empty):
        return np.zeros(0)
    if isinstance(value, np.ndarray) and value.dtype.kind in "OS":
        return np.array([decoded(entry) for entry in value.ravel()], dtype=np.str_).reshape(value.shape)
    return value.item() if isinstance(value, np.generic) else value


def content(group: Any, name: str) -> np.ndarray | str:
    """Return a dataset of any kind: an array (without axes for a number), or ``str`` for a single text."""
    dataset = group.get(name)
    known = isinstance(dataset, h5py.Dataset) and dataset.shape is not None
    if not known or (dataset.dtype.kind not in "fiub" and h5py.check_string_dtype(dataset.dtype) is None):
        raise damage(group, name, "neither numbers nor text")
    value = decoded(dataset[()])
    return value if isinstance(value, str) else np.asarray(value)


def check_structure(file: Any, path: Path) -> None:
    """Refuse a file that leads out of itself, or that promises more than it stores.

    Virtual datasets may show the file's own datasets and those of its members, which lie below its folder.

    Raises:
        UserError: For soft and external links, external storage, foreign virtual sources, and sizes that are not there.
    """
    # a visitor that raises ends in a SystemError of h5py: what it returns ends the visit
    link = file.visititems_links(lambda name, found: None if isinstance(found, h5py.HardLink) else name)
    if link is not None:
        raise UserError(f"{path} leads to another place at /{link}, which no file of mdsens does: make it again.")
    error = file.visititems(lambda name, node: _against_dataset(file, path, name, node))
    if error is not None:
        raise error


def _against_dataset(file: Any, path: Path, name: str, node: Any) -> UserError | None:
    """Return what is to be said against a dataset."""
    if not isinstance(node, h5py.Dataset) or node.shape is None:
        return None
    if node.external:
        return UserError(f"{path} leads to another file at /{name}, which no file of mdsens does: make it again.")
    if node.is_virtual:
        return next(
            filter(None, (_against_source(file, path, name, source) for source in node.virtual_sources())), None
        )
    if node.size * node.dtype.itemsize > _COMPRESSION * node.id.get_storage_size() + _MOST_UNSTORED:
        return damage(file, name, f"shape {node.shape}, of which most is not there")
    return None


def _against_source(file: Any, path: Path, name: str, source: Any) -> UserError | None:
    if source.file_name == ".":
        known = isinstance(file.get(source.dset_name), h5py.Dataset)
        return None if known else damage(file, name, f"it shows {source.dset_name}, which is not there")
    parts = PurePosixPath(source.file_name)
    inside = (path.parent / parts).resolve().is_relative_to(path.parent.resolve())
    if parts.is_absolute() or ".." in parts.parts or not inside:
        return UserError(f"{path} leads to {source.file_name} at /{name}, which is none of its members: make it again.")
    return None
