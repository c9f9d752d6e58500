"""What a file of ``mdsens ensemble`` should hold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from mdsens import io
from mdsens.jamming.experiment import start_state, sweep_state
from mdsens.relaxation import Relaxation
from mdsens.sweep import Record, stored_members
from mdsens.sweep.tables import unstacked
from mdsens.verification.checks import Check
from workflows.ensemble import STUDY, Config
from workflows.problem import build_problem

_UNVERIFIED = {r"starts/seconds": "times", r"starts/max_force": "residuals, which are rounding"}
_COPIED = {
    r"starts/(n_steps|.*_error|iterate_.*|.*licit_l1|unrolled_l1|difference_step)|(iterates|who_is_right)/.*": (
        "only with the members: the way of the minimiser, and errors at rounding"
    ),
}
_WAY = ("n_steps", "seconds", "max_force")


def expected(stored: io.Tables, config: Config, folder: Path) -> tuple[io.Expectation, list[Check]]:
    """Return what the file should hold: its members' records, their numbers computed again at their positions."""
    members = {name: stage.members for name, stage in STUDY.stages(config).items()}
    kept = {name: stored_members(list(keys), folder) for name, keys in members.items()}
    unverified, starts = dict(_UNVERIFIED), kept["starts"] or unstacked(stored.groups["starts"])
    records = {"starts": again(config, starts, [*members["starts"].values()], start_state)}
    if kept.get("sweep"):
        records["sweep"] = again(config, kept["sweep"] or [], [*members["sweep"].values()], sweep_state)
    elif "sweep" in members:
        unverified[r"sweep/.*"] = "its members are not beside the file"
    errors = np.stack(
        [np.asarray(record["certified_error"]) * np.linalg.norm(record["sensitivity"]) for record in records["starts"]]
    )
    own = {"starts/sensitivity": errors[:, None, None]}
    return io.Expectation(STUDY.leaves(config, records), unverified, _COPIED, own), []


def again(
    config: Config, records: Sequence[Record], members: Sequence[Config], at: Callable[[Relaxation, str], Record]
) -> list[Record]:
    """Return records with everything computed again at their positions that does not belong to the way there."""
    found: list[Record] = []
    for record, member in zip(records, members, strict=True):
        now = at(build_problem(member).judged_at(np.asarray(record["position"])), config.ensemble.parameter)
        found.append({**record, **now, **{name: record[name] for name in _WAY}})
    return found
