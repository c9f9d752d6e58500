"""The folder that results go to, and what a workflow leaves there."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from mdsens.config import OutputOptions
from mdsens.errors import UserError

DEFAULT_FOLDER = Path("results")


def prepare_output(path: Path | None) -> Path:
    """Create the output folder and make sure that files can be written there.

    Args:
        path: The folder, as ``-o`` gives it; ``results`` when it is None.

    Returns:
        The folder, absolute.

    Raises:
        UserError: When the folder cannot be created or written to.
    """
    folder = (DEFAULT_FOLDER if path is None else path).expanduser().absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except (FileExistsError, NotADirectoryError):
        reason = "a file is in the way"
    except OSError as error:
        reason = error.strerror or str(error)
    raise UserError(f"the output folder {folder} cannot be written to ({reason}): name another one with -o DIR")


def draw(path: Path, folder: Path, options: OutputOptions) -> list[Path]:
    """Draw the figures of a results file from the file, unless the options say not to; return what was written."""
    if not options.figures:
        return []
    from mdsens.plotting import figures_for

    return [figure for picture_format in options.formats for figure in figures_for(path, folder, picture_format)]


def announce(path: Path, figures: Sequence[Path]) -> None:
    """Say where the results are."""
    print(f"results  {path}")
    for figure in figures:
        print(f"figure   {figure}")
