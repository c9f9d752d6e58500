"""``python -m benchmarks measure CONFIG.toml``, in the checkout: measure beside peers and print the table."""

import sys

from workflows.cli import Command, Program, declare_study, main

BENCHMARKS = Program(
    "benchmarks",
    "Accuracy and speed, measured beside other programs.",
    {"measure": Command("measure accuracy and speed, and print the table", declare_study)},
)

if __name__ == "__main__":
    sys.exit(main(None, BENCHMARKS))
