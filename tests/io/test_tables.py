import json
import os
from pathlib import Path

import h5py
import numpy as np
import pytest

from mdsens.errors import UserError
from mdsens.io import (
    Provenance,
    kind_of,
    member_path,
    read_run,
    read_tables,
    summary,
    write_tables,
    write_virtual,
)

GROUPS = {
    "starts": {
        "norm": np.array([1.0, np.nan, 3.0]),
        "jammed": np.array([True, False, True]),
        "verdict": np.array(["converged", "unjammed", "größer"]),
        "count": np.arange(3),
        "empty": np.zeros((0, 2)),
        "note": "two\nlines",
    },
    "curve": {"theta": np.linspace(0.4, 1.0, 10)},
}
ATTRIBUTES = {"n": 3, "phi": 0.98, "name": "seed", "jammed": True, "list": np.array([1.0, 2.0])}


def test_tables_come_back_whole_and_in_order(tmp_path: Path, provenance: Provenance) -> None:
    path = tmp_path / "ensemble.h5"
    write_tables(path, "ensemble", GROUPS, ATTRIBUTES, provenance)
    found = read_tables(path)
    assert kind_of(path) == found.kind == "ensemble"
    assert found.provenance == provenance
    assert [list(table) for table in found.groups.values()] == [list(table) for table in GROUPS.values()]
    for group, table in GROUPS.items():
        for name, value in table.items():
            np.testing.assert_array_equal(found.groups[group][name], value)
    assert found.attributes.keys() == ATTRIBUTES.keys()
    assert all(np.array_equal(found.attributes[name], value) for name, value in ATTRIBUTES.items())


def test_summary_of_tables_names_kind_groups_and_ranges(tmp_path: Path, provenance: Provenance) -> None:
    path = tmp_path / "ensemble.h5"
    write_tables(path, "ensemble", GROUPS, ATTRIBUTES, provenance)
    text = summary(path)
    for part in ("ensemble", "starts", "converged, unjammed, größer", "0.4 to 1, mean 0.7", "two ...", "Provenance"):
        assert part in text, part


def test_runs_and_tables_are_not_taken_for_each_other(stored: Path, provenance: Provenance) -> None:
    with pytest.raises(UserError, match="holds one relaxed state"):
        read_tables(stored)
    path = stored.with_name("benchmark.h5")
    write_tables(path, "benchmark", GROUPS, {}, provenance)
    with pytest.raises(UserError, match="holds the results of 'benchmark'"):
        read_run(path)


@pytest.mark.parametrize("name", ["provenance", "a/b"])
def test_a_reserved_group_name_is_refused(name: str, tmp_path: Path, provenance: Provenance) -> None:
    with pytest.raises(ValueError, match="not allowed"):
        write_tables(tmp_path / "x.h5", "ensemble", {name: {}}, {}, provenance)


def test_members_are_named_by_their_key(tmp_path: Path) -> None:
    key = json.dumps({"seed": 1, "theta": 0.6}, sort_keys=True)
    assert member_path(tmp_path, key) == member_path(tmp_path, key)
    assert member_path(tmp_path, key) != member_path(tmp_path, key.replace("1", "2"))
    assert member_path(tmp_path, key).parent == tmp_path


@pytest.fixture
def study(tmp_path: Path, provenance: Provenance) -> Path:
    """Three members in a folder, and a virtual file beside it."""
    folder = tmp_path / "members"
    folder.mkdir()
    members = [member_path(folder, str(seed)) for seed in range(3)]
    for seed, member in enumerate(members):
        table = {
            "energy": np.array(0.5 * seed),
            "position": np.full((4, 2), float(seed)),
            "verdict": f"verdict {seed}",
            "uneven": np.zeros(seed),
        }
        write_tables(member, "member", {"state": table}, {"seed": seed}, provenance)
    path = tmp_path / "study.h5"
    write_virtual(path, "ensemble", members, {"n": 3}, provenance, groups={"whole": {"mean": np.array(0.5)}})
    return path


def test_a_virtual_file_shows_the_members_stacked(
    study: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))  # members are found from the file, not from here
    found = read_tables(study)
    state = found.groups["state"]
    np.testing.assert_array_equal(state["energy"], [0.0, 0.5, 1.0])
    np.testing.assert_array_equal(np.asarray(state["position"])[:, 0, 0], [0.0, 1.0, 2.0])
    assert list(state["verdict"]) == ["verdict 0", "verdict 1", "verdict 2"]
    assert "uneven" not in state
    np.testing.assert_array_equal(found.groups["whole"]["mean"], 0.5)
    with h5py.File(study) as file:
        assert file["state/position"].is_virtual


def test_a_virtual_file_moves_with_its_members(study: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    there = tmp_path_factory.mktemp("moved") / "all"
    os.rename(study.parent, there)
    np.testing.assert_array_equal(read_tables(there / study.name).groups["state"]["energy"], [0.0, 0.5, 1.0])


def test_a_missing_member_is_an_error_and_not_zeros(study: Path) -> None:
    next((study.parent / "members").iterdir()).unlink()
    with pytest.raises(UserError, match="lacks 1 of its members"):
        read_tables(study)


def test_a_study_without_members_is_refused(tmp_path: Path, provenance: Provenance) -> None:
    with pytest.raises(UserError, match="no member"):
        write_virtual(tmp_path / "x.h5", "ensemble", [], {}, provenance)
