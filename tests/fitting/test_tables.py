"""Tables of a study of fits: histories of unequal length side by side, and records taken from them again."""

import numpy as np

from mdsens.fitting import case_records, case_tables
from mdsens.fitting.tables import padded


def record(seed, n_relaxations):
    """Return an invented record of a case whose fit took so many relaxations, and as many steps of descent less one."""
    generator = np.random.default_rng(seed)

    def history(length):
        return {"loss": generator.random(length), "values": generator.random((length, 3)), "verdict": ["ok"] * length}

    histories = {"gauss_newton": history(n_relaxations), "descent": history(n_relaxations - 1)}
    return {
        "seed": np.array(seed),
        "outcome": "converged",
        "target_position": generator.random((5, 2)),
        "fitted_position": generator.random((5, 2)),
        **{f"{name}.{key}": np.array(value) for name, table in histories.items() for key, value in table.items()},
        "structure.start": generator.random((5, 2)),
        "structure.backbone": np.ones(5, dtype=bool),
        "structure.species": np.zeros(5, dtype=int),
        "structure.species_names": np.array(["A"]),
        "structure.box": np.eye(2),
    }


def test_histories_are_padded_to_the_longest():
    np.testing.assert_array_equal(padded([np.array([1.0, 2.0]), np.array([3.0])]), [[1.0, 2.0], [3.0, np.nan]])
    assert padded([np.array(["a"]), np.array(["b", "c"])]).tolist() == [["a", ""], ["b", "c"]]
    assert padded([np.zeros((2, 3)), np.zeros((4, 3))]).shape == (2, 4, 3)


def test_records_come_back_from_their_tables():
    records = [record(4, 3), record(5, 6)]
    groups = case_tables(records)
    assert groups["gauss_newton"]["values"].shape == (2, 6, 3)
    assert groups["descent"]["loss"].shape == (2, 5)
    assert groups["structure"]["seed"] == 4
    again = case_records(groups)
    assert again[0].keys() == records[0].keys()
    for found, made in zip(again, records, strict=True):
        for name, value in found.items():
            np.testing.assert_array_equal(value, made[name], err_msg=name)
    for name, table in case_tables(again).items():
        for key, value in table.items():
            np.testing.assert_array_equal(value, groups[name][key], err_msg=f"{name}/{key}")
