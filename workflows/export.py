"""``mdsens export FILE --to extxyz|gsd``: write a results file for a viewer."""

from __future__ import annotations

import argparse

from mdsens import io


def run(arguments: argparse.Namespace) -> int:
    """Export and say where."""
    output = arguments.output or arguments.file.with_suffix(f".{arguments.to}")
    if arguments.to == "gsd":
        io.export_gsd(arguments.file, output)
    else:
        io.export_extxyz(arguments.file, output, arguments.parameter)
    print(f"written  {output}")
    return 0
