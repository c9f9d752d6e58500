"""Members run in parallel, keep their order, and are done once."""

import dataclasses
import threading
import tomllib

import numpy as np
import pytest

from mdsens import io
from mdsens.errors import UserError
from mdsens.sweep import note_manifest, run_members
from mdsens.sweep.tables import stacked

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
    run_members(KEYS, record, tmp_path, provenance, done=told.append)
    run_members(KEYS, record, tmp_path, provenance, done=told.append)
    assert sorted(told) == sorted(2 * [*range(len(KEYS))])


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


DAMAGES = {
    "cut short": lambda path, other: path.write_bytes(path.read_bytes()[:100]),
    "empty": lambda path, other: path.write_bytes(b""),
    "no file of ours": lambda path, other: path.write_text("not HDF5"),
    "another's": lambda path, other: path.write_bytes(other.read_bytes()),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_member_that_is_damaged_or_anothers_is_done_again_and_said(tmp_path, provenance, damage):
    run_members(KEYS[:2], record, tmp_path, provenance)
    path, other = (io.member_path(tmp_path, key) for key in KEYS[:2])
    damage(path, other)
    done, said = [], []

    def work(k):
        done.append(k)
        return record(k)

    found = run_members(KEYS[:2], work, tmp_path, provenance, say=said.append)
    assert done == [0]
    assert [float(member["square"]) for member in found] == [0.0, 1.0]
    assert len(said) == 1
    assert path.name in said[0]
    assert io.read_tables(path).attributes["key"] == KEYS[0]


def test_anothers_member_is_set_aside_and_not_lost(tmp_path, provenance):
    run_members(KEYS[:2], record, tmp_path, provenance)
    path, other = (io.member_path(tmp_path, key) for key in KEYS[:2])
    path.write_bytes(other.read_bytes())
    run_members(KEYS[:2], record, tmp_path, provenance)
    assert path.with_suffix(".set_aside").read_bytes() == other.read_bytes()


def test_members_of_other_code_are_kept_and_said_and_done_again_on_request(tmp_path, provenance):
    older = dataclasses.replace(provenance, code="0123456789abcdef", commit="f" * 40)
    run_members(KEYS[:2], record, tmp_path, older)
    said, done = [], []

    def work(k):
        done.append(k)
        return record(k)

    run_members(KEYS[:2], work, tmp_path, provenance, say=said.append)
    assert not done
    assert len(said) == 1
    assert "ffffffffffff" in said[0]
    assert "--redo" in said[0]
    run_members(KEYS[:2], work, tmp_path, provenance, redo=True, say=said.append)
    assert sorted(done) == [0, 1]
    assert len(said) == 1
    assert io.read_tables(io.member_path(tmp_path, KEYS[0])).provenance.code == provenance.code


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path, provenance):
    (tmp_path / "members").touch()
    with pytest.raises(UserError, match="is a file, where the folder of the members belongs"):
        run_members(KEYS, record, tmp_path / "members", provenance)


def test_two_processes_in_one_folder_end_with_the_same_members(tmp_path, provenance):
    def work(k):  # the other process writes the same member while this one is at work
        io.write_tables(
            io.member_path(tmp_path, KEYS[k]), "member", {"member": record(k)}, {"key": KEYS[k]}, provenance
        )
        return record(k)

    found = run_members(KEYS, work, tmp_path, provenance)
    assert [float(member["square"]) for member in found] == [0.0, 1.0, 4.0, 9.0, 16.0, 25.0]
    assert len(list(tmp_path.iterdir())) == len(KEYS)


def test_a_study_of_another_configuration_in_the_same_folder_is_said(tmp_path):
    said = []
    note_manifest(tmp_path, "[system]\nn = 24\n", said.append)
    note_manifest(tmp_path, "[system]\nn = 24\n", said.append)
    assert not said
    note_manifest(tmp_path, "[system]\nn = 32\n", said.append)
    assert len(said) == 1
    assert "system.n: 24 -> 32" in said[0]
    assert tomllib.loads((tmp_path / "manifest.toml").read_text()) == {"system": {"n": 32}}


def test_members_that_do_not_fit_together_are_refused():
    with pytest.raises(UserError, match="member 1 holds other arrays"):
        stacked([record(0), {"verdict": "converged"}])
