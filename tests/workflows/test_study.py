"""The runner of studies: progress piece by piece, and what identifies a member."""

import contextlib
import json

import numpy as np
import pytest

from mdsens import io
from mdsens.config import load
from workflows import study
from workflows.sensitivity import Config

FILE = """
[system]
kind = "file"
path = "start.npz"

[potential]
kind = "soft_sphere"

[sensitivity]
parameters = ["soft_sphere.sigma"]
"""


@pytest.fixture
def counted(monkeypatch):
    """Total of the progress and every piece that was counted, bar by bar."""
    bars = []

    @contextlib.contextmanager
    def counting(title, total):
        bars.append([total, 0])
        yield lambda: bars[-1].__setitem__(1, bars[-1][1] + 1)

    monkeypatch.setattr(study, "counting_progress", counting)
    return bars


def test_progress_is_full_whoever_counts_the_pieces_and_whatever_was_there(counted, tmp_path):
    def work(start, done):
        for _ in range(start):  # of three pieces as many as it likes
            done()
        return {"double": np.array(2 * start)}

    provenance, members = io.collect("", "", 0, {}), {str(k): k for k in range(4)}
    for _ in range(2):  # the second time everything is there
        stage = study.Stage("doubling", members, work, n_pieces=3)
        records = stage.records(tmp_path, provenance, redo=False)
        assert [int(record["double"]) for record in records] == [0, 2, 4, 6]
    assert counted == [[12, 12], [12, 12]]


def test_seeds_count_up_and_make_other_keys(configuration):
    config = load(configuration, schema=Config, overrides=["--system.seed", "7"]).config
    members = config.seeded(3)
    assert [member.seed for member in members] == [7, 8, 9]
    assert len({member.key({"stage": "x"}) for member in members}) == 3
    assert members[0].key({"stage": "x"}) == config.key({"stage": "x"}) != config.key({"stage": "y"})
    assert json.loads(config.key({"stage": "x"}))["system"]["seed"] == 7


def test_a_start_that_changed_on_disk_makes_another_member(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file.toml").write_text(FILE)
    keys = []
    for seed in (0, 0, 1):
        position = np.random.default_rng(seed).uniform(0, 4, (16, 2))
        np.savez(tmp_path / "start.npz", position=position, box=np.array([4.0, 4.0]))
        keys.append(load(tmp_path / "file.toml", schema=Config, overrides=[]).config.key({"stage": "x"}))
    assert keys[0] == keys[1] != keys[2]
