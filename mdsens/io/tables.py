"""Results of every other kind: named groups of named arrays, with attributes and provenance."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from mdsens.errors import UserError
from mdsens.io.hdf5 import kind_in, new_file, stored_file, write_attributes, write_text, write_texts
from mdsens.io.provenance import Provenance, read_provenance, write_provenance
from mdsens.io.reading import child, content, read_attributes, texts

Groups = Mapping[str, Mapping[str, np.ndarray | str]]
_RESERVED = ("h5md", "provenance", "attributes", "members")


@dataclasses.dataclass(frozen=True)
class Tables:
    """A stored result of several groups of arrays.

    Attributes:
        kind: What it holds, such as "ensemble".
        groups: Arrays and texts by group and name.
        attributes: Numbers, texts and short arrays by name.
        provenance: Where it comes from.
    """

    kind: str
    groups: Mapping[str, Mapping[str, np.ndarray | str]]
    attributes: Mapping[str, Any]
    provenance: Provenance


def write_tables(
    path: Path,
    kind: str,
    groups: Groups,
    attributes: Mapping[str, Any],
    provenance: Provenance,
    *,
    overwrite: bool = False,
) -> None:
    """Write groups of arrays to HDF5, complete or not at all.

    Args:
        path: The file, usually ``NAME.h5``.
        kind: What it holds; ``kind_of`` returns it.
        groups: Arrays (numbers, truth values or texts) and texts, by group and name.
        attributes: Numbers, texts and short arrays by name.
        provenance: Where it comes from.
        overwrite: Whether a file of that name may be replaced.

    Raises:
        UserError: When the file cannot be written, or exists and must not be replaced.
        ValueError: When a group has a name that the file needs itself.
    """
    _check_names(groups)
    with new_file(Path(path), kind, overwrite=overwrite) as file:
        _write(file, groups, attributes, provenance)


def read_tables(path: Path) -> Tables:
    """Read what ``write_tables`` or ``write_virtual`` wrote.

    Args:
        path: The file.

    Raises:
        UserError: When the file is missing, damaged, not ours, of a newer schema, a single run, or lacks a member.
    """
    path = Path(path)
    with stored_file(path) as file:
        if "attributes" not in file:
            raise UserError(f"{path} holds one relaxed state ({kind_in(file)}), not tables: give a file of a study.")
        _check_members(file, path)
        groups = read_groups(file, [name for name in file if name not in _RESERVED])
        return Tables(kind_in(file), groups, read_attributes(child(file, "attributes")), read_provenance(file))


def member_path(folder: Path, key_json: str) -> Path:
    """Return the file of one member of a study: ``member-HASH.h5``.

    Args:
        folder: The folder of the members.
        key_json: Everything that decides the member's result (resolved configuration, seed), as JSON with sorted keys.

    Returns:
        The path; equal keys give equal paths.
    """
    return Path(folder) / f"member-{hashlib.sha256(key_json.encode()).hexdigest()[:20]}.h5"


def write_virtual(
    path: Path,
    kind: str,
    members: Sequence[Path],
    attributes: Mapping[str, Any],
    provenance: Provenance,
    *,
    groups: Groups | None = None,
    overwrite: bool = False,
) -> None:
    """Write a file that shows the arrays of all members stacked, without copying them.

    Every array that all members have with one shape and type becomes a virtual dataset with a new leading axis of
    length m; texts are copied. The members are found relative to the file: move them together.

    Args:
        path: The file.
        kind: What it holds.
        members: Files written by ``write_tables``, m of them.
        attributes: Numbers, texts and short arrays by name.
        provenance: Where it comes from.
        groups: Further arrays of the whole, by group and name, stored in the file itself.
        overwrite: Whether a file of that name may be replaced.

    Raises:
        UserError: When there is no member, one cannot be read, or the file cannot be written.
        ValueError: When a group has a name that the file needs itself, or that the members use.
    """
    path, own = Path(path), groups or {}
    if not members:
        raise UserError(f"{path} cannot be written: the study has no member yet.")
    _check_names(own)
    stacks = _common_datasets(members)
    if set(own) & {group for group, _ in stacks}:
        raise ValueError(f"groups {sorted(own)} and those of the members must have different names.")
    relative = [os.path.relpath(Path(member).absolute(), path.absolute().parent) for member in members]
    with new_file(path, kind, overwrite=overwrite) as file:
        _write(file, own, attributes, provenance)
        write_texts(file, "members", relative)
        for (group, name), (shape, dtype) in stacks.items():
            if dtype.kind == "O":
                texts = [read_tables(member).groups[group][name] for member in members]
                _write_value(file.require_group(group), name, np.array(texts))
            else:
                _write_stack(file, f"{group}/{name}", relative, shape, dtype)


def _write(file: Any, groups: Groups, attributes: Mapping[str, Any], provenance: Provenance) -> None:
    fill_tables(file, groups, attributes)
    write_provenance(file, provenance)


def fill_tables(file: Any, groups: Groups, attributes: Mapping[str, Any]) -> None:
    """Write groups of arrays and attributes into an open file."""
    write_groups(file, groups)
    write_attributes(file.create_group("attributes"), attributes)


def write_groups(parent: Any, groups: Groups) -> None:
    """Store arrays and texts by group and name under an HDF5 group."""
    for name, table in groups.items():
        group = parent.create_group(name, track_order=True)
        for key, value in table.items():
            _write_value(group, key, value)


def read_groups(parent: Any, names: Iterable[str]) -> dict[str, dict[str, np.ndarray | str]]:
    """Return what ``write_groups`` stored in the groups of these names."""
    groups = {name: child(parent, name) for name in names}
    return {name: {key: content(group, key) for key in group} for name, group in groups.items()}


def _write_value(group: Any, name: str, value: np.ndarray | str) -> None:
    if isinstance(value, str):
        write_text(group, name, value)
        return
    array = np.asarray(value)
    if array.dtype.kind in "UO":
        group.create_dataset(name, data=array.astype(object), dtype=h5py.string_dtype("utf-8"))
    else:
        group.create_dataset(name, data=array)


def _write_stack(file: Any, name: str, members: Sequence[str], shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    layout = h5py.VirtualLayout(shape=(len(members), *shape), dtype=dtype)
    for k, member in enumerate(members):
        layout[k] = h5py.VirtualSource(member, name, shape=shape, dtype=dtype)
    file.create_virtual_dataset(name, layout)


def _common_datasets(members: Sequence[Path]) -> dict[tuple[str, str], tuple[tuple[int, ...], np.dtype[Any]]]:
    """Return shape and type of every dataset that all members have alike, by group and name."""
    common = _datasets(members[0])
    for member in members[1:]:
        found = _datasets(member)
        common = {key: kind for key, kind in common.items() if found.get(key) == kind}
    return common


def _datasets(member: Path) -> dict[tuple[str, str], tuple[tuple[int, ...], np.dtype[Any]]]:
    with stored_file(Path(member)) as file:
        return {
            (group, name): (dataset.shape, dataset.dtype)
            for group, table in file.items()
            if group not in _RESERVED
            for name, dataset in table.items()
            if isinstance(dataset, h5py.Dataset)
        }


def _check_names(groups: Groups) -> None:
    taken = [name for name in (*groups, *(key for table in groups.values() for key in table)) if "/" in name]
    taken += [name for name in groups if name in _RESERVED]
    if taken:
        raise ValueError(
            f"names {taken} are not allowed: leave out '/' and do not call a group one of {', '.join(_RESERVED)}."
        )


def _check_members(file: Any, path: Path) -> None:
    """Refuse a virtual file with a missing member: HDF5 would answer with zeros."""
    names = texts(file, "members") if "members" in file else ()
    missing = [name for name in names if not (path.parent / name).is_file()]
    if missing:
        raise UserError(
            f"{path} lacks {len(missing)} of its members, such as {path.parent / missing[0]}: move them along."
        )
