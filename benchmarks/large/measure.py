"""One measurement in a process of its own: ``python -m benchmarks.large.measure SPEC`` prints JSON.

``run_alone`` starts such a process with an empty compilation cache, so that its first call compiles everything.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.processes import environment


class MeasurementError(RuntimeError):
    """A measurement that ended without a result; the message is one line."""


def run_alone(spec: Mapping[str, Any], *, time_limit: float) -> dict[str, Any]:
    """Do one measurement in a process of its own.

    Args:
        spec: The part's name under ``part``, and what that part needs to know.
        time_limit: Most seconds.

    Returns:
        What was measured: numbers, lists of numbers and texts.

    Raises:
        MeasurementError: When the process dies, fails or takes too long.
    """
    words = [sys.executable, "-m", "benchmarks.large.measure", json.dumps(spec)]
    with tempfile.TemporaryDirectory() as cache:
        try:
            done = subprocess.run(
                words,
                capture_output=True,
                text=True,
                env=environment(JAX_COMPILATION_CACHE_DIR=cache),
                timeout=time_limit,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise MeasurementError(f"not done after {time_limit:g} s (benchmark.time_limit)") from None
    if done.returncode < 0:
        raise MeasurementError(f"killed by signal {-done.returncode}; is there enough memory?")
    if done.returncode > 0:
        raise MeasurementError((done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1])
    return dict(json.loads(done.stdout.splitlines()[-1]))


def main(words: Sequence[str]) -> int:
    """Measure what the JSON in ``words[0]`` says and print the result as JSON."""
    from workflows.cli import prepare_jax

    prepare_jax()
    from benchmarks.large.registry import PARTS

    spec = json.loads(words[0])
    print(json.dumps(PARTS[spec["part"]].measure(spec)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
