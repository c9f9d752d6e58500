"""Tables of a study: what is stacked can be taken apart again."""

import numpy as np

from mdsens.sweep.tables import stacked, unstacked


def test_records_come_back_from_their_table():
    records = [{"verdict": word, "energy": np.array(k), "position": np.full((3, 2), k)} for k, word in enumerate("ab")]
    again = unstacked(stacked(records))
    assert [record["verdict"] for record in again] == ["a", "b"]
    assert [float(record["energy"]) for record in again] == [0.0, 1.0]
    np.testing.assert_array_equal(again[1]["position"], records[1]["position"])
