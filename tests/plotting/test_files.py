"""Figures come from files, and appear under their names complete or not at all."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure

from mdsens import plotting
from mdsens.errors import UserError
from mdsens.io import StoredRun, collect, write_tables
from mdsens.plotting import figures_for, save
from mdsens.plotting.runs import run_figures

HEADS = {"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xml"}


def arrays(record: object) -> dict[str, np.ndarray]:
    return {field.name: np.asarray(getattr(record, field.name)) for field in dataclasses.fields(record)}  # type: ignore[arg-type]


def some_figure() -> Figure:
    return plotting.draw_history(np.array([2.0, 1.0]), np.array([1.0, 1e-3]), np.zeros(2, dtype=bool), minimizer="FIRE")


@pytest.mark.parametrize("format", HEADS)
def test_the_ending_chooses_the_format(format: str, tmp_path: Path) -> None:
    path = save(some_figure(), tmp_path / f"figure.{format}")
    assert path.read_bytes().startswith(HEADS[format])
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("format", HEADS)
def test_the_same_data_give_the_same_bytes(format: str, tmp_path: Path) -> None:
    first, second = (save(some_figure(), tmp_path / f"{name}.{format}") for name in "ab")
    assert first.read_bytes() == second.read_bytes()


def test_a_failing_save_leaves_the_old_figure_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "figure.png"
    path.write_bytes(b"old")

    def killed(self: Figure, name: str, **settings: object) -> None:
        Path(name).write_bytes(b"half")
        raise KeyboardInterrupt(settings)

    monkeypatch.setattr(Figure, "savefig", killed)
    with pytest.raises(KeyboardInterrupt):
        save(some_figure(), path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_unknown_ending_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"figure\.gif: end the name with one of \.png, \.pdf, \.svg"):
        save(some_figure(), tmp_path / "figure.gif")


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError):
        save(some_figure(), tmp_path / "nowhere" / "figure.png")


def test_the_caller_keeps_matplotlib_settings_and_no_window_state(tmp_path: Path) -> None:
    before = dict(matplotlib.rcParams)
    save(some_figure(), tmp_path / "figure.png")
    assert dict(matplotlib.rcParams) == before
    assert isinstance(some_figure(), Figure)


def test_a_run_gives_its_packings_history_and_table(planar_run: Path, tmp_path: Path) -> None:
    written = figures_for(planar_run, tmp_path, "svg")
    assert [path.name for path in written] == [
        "planar_packing_soft_sphere_sigma_A.svg",
        "planar_packing_soft_sphere_epsilon.svg",
        "planar_packing_box_length.svg",
        "planar_history.svg",
        "planar_observables.svg",
    ]
    assert sorted(tmp_path.iterdir()) == sorted(written)


def test_a_spatial_run_is_drawn_as_a_slab(spatial_run: StoredRun) -> None:
    slabs = [figure for name, figure in run_figures(spatial_run) if name.startswith("packing")]
    assert len(slabs) == 3
    assert all("slab" in figure.axes[0].texts[0].get_text() for figure in slabs)


def test_an_ensemble_gives_the_figures_of_the_groups_it_has(
    iterates: plotting.Iterates, sweep: plotting.Sweep, tmp_path: Path
) -> None:
    groups = {"iterates": arrays(iterates), "sweep": arrays(sweep), "starts": {"seed": np.arange(5)}}
    write_tables(tmp_path / "all.h5", "ensemble", groups, {"parameter": "soft_sphere.sigma[A]"}, collect("", "", 0, {}))
    write_tables(tmp_path / "one.h5", "ensemble", {"sweep": groups["sweep"]}, {}, collect("", "", 0, {}))
    assert [path.name for path in figures_for(tmp_path / "all.h5", tmp_path)] == ["all_iterates.png", "all_sweep.png"]
    assert [path.name for path in figures_for(tmp_path / "one.h5", tmp_path)] == ["one_sweep.png"]


def test_a_benchmark_gives_its_bars(benchmark_rows: plotting.Benchmark, tmp_path: Path) -> None:
    path = tmp_path / "speed.h5"
    write_tables(path, "benchmark", {"benchmark": arrays(benchmark_rows)}, {}, collect("", "", 0, {}))
    assert [figure.name for figure in figures_for(path, tmp_path, "pdf")] == ["speed_benchmark.pdf"]


def test_a_table_that_lacks_an_array_is_refused(sweep: plotting.Sweep, tmp_path: Path) -> None:
    table = arrays(sweep)
    del table["energy_sem"]
    write_tables(tmp_path / "cut.h5", "ensemble", {"sweep": table}, {}, collect("", "", 0, {}))
    with pytest.raises(UserError, match="'sweep' of the file lacks energy_sem"):
        figures_for(tmp_path / "cut.h5", tmp_path)


def test_a_file_with_nothing_to_draw_is_refused(tmp_path: Path) -> None:
    write_tables(tmp_path / "other.h5", "study", {"table": {"a": np.arange(3)}}, {}, collect("", "", 0, {}))
    with pytest.raises(UserError, match="without anything to draw"):
        figures_for(tmp_path / "other.h5", tmp_path)


def test_an_unknown_format_is_refused(planar_run: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="gif is not a format of figures; choose one of png, pdf, svg"):
        figures_for(planar_run, tmp_path, "gif")


def test_growth_with_size_gives_its_figures(
    relaxation_times: plotting.RelaxationTimes, response_costs: plotting.ResponseCosts, tmp_path: Path
) -> None:
    path = tmp_path / "large.h5"
    groups = {"relaxation_times": arrays(relaxation_times), "response_costs": arrays(response_costs)}
    write_tables(path, "benchmark", groups, {}, collect("", "", 0, {}))
    written = [figure.name for figure in figures_for(path, tmp_path)]
    assert written == ["large_relaxation.png", "large_response.png"]
