"""From a results file to its figures."""

from __future__ import annotations

from pathlib import Path

from mdsens.errors import UserError
from mdsens.io import fitting_together, kind_of, read_run, read_tables
from mdsens.plotting.runs import run_figures
from mdsens.plotting.style import FORMATS, save
from mdsens.plotting.tables import table_figures


def figures_for(path: Path, output_folder: Path, format: str = "png") -> list[Path]:
    """Draw every figure of a results file, from the file alone.

    A run gives its packing with the arrows of dx/dp (of the four parameters with the largest response), its history,
    the table of its observables' derivatives and, from eight parameters on, singular values; an ensemble its iterates
    and its sweep; a fit its losses, its parameters' errors and its structures; a benchmark its bars and how times and
    memory grow with size; the paper's claims one figure per problem.

    Args:
        path: The results file.
        output_folder: Where the figures go; it must exist.
        format: "png", "pdf" or "svg".

    Returns:
        The figures written, named ``<file>_<figure>.<format>``.

    Raises:
        UserError: When the file cannot be read, holds nothing that can be drawn, or the figures cannot be written.
    """
    path = Path(path)
    if format not in FORMATS:
        raise UserError(f"{format} is not a format of figures; choose one of {', '.join(FORMATS)}.")
    with fitting_together(path):
        named = run_figures(read_run(path)) if kind_of(path) == "run" else table_figures(read_tables(path))
        written = [save(figure, Path(output_folder) / f"{path.stem}_{name}.{format}") for name, figure in named]
    if not written:
        raise UserError(f"{path} holds {kind_of(path)!r} results without anything to draw: give a run or a study.")
    return written
