"""``mdsens relax CONFIG.toml``: relax one system and save it."""

from __future__ import annotations

from mdsens.config import OutputOptions
from workflows.state import StateSections, Workflow, nothing_asked


class Config(StateSections):
    """The whole file."""

    output: OutputOptions = OutputOptions(name="relax")


WORKFLOW = Workflow("relax", Config, answer=lambda found, config: nothing_asked(found))
run = WORKFLOW.run
