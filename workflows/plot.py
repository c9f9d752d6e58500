"""``mdsens plot FILE``: draw the figures of a results file again."""

from __future__ import annotations

import argparse

from mdsens.io import kind_of
from mdsens.plotting import figures_for
from workflows.output import announce, prepare_output


def run(arguments: argparse.Namespace) -> int:
    """Draw every figure of the file, beside it unless told otherwise."""
    kind_of(arguments.file)  # refuse a missing or foreign file before a folder is made
    folder = prepare_output(arguments.output or arguments.file.parent)
    announce(arguments.file, figures_for(arguments.file, folder, arguments.format))
    return 0
