"""The figure of exponents: fitted and other points apart, laws with their numbers."""

import dataclasses

import numpy as np
import pytest

from mdsens.plotting.jamming import Compression, Exponents, draw_compression


@pytest.fixture
def compression():
    x = np.geomspace(1e-4, 1e-2, 5)
    ratio = x**0.5
    ratio[0] = -0.001
    return Compression(0.3 * x, x, 0.01 * x, 4 * x**0.5, 0.1 * x**0.5, ratio, 0.1 * x**0.5, np.arange(5) > 0)


@pytest.fixture
def exponents():
    names = np.array(["excess_contacts", "modulus_ratio", "pressure", "bulk_modulus"])
    values = np.array([0.5, 0.512, 1.0, 0.1])
    return Exponents(names, values, np.full(4, 0.012), np.array([4.0, 1.0, 0.3, 0.3]), np.array([0.5, 0.5, 1, 0]))


def test_three_panels_show_points_and_their_laws(compression, exponents):
    figure = draw_compression(compression, exponents, ensemble="24 packings")
    assert [axes.get_ylabel()[:4] for axes in figure.axes] == ["$Z -", "$G/B", "$P$ "]
    for axes in figure.axes:
        assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    legend = [text.get_text() for text in figure.axes[1].get_legend().get_texts()]
    assert legend == [r"$0.512 \pm 0.012$", "0.5"]
    assert any(text.get_text() == "24 packings" for text in figure.axes[0].texts)


def test_the_law_spans_the_fitted_points_only(compression, exponents):
    figure = draw_compression(compression, exponents)
    for axes in figure.axes:
        (law,) = [line for line in axes.get_lines() if line.get_gid() == "law"]
        np.testing.assert_allclose(law.get_xdata(), compression.excess_fraction_mean[[1, -1]])
    np.testing.assert_allclose(law.get_ydata(), compression.pressure[[1, -1]])


def test_a_mean_that_is_not_positive_is_left_out(compression, exponents):
    contacts, ratio, _ = draw_compression(compression, exponents).axes
    assert [len(container.lines[0].get_xdata()) for container in contacts.containers] == [4, 1]
    assert [len(container.lines[0].get_xdata()) for container in ratio.containers] == [4]


def test_an_ensemble_without_answers_is_drawn_as_such(compression, exponents):
    nothing = {name: np.full(5, np.nan) for name in vars(compression) if name.endswith(("_mean", "_sem"))}
    laws = dataclasses.replace(exponents, exponent=np.full(4, np.nan))
    figure = draw_compression(dataclasses.replace(compression, **nothing), laws)
    assert [axes.texts[0].get_text() for axes in figure.axes] == ["no answer"] * 3
    figure.canvas.draw()
