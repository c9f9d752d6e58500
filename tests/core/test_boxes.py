"""Boxes: nearest images, volumes, derivatives with image counts held, and configurations that make no sense."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mdsens.types import Configuration, FreeBox, PeriodicBox

MATRICES = {
    "square": np.diag([3.0, 3.0]),
    "rectangle": np.diag([3.0, 5.0]),
    "oblique": np.array([[4.0, 1.5], [0.0, 3.0]]),
    "rotated oblique": np.array([[3.0, 1.0], [1.0, 4.0]]),
    "cube": np.diag([3.0, 3.0, 3.0]),
    "triclinic": np.array([[4.0, 1.0, -0.7], [0.3, 4.2, 1.1], [-0.2, 0.4, 3.9]]),
}


@pytest.fixture(params=MATRICES.values(), ids=MATRICES)
def box(request):
    return PeriodicBox(request.param)


def separations(box, n=400):
    """Return random real separations, up to several boxes long."""
    fractional = np.random.default_rng(0).uniform(-2.5, 2.5, (n, box.dimension))
    return fractional @ np.asarray(box.matrix).T


def images(box):
    d = box.dimension
    counts = np.stack(np.meshgrid(*[np.arange(-4, 5)] * d, indexing="ij"), axis=-1).reshape(-1, d)
    return counts @ np.asarray(box.matrix).T


def height(box):
    return 1.0 / np.linalg.norm(np.linalg.inv(np.asarray(box.matrix)), axis=1).max()


def test_displacements_shorter_than_half_the_smallest_height_are_nearest_images(box):
    separation = separations(box)
    nearest = np.linalg.norm(separation[:, None] + images(box), axis=-1).min(axis=1)
    found = np.linalg.norm(np.asarray(box.displacement(jnp.asarray(separation))), axis=1)
    within = nearest < 0.5 * height(box)
    assert within.sum() > 20
    np.testing.assert_allclose(found[within], nearest[within], atol=1e-12)
    assert np.all(found[~within] >= 0.5 * height(box) - 1e-12)  # none is mistaken for an interacting pair


def test_displacements_differ_from_separations_by_lattice_vectors(box):
    separation = separations(box)
    displacement = np.asarray(box.displacement(jnp.asarray(separation)))
    counts = (separation - displacement) @ np.linalg.inv(np.asarray(box.matrix)).T
    np.testing.assert_allclose(counts, np.round(counts), atol=1e-12)


def test_volume_and_length(box):
    volume = np.linalg.det(np.asarray(box.matrix))
    assert float(box.volume) == pytest.approx(volume, rel=1e-14)
    assert float(box.length) == pytest.approx(volume ** (1 / box.dimension), rel=1e-14)


def test_wrapping_moves_into_the_box_by_lattice_vectors(box):
    position = jnp.asarray(separations(box, 50))
    wrapped = box.wrap(position)
    inverse = np.linalg.inv(np.asarray(box.matrix)).T
    fractional = np.asarray(wrapped) @ inverse
    assert fractional.min() > -1e-12
    assert fractional.max() < 1 + 1e-12
    counts = np.asarray(position - wrapped) @ inverse
    np.testing.assert_allclose(counts, np.round(counts), atol=1e-12)


def test_the_derivative_in_the_box_holds_image_counts_and_real_positions(box):
    separation = jnp.asarray(separations(box, 30))
    direction = jnp.asarray(np.random.default_rng(1).standard_normal(box.matrix.shape))
    displacement = lambda matrix: PeriodicBox(matrix).displacement(separation)  # noqa: E731
    slope = jax.jvp(displacement, (box.matrix,), (direction,))[1]
    counts = np.round((separation - displacement(box.matrix)) @ np.linalg.inv(np.asarray(box.matrix)).T)
    np.testing.assert_allclose(slope, -counts @ np.asarray(direction).T, atol=1e-12)
    step = 1e-7  # linear in the matrix while counts are held, so only rounding is left
    difference = (displacement(box.matrix + step * direction) - displacement(box.matrix - step * direction)) / (
        2 * step
    )
    np.testing.assert_allclose(slope, difference, atol=1e-7)


def test_a_free_box_leaves_separations_alone():
    separation = jnp.array([[5.0, -7.0, 11.0]])
    np.testing.assert_array_equal(FreeBox(3).displacement(separation), separation)
    assert FreeBox(3).dimension == 3


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (np.diag([1.0, -1.0]), "determinant -1"),
        (np.zeros((2, 2)), "determinant 0"),
        (np.full((2, 2), np.nan), "every entry must be finite"),
        (np.eye(4), r"\(4, 4\)"),
        (np.ones(2), r"\(2,\)"),
    ],
)
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_boxes_without_volume_are_refused(matrix, message):
    from mdsens.types import PeriodicBox as Checked

    with pytest.raises((ValueError, TypeError), match=message):
        Checked(matrix)


def test_positions_must_be_finite():
    position = jnp.zeros((3, 2)).at[1, 0].set(jnp.nan)
    with pytest.raises(ValueError, match="particle 1"):
        Configuration(position, jnp.zeros(3, int), FreeBox(2))


@pytest.mark.parametrize("species", [[0, 1, 0], [0, -1, 0]])
def test_every_species_needs_a_name(species):
    with pytest.raises(ValueError, match="one per name"):
        Configuration(jnp.zeros((3, 2)), jnp.array(species), FreeBox(2))


def test_positions_must_have_the_dimension_of_the_box():
    with pytest.raises((ValueError, TypeError), match=r"\(3, 3\)|n, 2|position"):
        Configuration(jnp.zeros((3, 3)), jnp.zeros(3, int), FreeBox(2))
