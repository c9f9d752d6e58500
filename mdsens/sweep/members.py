"""Independent pieces of work, several at a time, each kept in a file of its own as soon as it is done."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np

from mdsens import io
from mdsens.errors import UserError

Record = Mapping[str, np.ndarray | str]
Say = Callable[[str], None]
KIND = "member"
_GROUP = "member"
_MANIFEST = "manifest.toml"
_MOST_CHANGES = 3


def default_workers() -> int:
    """Return one thread more than there are processors: one computes while another prepares its next call."""
    return (os.cpu_count() or 1) + 1


def run_members(
    keys: Sequence[str],
    work: Callable[[int], Record],
    folder: Path,
    provenance: io.Provenance,
    *,
    n_workers: int | None = None,
    redo: bool = False,
    done: Callable[[int], None] = lambda k: None,
    say: Say = lambda sentence: None,
) -> list[Record]:
    """Do every piece of work that has no file yet and return all results in order.

    A file counts when it can be read and holds the key; what is damaged or holds another is done again. Files made by
    another version of the code count and are mentioned. Several processes may work in one folder. Threads suffice
    within one: compiled code and factorisations release Python's lock.

    Args:
        keys: What identifies every member completely (configuration and seed as text); its hash names the file.
        work: Does member number k and returns its arrays.
        folder: Where the members' files live; an interrupted run finds there what it had finished.
        provenance: Written into every member's file.
        n_workers: Members at a time; ``default_workers()`` by default.
        redo: Whether all are done again.
        done: Called with the number of every member that is there, for progress.
        say: Called with a sentence about every file that does not count, and one about files of other code.

    Returns:
        The arrays of every member, in the order of the keys.

    Raises:
        UserError: When the folder cannot be made, or a file cannot be written.
    """
    make_folder(folder)
    foreign: list[str] = []

    def member(k: int) -> Record:
        path = io.member_path(folder, keys[k])
        tables = None if redo else _kept(path, keys[k], say)
        if tables is not None:
            if tables.provenance.code != provenance.code:
                foreign.append(
                    f"{tables.provenance.versions.get('mdsens', 'unknown')}, {tables.provenance.commit[:12]}"
                )
            return tables.groups[_GROUP]
        record = work(k)
        # another process may have finished the same meanwhile: the same content takes the place of its file
        io.write_tables(path, KIND, {_GROUP: record}, {"key": keys[k]}, provenance, overwrite=True)
        return record

    results: dict[int, Record] = {}
    with ThreadPoolExecutor(n_workers or default_workers()) as pool:
        futures = {pool.submit(member, k): k for k in range(len(keys))}
        try:
            for future in as_completed(futures):
                results[futures[future]] = future.result()
                done(futures[future])
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    if foreign:
        say(
            f"{len(foreign)} of {len(keys)} members in {folder} were made by other code (mdsens {foreign[0]}) and are "
            "kept; --redo makes them again."
        )
    return [results[k] for k in range(len(keys))]


def stored_members(keys: Sequence[str], folder: Path) -> list[Record] | None:
    """Return the members that a study was made from, in the order of the keys; None when the folder is not there.

    Raises:
        UserError: When a member is missing, damaged, or another's.
    """
    if not folder.is_dir():
        return None
    records = []
    for key in keys:
        path = io.member_path(folder, key)
        tables = io.read_tables(path)
        if _reason_against(tables, key):
            raise UserError(f"{path} is {_reason_against(tables, key)}: run the study again.")
        records.append(tables.groups[_GROUP])
    return records


def make_folder(folder: Path) -> None:
    """Make the folder of the members.

    Raises:
        UserError: When it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise UserError(
            f"{folder} is a file, where the folder of the members belongs: remove it or choose another output.name."
        ) from None
    except OSError as error:
        raise UserError(
            f"the folder {folder} cannot be made ({error.strerror}): name another one with -o DIR."
        ) from error


def note_manifest(folder: Path, resolved: str, say: Say) -> None:
    """Keep the configuration of a study in the folder of its members, and say how it differs from the one before.

    Members of another configuration have other names and stay; those that fit are used.
    """
    make_folder(folder)
    path = folder / _MANIFEST
    try:
        before = dict(_flat(tomllib.loads(path.read_text(encoding="utf-8")))) if path.exists() else None
    except (OSError, ValueError):
        say(f"{path} is damaged and is written anew.")
        before = None
    now = dict(_flat(tomllib.loads(resolved)))
    if before is not None and before != now:
        changes = [
            f"{key}: {before.get(key)} -> {now.get(key)}"
            for key in sorted(before.keys() | now.keys())
            if before.get(key) != now.get(key)
        ]
        more = f" and {len(changes) - _MOST_CHANGES} more" if len(changes) > _MOST_CHANGES else ""
        say(
            f"{folder} holds members of another configuration ({', '.join(changes[:_MOST_CHANGES])}{more}): those that "
            "fit are used, the others stay."
        )
    if before != now:
        io.write_plain(path, resolved)


def _flat(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", str(value)


def _kept(path: Path, key: str, say: Say) -> io.Tables | None:
    """Return a finished member; None when there is none or its file is damaged or another's, which is said."""
    if not path.exists():
        return None
    try:
        tables = io.read_tables(path)
    except UserError as error:
        say(f"a member is done again, for {error}")
        return None
    reason = _reason_against(tables, key)
    if reason:
        aside = path.with_suffix(".set_aside")
        os.replace(path, aside)
        say(f"{path} is {reason}: it is done again, and the file is set aside as {aside.name}.")
        return None
    return tables


def _reason_against(tables: io.Tables, key: str) -> str:
    if tables.kind != KIND or _GROUP not in tables.groups:
        return "no member of a study"
    return "" if tables.attributes.get("key") == key else "the file of another member"
