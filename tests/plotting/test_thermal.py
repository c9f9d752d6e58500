"""The figure of thermal convergence, from made-up series."""

import dataclasses

import numpy as np
import pytest
from matplotlib.figure import Figure

from mdsens.io import collect, write_tables
from mdsens.plotting.files import figures_for
from mdsens.plotting.thermal import Convergence, draw_convergence, quantity_symbol


@pytest.fixture
def convergence():
    generator = np.random.default_rng(0)
    time = np.linspace(0.1, 10, 50)
    replicas = generator.standard_normal((8, 3, 50)) / np.sqrt(time)
    return Convergence(
        observable=np.array(["pressure"] * 4 + ["energy_per_particle"] * 4),
        parameter=np.array(["", "soft_sphere.sigma[A,B]", "soft_sphere.epsilon", "box.length"] * 2),
        time=time,
        running=replicas.mean(axis=1),
        band=np.ones((8, 1)) * 0.1 * np.sqrt(10 / time),
        replicas=replicas,
        block_time=np.array([0.1, 0.2, 0.4]),
        block_error=np.full((8, 3), 0.1),
        block_spread=np.full((8, 3), 0.01),
        error=np.full(8, 0.1),
        correlated=np.full(8, 0.2),
    )


def test_six_quantities_are_drawn_averages_before_derivatives(convergence):
    figure = draw_convergence(convergence)
    assert isinstance(figure, Figure)
    labels = [axes.get_ylabel() for axes in figure.axes[::2]]
    assert len(labels) == 6
    assert labels[:2] == [r"$\langle P\rangle$", r"$\langle U/N\rangle$"]
    assert labels[2] == r"$\partial \langle P\rangle/\partial \sigma_{AB}$"
    lines = [line for line in figure.axes[0].lines if line.get_gid() == "replica"]
    assert len(lines) == 3
    running = next(line for line in figure.axes[0].lines if line.get_gid() == "running")
    np.testing.assert_array_equal(running.get_ydata(), convergence.running[0])


def test_unknown_names_are_written_out():
    assert (
        quantity_symbol("my_number", "trap.k") == r"$\partial \langle \mathrm{my\ number}\rangle/\partial \mathrm{k}$"
    )
    assert quantity_symbol("stress[0,1]", "") == r"$\langle \sigma_{xy}\rangle$"
    assert quantity_symbol("energy", "box.length") == r"$\partial \langle U\rangle/\partial L$"


def test_the_figure_comes_from_the_file(convergence, tmp_path):
    groups = {"convergence": dataclasses.asdict(convergence)}
    write_tables(tmp_path / "thermal.h5", "thermal", groups, {}, collect("", "", 0, {}))
    written = figures_for(tmp_path / "thermal.h5", tmp_path, "png")
    assert [path.name for path in written] == ["thermal_convergence.png"]
