"""Members run in parallel, keep their order, and are done once."""

import threading

import numpy as np
import pytest

from mdsens import io
from mdsens.errors import UserError
from mdsens.sweep import run_members

KEYS = [f"member {k}" for k in range(6)]


@pytest.fixture
def provenance():
    return io.collect("text", "resolved", 0, {})


def record(k):
    return {"verdict": "converged", "square": np.array(float(k * k)), "field": np.full((2, 3), k)}


def test_results_come_in_the_order_of_the_keys_however_they_finish(tmp_path, provenance):
    last_done = threading.Event()

    def work(k):
        if k == len(KEYS) - 1:
            last_done.set()
        elif k == 0:
            assert last_done.wait(30)  # the first member finishes after the last has begun
        return record(k)

    found = run_members(KEYS, work, tmp_path / "members", provenance, n_workers=2)
    assert [float(member["square"]) for member in found] == [0.0, 1.0, 4.0, 9.0, 16.0, 25.0]


def test_as_many_members_at_a_time_as_asked_for(tmp_path, provenance):
    together = threading.Barrier(3)

    def work(k):
        together.wait(30)  # broken unless three are at work
        return record(k)

    run_members(KEYS, work, tmp_path, provenance, n_workers=3)


def test_progress_is_told_once_per_member(tmp_path, provenance):
    told = []
    run_members(KEYS, record, tmp_path, provenance, done=lambda: told.append(1))
    run_members(KEYS, record, tmp_path, provenance, done=lambda: told.append(1))
    assert len(told) == 2 * len(KEYS)


def test_finished_members_are_read_not_done_again(tmp_path, provenance):
    first = run_members(KEYS[:4], record, tmp_path, provenance)
    done = []

    def work(k):
        done.append(k)
        return record(k)

    second = run_members(KEYS, work, tmp_path, provenance)
    assert sorted(done) == [4, 5]
    for before, after in zip(first, second[:4], strict=True):
        assert before.keys() == after.keys()
        assert after["verdict"] == "converged"
        np.testing.assert_array_equal(before["field"], after["field"])


def test_a_failure_keeps_what_was_finished_and_leaves_no_half_written_member(tmp_path, provenance):
    def work(k):
        if k == 3:
            raise RuntimeError("the third fails")
        return record(k)

    with pytest.raises(RuntimeError, match="the third fails"):
        run_members(KEYS, work, tmp_path, provenance, n_workers=1)
    kept = set(tmp_path.iterdir())
    assert {io.member_path(tmp_path, key) for key in KEYS[:3]} <= kept
    assert kept <= {io.member_path(tmp_path, key) for key in KEYS if key != KEYS[3]}  # and nothing temporary
    assert all(io.read_tables(path).groups["member"]["verdict"] == "converged" for path in kept)
    found = run_members(KEYS, record, tmp_path, provenance)
    assert [float(member["square"]) for member in found] == [0.0, 1.0, 4.0, 9.0, 16.0, 25.0]


def test_another_key_is_another_member(tmp_path, provenance):
    run_members(KEYS[:1], record, tmp_path, provenance)
    (found,) = run_members(["another"], lambda k: record(9), tmp_path, provenance)
    assert float(found["square"]) == 81.0
    assert len(list(tmp_path.iterdir())) == 2


def test_a_damaged_member_is_named(tmp_path, provenance):
    run_members(KEYS[:1], record, tmp_path, provenance)
    path = io.member_path(tmp_path, KEYS[0])
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UserError, match=path.name):
        run_members(KEYS[:1], record, tmp_path, provenance)
