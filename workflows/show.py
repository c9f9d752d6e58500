"""``mdsens show FILE``: summarise a results file."""

from __future__ import annotations

import argparse

from mdsens import io


def run(arguments: argparse.Namespace) -> int:
    """Print the summary."""
    print(io.summary(arguments.file))
    return 0
