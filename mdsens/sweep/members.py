"""Independent pieces of work, several at a time, each kept in a file of its own as soon as it is done."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import numpy as np

from mdsens import io

Record = Mapping[str, np.ndarray | str]
_GROUP = "member"


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
    done: Callable[[], None] = lambda: None,
) -> list[Record]:
    """Do every piece of work that has no file yet and return all results in order.

    Threads suffice: compiled code and factorisations release Python's lock.

    Args:
        keys: What identifies every member completely (configuration and seed as text); its hash names the file.
        work: Does member number k and returns its arrays.
        folder: Where the members' files live; an interrupted run finds there what it had finished.
        provenance: Written into every member's file.
        n_workers: Members at a time; ``default_workers()`` by default.
        done: Called after every member, for progress.

    Returns:
        The arrays of every member, in the order of the keys.
    """
    folder.mkdir(parents=True, exist_ok=True)

    def member(k: int) -> Record:
        path = io.member_path(folder, keys[k])
        if not path.exists():
            record = work(k)
            io.write_tables(path, "member", {_GROUP: record}, {"key": keys[k]}, provenance)
            return record
        return io.read_tables(path).groups[_GROUP]

    results: dict[int, Record] = {}
    with ThreadPoolExecutor(n_workers or default_workers()) as pool:
        futures = {pool.submit(member, k): k for k in range(len(keys))}
        try:
            for future in as_completed(futures):
                results[futures[future]] = future.result()
                done()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return [results[k] for k in range(len(keys))]
