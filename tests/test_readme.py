"""Every Python example of the README runs, one after the other as a reader would, and is as short as it looks."""

import re
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

ROOT = Path(__file__).parents[1]
BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
NAMES = {"__name__": "readme"}


def lines(block):
    return [line for line in block.splitlines() if line.strip()]


def test_the_main_job_takes_eight_lines_and_one_import():
    main = lines(BLOCKS[0])
    assert len(main) <= 8
    assert [line for line in main if "import" in line] == ["import mdsens as md"]
    assert all(len(lines(block)) <= 12 for block in BLOCKS[1:])


@pytest.mark.parametrize("block", BLOCKS, ids=[f"{k}: {lines(block)[-1][:40]}" for k, block in enumerate(BLOCKS)])
def test_an_example_runs(block, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(block, "README.md", "exec"), NAMES)
    plt.close("all")


def test_its_pictures_are_there():
    for name in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", (ROOT / "README.md").read_text()):
        assert (ROOT / name).stat().st_size > 10_000
