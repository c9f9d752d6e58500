"""What a file of ``mdsens compress`` should hold."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mdsens import io
from mdsens.jamming import followed_again
from mdsens.sweep import Record, stored_members
from mdsens.sweep.tables import unstacked
from mdsens.verification.checks import Check
from workflows.compress import STUDY, Config
from workflows.problem import build_problem
from workflows.study import Stage

_KEPT = ("verdict", "position", "box", "seconds")


def expected(stored: io.Tables, config: Config, folder: Path) -> tuple[io.Expectation, list[Check]]:
    """Return what the file should hold: its members' records, their numbers computed again at their states."""
    stage: Stage = STUDY.stages(config)["packings"]
    records = stored_members(list(stage.members), folder) or unstacked(stored.groups["packings"])
    again = [made_again(record, member) for record, member in zip(records, stage.members.values(), strict=True)]
    return io.Expectation(STUDY.leaves(config, {"packings": again}), {r"packings/seconds": "times"}), []


def made_again(record: Record, member: Config) -> Record:
    """Return the record of a packing with its numbers computed again at the states that it keeps."""
    problem = build_problem(member)
    way = {"pressure": np.array(member.compress.pressures)} | {name: record[name] for name in _KEPT}
    settings = problem.settings.allowing_rounding(problem.potential)
    return followed_again(problem.potential, problem.configuration, way, settings)
