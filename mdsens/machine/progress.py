"""Progress on the terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn


def say(sentence: str) -> None:
    """Tell something that does not stop the work."""
    print(f"mdsens: {sentence}", file=sys.stderr)


@contextmanager
def relaxation_progress() -> Iterator[Callable[[int, float], None]]:
    """Show the steps and the largest force while a relaxation runs; yields the callback for ``relax``."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, transient=True) as progress:
        task = progress.add_task("relaxing")

        def report(steps: int, largest: float) -> None:
            progress.update(task, description=f"relaxing: {steps} steps, max force {largest:.1e}")

        yield report


@contextmanager
def box_progress() -> Iterator[Callable[[int, float], None]]:
    """Show the steps of the box and the deviation of its stress; yields the callback for ``relax_at_pressure``."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, transient=True) as progress:
        task = progress.add_task("relaxing positions and box")

        def report(steps: int, error: float) -> None:
            words = f"relaxing positions and box: {steps} steps of the box, stress error {error:.1e}"
            progress.update(task, description=words)

        yield report


@contextmanager
def counting_progress(title: str, total: int) -> Iterator[Callable[[], None]]:
    """Show how many of ``total`` pieces of work are done; yields the callback to call after each."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns) as progress:
        task = progress.add_task(title, total=total)
        yield lambda: progress.advance(task)
