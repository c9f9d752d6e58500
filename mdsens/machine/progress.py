"""Progress in terminals and notebooks; elsewhere nothing is shown."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

_PATIENCE = 1.0  # seconds after which work is long


def say(sentence: str) -> None:
    """Tell something that does not stop the work."""
    print(f"mdsens: {sentence}", file=sys.stderr)


@contextmanager
def relaxation_progress() -> Iterator[Callable[[int, float], None]]:
    """Show the steps and the largest force while a relaxation runs; yields the callback for ``relax``."""
    with _in_words("relaxing: {} steps, max force {:.1e}") as report:
        yield report


@contextmanager
def box_progress() -> Iterator[Callable[[int, float], None]]:
    """Show the steps of the box and the deviation of its stress; yields the callback for ``relax_at_pressure``."""
    with _in_words("relaxing positions and box: {} steps of the box, stress error {:.1e}") as report:
        yield report


@contextmanager
def counting_progress(title: str, total: int) -> Iterator[Callable[[], None]]:
    """Show how many of ``total`` pieces of work are done; yields the callback to call after each."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns) as progress:
        task = progress.add_task(title, total=total)
        yield lambda: progress.advance(task)


@contextmanager
def _in_words(sentence: str) -> Iterator[Callable[[int, float], None]]:
    """Yield a callback that shows two numbers in a sentence, once the work has taken long."""
    console, begun = Console(), time.monotonic()
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    progress = Progress(*columns, transient=True, console=console)
    task = progress.add_task("")

    def report(count: int, value: float) -> None:
        if not (console.is_terminal or console.is_jupyter) or time.monotonic() - begun < _PATIENCE:
            return
        progress.start()
        progress.update(task, description=sentence.format(count, value))

    try:
        yield report
    finally:
        if progress.live.is_started:
            progress.stop()
