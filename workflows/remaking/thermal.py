"""What a file of ``mdsens thermal`` should hold."""

from __future__ import annotations

from pathlib import Path

from mdsens import io
from mdsens.equilibrium.samples import SERIES
from mdsens.sweep import stored_members
from mdsens.verification.checks import Check
from workflows.thermal import STUDY, Config


def expected(stored: io.Tables, config: Config, folder: Path) -> tuple[io.Expectation, list[Check]]:
    """Return what the file should hold: everything made again from the series of its members, or its own without."""
    records = stored_members(list(STUDY.stages(config)["sampling"].members), folder) or [stored.groups["series"]]
    walk = "only with the members: samples of a random walk"
    copied = {f"series/({'|'.join(SERIES)})": walk}
    return io.Expectation(STUDY.leaves(config, {"sampling": records}), {}, copied), []
