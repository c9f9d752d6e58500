"""Pictures of packings: every particle, contact and arrow of the record is on the page, where it belongs."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from mdsens.io import StoredRun, read_run
from mdsens.plotting import Arrows, Packing, draw_packing, draw_slab
from mdsens.plotting.arrows import MOST_ARROWS, arrow_scale, magnitude_colours, of_images, reference_magnitudes
from mdsens.plotting.geometry import contact_lines, images, mean_spacing, nearest, window, wrapped
from mdsens.plotting.labels import derivative_unit
from mdsens.plotting.stored import arrows_of, packing_of

NO_CONTACTS = {"contacts": np.zeros((0, 2), int), "bonds": np.zeros((0, 2)), "overlap": np.zeros(0)}


def artist(figure: Figure, name: str) -> Any:
    """Return the artist with the given id."""
    found = [child for axes in figure.axes for child in axes.get_children() if child.get_gid() == name]
    assert len(found) == 1, name
    return found[0]


def texts(figure: Figure) -> str:
    return "\n".join(text.get_text() for axes in figure.axes for text in axes.texts)


@pytest.fixture(scope="module")
def packing(planar_run: Path) -> Packing:
    return packing_of(read_run(planar_run))


@pytest.fixture(scope="module")
def arrows(planar_run: Path) -> Arrows:
    return arrows_of(read_run(planar_run), 0)


def test_every_disc_is_drawn_to_scale_once_inside_the_box(packing: Packing) -> None:
    assert packing.rattlers.any()
    figure = draw_packing(packing)
    position = wrapped(packing.position, packing.box)
    for name, chosen in (("discs", ~packing.rattlers), ("rattlers", packing.rattlers)):
        discs = artist(figure, name)
        first = chosen.sum()  # particles come before their images
        np.testing.assert_array_equal(discs.get_offsets()[:first], position[chosen])
        np.testing.assert_array_equal(discs.get_widths()[:first], packing.diameter[chosen])
        assert len(discs.get_widths()) == len(discs.get_offsets()) >= first
    assert artist(figure, "rattlers").get_hatch()


def test_images_differ_from_their_particles_by_lattice_vectors(packing: Packing) -> None:
    position = wrapped(packing.position, packing.box)
    who, shift = images(position, packing.diameter, packing.box, window(packing, 0.35)).T
    n = packing.n_particles
    np.testing.assert_array_equal(who[:n], np.arange(n))
    assert (shift[:n] == 0).all()
    assert (shift[n:] > 0).all()
    assert len(who) > n


def test_contact_lines_are_as_long_as_the_distance_between_touching_particles(packing: Packing) -> None:
    position = wrapped(packing.position, packing.box)
    lines, contact = contact_lines(packing, position, window(packing, 0.0))
    assert set(contact) == set(range(len(packing.contacts)))
    length = np.linalg.norm(lines[:, 1] - lines[:, 0], axis=1)
    mean_diameter = packing.diameter[packing.contacts].mean(axis=1)
    np.testing.assert_allclose(1 - length / mean_diameter[contact], packing.overlap[contact], atol=1e-12)
    assert (packing.overlap > 0).all()


def test_line_width_is_proportional_to_overlap(packing: Packing) -> None:
    packing = dataclasses.replace(packing, overlap=np.linspace(0.1, 0.2, len(packing.contacts)))
    network = artist(draw_packing(packing), "contacts")
    _, contact = contact_lines(packing, wrapped(packing.position, packing.box), window(packing, 0.35))
    np.testing.assert_allclose(network.get_linewidths() / packing.overlap[contact], 12.0)


def test_arrows_are_the_sensitivity_at_the_particles(packing: Packing, arrows: Arrows) -> None:
    quiver = artist(draw_packing(packing, arrows), "arrows")
    order = np.argsort(arrows.magnitude)
    scale = arrow_scale(arrows.magnitude, packing.diameter.mean())
    drawn = np.column_stack([quiver.U, quiver.V])
    np.testing.assert_allclose(drawn, scale(arrows.values)[order])
    np.testing.assert_allclose(np.asarray(quiver.get_array()), arrows.magnitude[order])
    np.testing.assert_array_equal(quiver.get_offsets(), wrapped(packing.position, packing.box)[order])
    assert quiver.scale == 1.0


@pytest.mark.parametrize(("largest", "exponent"), [(2.0, 1.0), (50.0, 0.5)])
def test_arrow_lengths_stay_on_the_page_and_keep_their_direction(largest: float, exponent: float) -> None:
    values = np.random.default_rng(0).normal(size=(100, 2))
    values *= np.linspace(0.5, 1.0, 100)[:, None] / np.linalg.norm(values, axis=1, keepdims=True)
    values[0] *= largest / np.linalg.norm(values[0])
    magnitude = np.linalg.norm(values, axis=1)
    scale = arrow_scale(magnitude, 1.0)
    drawn = scale(values)
    assert scale.exponent == exponent
    np.testing.assert_allclose(np.linalg.norm(drawn, axis=1), scale.factor * magnitude**exponent)
    np.testing.assert_allclose(drawn[:, 0] * values[:, 1], drawn[:, 1] * values[:, 0], atol=1e-12)
    assert np.linalg.norm(drawn, axis=1).max() <= 3.0 + 1e-12
    assert len(reference_magnitudes(magnitude, scale)) == (1 if exponent == 1 else 2)


def test_of_very_many_arrows_the_largest_are_drawn() -> None:
    generator = np.random.default_rng(0)
    n = MOST_ARROWS + 200
    position, still = generator.uniform(0, 30, (n, 2)), np.zeros(n, dtype=bool)
    packing = Packing(
        position, np.ones(n), np.zeros(n, int), ("A",), 30 * np.eye(2), **NO_CONTACTS, rattlers=still, held=still
    )
    arrows = Arrows("a.sigma", "length", generator.normal(size=(n, 2)), 1e-12, np.zeros((2, 2)))
    figure = draw_packing(packing, arrows)
    drawn = np.asarray(artist(figure, "arrows").get_array())
    np.testing.assert_array_equal(drawn, np.sort(arrows.magnitude)[-MOST_ARROWS:])
    assert f"the {MOST_ARROWS} largest arrows" in texts(figure)


def test_colours_are_logarithmic_only_for_wide_spans() -> None:
    assert magnitude_colours(np.linspace(1, 10, 50)).vmin == 0
    assert magnitude_colours(np.geomspace(1e-3, 10, 50)).vmin > 0
    assert magnitude_colours(np.zeros(3)).vmax == 1


def test_facts_on_the_page(packing: Packing, arrows: Arrows) -> None:
    written = texts(draw_packing(packing, dataclasses.replace(arrows, note="one-sided"), remarks=("a remark",)))
    for fact in ("$N$ = 64", "0.86", "soft_sphere.sigma[A]", "relative error", "one-sided", "a remark"):
        assert fact in written


def test_axes_carry_units_and_equal_scales(packing: Packing) -> None:
    axes = draw_packing(packing).axes[0]
    assert axes.get_xlabel() == r"$x$ ($\sigma$)"
    assert axes.get_ylabel() == r"$y$ ($\sigma$)"
    assert axes.get_aspect() == 1.0


def test_a_derivative_below_its_error_is_not_drawn(packing: Packing, planar_run: Path) -> None:
    rounding = arrows_of(read_run(planar_run), 1)  # a common strength moves nothing
    assert rounding.magnitude.max() < 1e-9
    figure = draw_packing(packing, rounding)
    assert not any(child.get_gid() == "arrows" for child in figure.axes[0].get_children())
    assert "not above its error" in texts(figure)


def test_box_arrows_belong_to_the_images_drawn(packing: Packing, planar_run: Path) -> None:
    """Moving a particle by a lattice vector changes nothing on the page: its dx/dL changes by that of the vector."""
    arrows = arrows_of(read_run(planar_run), 2)
    moved = np.flatnonzero(~packing.rattlers)[:5]
    position, values = packing.position.copy(), arrows.values.copy()
    position[moved] += packing.box[:, 0]
    values[moved] += arrows.box_rate[:, 0]
    elsewhere = dataclasses.replace(packing, position=position)
    drawn = of_images(arrows, packing, wrapped(packing.position, packing.box))
    again = of_images(dataclasses.replace(arrows, values=values), elsewhere, wrapped(position, packing.box))
    np.testing.assert_allclose(again.values, drawn.values, atol=1e-12)


def test_a_sheared_box_keeps_nearest_contacts() -> None:
    box = np.array([[4.0, 1.0], [0.0, 3.0]])
    inside = wrapped(np.array([[-0.5, -0.5], [9.0, 7.0]]), box)
    fractional = np.linalg.solve(box, inside.T)
    assert ((fractional >= 0) & (fractional < 1)).all()
    np.testing.assert_allclose(nearest(box[:, 1][None] + 0.1, box), [[0.1, 0.1]])


def test_a_free_cluster_has_no_box_and_no_images(packing: Packing) -> None:
    free = dataclasses.replace(packing, box=np.zeros((2, 0)), **NO_CONTACTS)
    figure = draw_packing(free)
    assert not any(child.get_gid() == "box" for child in figure.axes[0].get_children())
    assert len(artist(figure, "discs").get_offsets()) == (~free.rattlers).sum()
    assert "phi" not in texts(figure)


def test_an_unjammed_packing_is_drawn_as_rattlers_only(packing: Packing) -> None:
    loose = dataclasses.replace(packing, **NO_CONTACTS, rattlers=np.ones(packing.n_particles, dtype=bool))
    figure = draw_packing(loose)
    assert len(artist(figure, "discs").get_offsets()) == 0
    assert len(artist(figure, "rattlers").get_offsets()) >= packing.n_particles
    figure.draw_without_rendering()


def test_neighbours_that_do_not_overlap_are_joined_by_lines_of_one_width(packing: Packing) -> None:
    apart = dataclasses.replace(packing, overlap=np.linspace(-0.2, 0.1, len(packing.contacts)))
    assert len(set(artist(draw_packing(apart), "contacts").get_linewidths())) == 1


def test_a_slab_shows_the_middle_and_counts_everyone(spatial_run: StoredRun) -> None:
    packing, arrows = packing_of(spatial_run), arrows_of(spatial_run, 0)
    figure = draw_slab(packing, arrows)
    height = wrapped(packing.position, packing.box)[:, 2] - 0.5 * packing.box[2, 2]
    members = np.abs(height) <= 0.5
    assert f"{members.sum()} of 64 particles" in texts(figure)
    assert len(artist(figure, "arrows").get_offsets()) == members.sum()
    histogram = next(axes for axes in figure.axes if axes.get_ylabel() == "particles")
    edges = [np.asarray(patch.get_xy())[:, 1] for patch in histogram.patches]
    assert len(edges) == 2


def test_particles_without_diameters_are_dots_in_a_slab_of_the_mean_spacing(spatial_run: StoredRun) -> None:
    unsized = packing_of(dataclasses.replace(spatial_run, diameters=np.full(64, np.nan)))
    assert unsized.dots
    assert np.isnan(unsized.packing_fraction)
    half = 0.5 * mean_spacing(unsized.position)
    height = wrapped(unsized.position, unsized.box)[:, 2] - 0.5 * unsized.box[2, 2]
    written = texts(draw_slab(unsized))
    assert f"{np.sum(np.abs(height) <= half)} of 64 particles" in written
    assert r"\phi" not in written
    line = np.array([[0.0, 0.0], [1.0, 0.0], [2.0, 0.0], [3.0, 0.0]])
    assert 0.5 < mean_spacing(line) < 1.5


@pytest.mark.parametrize(
    ("unit", "own"),
    [
        ("length", ""),
        ("none", r"$\sigma$"),
        ("energy", r"$\sigma/\epsilon$"),
        ("1/length", r"$\sigma^{2}$"),
        ("energy/length^2", r"$\sigma^{3}/\epsilon$"),
        ("energy*length^2", r"$1/(\sigma\epsilon)$"),
    ],
)
def test_the_unit_of_a_derivative_is_a_length_over_the_parameters(unit: str, own: str) -> None:
    assert derivative_unit(unit) == own


def test_dimensions_are_not_mixed_up(packing: Packing, spatial_run: StoredRun) -> None:
    with pytest.raises(ValueError, match="use draw_slab"):
        draw_packing(packing_of(spatial_run))
    with pytest.raises(ValueError, match="use draw_packing"):
        draw_slab(packing)
