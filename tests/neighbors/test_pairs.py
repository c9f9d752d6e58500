"""Pair lists against brute force."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mdsens.errors import UserError
from mdsens.neighbors import (
    SMALL,
    Grid,
    check_range,
    compiled_pairs,
    every_pair,
    grid_for,
    in_order,
    layers_within,
    neighbor_pairs,
    no_pairs,
    padded_pairs,
    pair_distances,
    smallest_height,
    spatial_order,
    standard_capacity,
)
from mdsens.types import Configuration, FreeBox, PeriodicBox

BOXES = {
    "free 2D": FreeBox(2),
    "free 3D": FreeBox(3),
    "square": PeriodicBox(np.diag([5.0, 5.0])),
    "rectangle": PeriodicBox(np.diag([5.0, 7.0])),
    "cube": PeriodicBox(np.diag([5.0, 5.0, 5.0])),
    "oblique": PeriodicBox(np.array([[5.0, 2.0], [0.0, 5.0]])),
    "rotated oblique": PeriodicBox(np.array([[5.0, 1.0], [-0.5, 5.0]])),
    "triclinic": PeriodicBox(np.array([[5.0, 1.0, 0.3], [0.2, 5.0, 0.7], [0.1, -0.6, 5.0]])),
    "strip": PeriodicBox(np.array([[5.0, 1.0], [0.0, 0.5]]), (True, False)),
    "slab": PeriodicBox(np.array([[5.0, 1.0, 0.3], [0.2, 5.0, 0.7], [0.1, -0.6, 1.0]]), (True, True, False)),
    "wire": PeriodicBox(np.array([[2.0, 1.0, 0.3], [0.2, 5.0, 0.7], [0.1, -0.6, 5.0]]), (False, True, False)),
}


@pytest.fixture(params=BOXES.values(), ids=BOXES)
def box(request):
    return request.param


def positions(box, n=40):
    return np.random.default_rng(0).uniform(-3.0, 9.0, (n, box.dimension))


def brute_force(position, box, reach):
    """Return every (i, j, S) with a vector x_i - x_j - B S shorter than the reach, of each and its opposite one."""
    d, matrix = (
        box.dimension,
        np.asarray(box.matrix) if isinstance(box, PeriodicBox) else np.zeros((box.dimension,) * 2),
    )
    most = np.zeros(d, int)
    if isinstance(box, PeriodicBox):
        inverse = np.linalg.inv(matrix)
        most = np.ceil(reach * np.linalg.norm(inverse, axis=1) + np.ptp(position @ inverse.T, axis=0)).astype(int)
        most *= box.periodic
    found = set()
    for count in itertools.product(*(range(-m, m + 1) for m in most)):
        distance = np.linalg.norm(position[:, None] - position[None] - matrix @ np.array(count), axis=-1)
        near = np.argwhere(distance < reach).tolist()
        found |= {(i, j, *count) for i, j in near if i < j or (i == j and count > (0,) * d)}
    return found


def listed(pairs):
    mask = np.asarray(pairs.mask)
    columns = [np.asarray(index)[mask].tolist() for index in (pairs.i, pairs.j, *pairs.shift)]
    return list(zip(*columns, strict=True))


@pytest.mark.parametrize("reach", [1e-9, 0.4, 1.0, 2.2])
def test_every_pair_within_reach_is_listed_once(box, reach):
    position = positions(box)
    found = listed(neighbor_pairs(position, box, reach))
    assert len(found) == len(set(found))
    assert set(found) == brute_force(position, box, reach)
    assert found == sorted(found)


CROWDED = {
    "square": PeriodicBox.cubic(30.0, 2),
    "cube": PeriodicBox.cubic(9.0, 3),
    "oblique": PeriodicBox(np.array([[30.0, 7.0], [0.0, 28.0]])),
    "strip": PeriodicBox(np.array([[3.0, 7.0], [0.0, 28.0]]), (False, True)),
    "slab": PeriodicBox(np.diag([9.0, 8.0, 2.0]), (True, True, False)),
    "narrow wire": PeriodicBox(np.diag([1.5, 8.0, 2.0]), (True, False, False)),
    "free 2D": FreeBox(2),
    "free 3D": FreeBox(3),
}


def crowd(box, n=SMALL + 100):
    wide = 10.0 if isinstance(box, FreeBox) else 60.0  # far outside of the box, too
    return np.random.default_rng(1).uniform(-wide / 2, wide, (n, box.dimension))


def in_compiled_code(position, box, reach, within, *, capacity, grid=None):
    grid = grid or grid_for(position, box, reach)
    found = jax.jit(lambda x: compiled_pairs(x, box, reach, within, grid=grid, capacity=capacity))(position)
    return grid, *found


@pytest.mark.parametrize("box", CROWDED.values(), ids=CROWDED)
def test_cells_inside_compiled_code_find_the_same_pairs(box):
    position = crowd(box)
    expected = neighbor_pairs(position, box, 1.1)
    grid, found, n_found, lacking = in_compiled_code(position, box, 1.1, lambda pairs: 1.1, capacity=8000)
    assert grid.cells
    assert not lacking
    assert n_found == len(listed(expected))
    assert listed(in_order(found)) == listed(expected)


def test_every_pair_has_its_own_reach_inside_compiled_code():
    box = CROWDED["square"]
    position, width = crowd(box), jnp.linspace(0.2, 0.7, SMALL + 100)
    _, found, _, _ = in_compiled_code(position, box, 1.4, lambda p: width[p.i] + width[p.j], capacity=8000)
    wide = neighbor_pairs(position, box, 1.4)
    i, j = np.array(listed(wide)).T[:2]
    separation = np.asarray(box.displacement(jnp.asarray(position[i] - position[j])))
    near = np.linalg.norm(separation, axis=1) < np.asarray(width)[i] + np.asarray(width)[j]
    assert listed(in_order(found)) == [pair for pair, close in zip(listed(wide), near, strict=True) if close]


def test_lists_that_lack_pairs_say_so():
    box = CROWDED["square"]
    position = crowd(box)
    grid, _, n_found, lacking = in_compiled_code(position, box, 1.1, lambda pairs: 1.1, capacity=10)
    assert n_found == len(listed(neighbor_pairs(position, box, 1.1))) > 10
    assert not lacking
    tight = Grid(grid.cells, grid.layers, 100)
    assert in_compiled_code(position, box, 1.1, lambda pairs: 1.1, capacity=8000, grid=tight)[-1]


def test_the_spatial_order_brings_neighbours_together():
    box = CROWDED["square"]
    position = np.mod(crowd(box), 30.0)
    order = spatial_order(position, box, 1.5)
    assert sorted(order) == list(range(len(position)))

    def typical(sequence):
        return np.median(np.linalg.norm(np.diff(sequence, axis=0), axis=1))

    assert typical(position[order]) < 0.2 * typical(position)


SMALL_CELLS = {
    "square": (PeriodicBox.cubic(1.0, 2), 1, 3.3),
    "cube": (PeriodicBox.cubic(1.3, 3), 3, 2.0),
    "30 degrees": (PeriodicBox(np.array([[1.5, 1.5 * 3**0.5 / 2], [0.0, 0.75]])), 4, 2.1),
    "150 degrees": (PeriodicBox(np.array([[1.5, -1.5 * 3**0.5 / 2], [0.0, 0.75]])), 4, 2.1),
    "primitive fcc": (PeriodicBox(0.5 * np.array([[0.0, 1.0, 1.0], [1.0, 0.0, 1.0], [1.0, 1.0, 0.0]]) * 1.55), 1, 3.0),
    "strongly skewed": (PeriodicBox(np.array([[1.0, 2.0, 3.0], [0.0, 1.0, 2.0], [0.0, 0.0, 1.0]]) * 1.5), 2, 1.9),
    "between two and three reaches": (PeriodicBox.cubic(5.0, 2), 40, 2.0),
}


@pytest.mark.parametrize(("box", "n", "reach"), SMALL_CELLS.values(), ids=SMALL_CELLS)
def test_cells_of_any_size_and_skew_list_every_image(box, n, reach):
    matrix = np.asarray(box.matrix)
    if np.linalg.det(matrix) < 0:
        box = PeriodicBox(matrix[:, ::-1])
    position = np.random.default_rng(3).uniform(-2, 3, (n, box.dimension)) @ np.asarray(box.matrix).T
    expected = sorted(brute_force(position, box, reach))
    assert listed(neighbor_pairs(position, box, reach)) == expected
    _, found, n_found, lacking = in_compiled_code(position, box, reach, lambda pairs: reach, capacity=len(expected))
    assert (int(n_found), bool(lacking)) == (len(expected), False)
    assert listed(in_order(found)) == expected
    every = every_pair(jnp.asarray(position), box, layers_within(box, reach))
    configuration = Configuration(jnp.asarray(position), jnp.zeros(n, int), box)
    near = np.asarray(pair_distances(configuration, every)) < reach
    assert listed(in_order(every._replace(mask=near))) == expected


def test_a_particle_that_flew_off_is_no_burden():
    position = np.random.default_rng(0).uniform(0, 10, (300, 2))
    position[7] = 1e8
    for box in (FreeBox(2), PeriodicBox.cubic(10.0, 2)):
        assert set(listed(neighbor_pairs(position, box, 1e-9))) == set()
        assert len(listed(neighbor_pairs(position, box, 0.5))) > 100


@pytest.mark.parametrize("n", [1, 2, 3])
def test_tiny_systems_have_lists(box, n):
    position = positions(box, n)
    assert set(listed(neighbor_pairs(position, box, 2.0))) == brute_force(position, box, 2.0)


def test_particles_on_a_face_of_the_box_are_found():
    box = BOXES["square"]
    position = np.array([[5.0, 1.0], [0.05, 1.0], [-1e-18, 3.0], [4.95, 3.0]])
    assert set(listed(neighbor_pairs(position, box, 0.2))) == {(0, 1, 1, 0), (2, 3, -1, 0)}


def test_a_sufficient_capacity_is_kept_and_a_small_one_grows():
    box = BOXES["square"]
    position = positions(box)
    assert neighbor_pairs(position, box, 1.0, capacity=500).mask.shape == (500,)
    grown = neighbor_pairs(position, box, 1.0, capacity=3)
    count = len(listed(grown))
    assert grown.mask.shape[0] >= min(1.05 * count, 40 * 39 // 2)
    assert set(listed(grown)) == brute_force(position, box, 1.0)


def test_capacities_come_in_a_few_sizes():
    wanted = (0.1, 1.0, 2.0, 2.1, 3.0, 3.6, 4.5, 6.1, 9.0, 13.0)
    assert [standard_capacity(least) for least in wanted] == [1, 1, 2, 2.5, 3, 4, 5, 7, 10, 14]


def test_padding_is_masked():
    pairs = padded_pairs(np.array([0, 1]), np.array([1, 2]), np.zeros((2, 2), int), 5)
    np.testing.assert_array_equal(pairs.mask, [True, True, False, False, False])
    assert no_pairs(3).mask.shape == (1,)
    assert not no_pairs(3).mask.any()


def test_every_pair_is_every_pair():
    pairs = every_pair(jnp.array([[0.0], [1.0], [2.0], [2.9]]) * jnp.ones(2), FreeBox(2))
    assert [pair[:2] for pair in listed(pairs)] == [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]


def test_a_box_smaller_than_twice_the_cutoff_is_refused():
    box = PeriodicBox(np.array([[4.0, 3.9], [0.0, 2.0]]))
    with pytest.raises(UserError, match=r"a batch.*too small.*reaches 1\.2.*at least 2\.4"):
        check_range(box, 1.2, "a batch")
    check_range(PeriodicBox(np.diag([2.4, 2.4])), 1.2, "a batch")
    check_range(FreeBox(2), 1e9, "a batch")


def test_the_smallest_height_is_the_distance_between_faces():
    matrix = np.array([[4.0, 3.0], [0.0, 2.0]])
    # area over the longer edge
    assert smallest_height(PeriodicBox(matrix)) == pytest.approx(
        8.0 / 4.0 if np.hypot(3, 2) < 4.0 else 8.0 / np.hypot(3, 2)
    )
    assert smallest_height(PeriodicBox(jnp.diag(jnp.array([3.0, 4.0, 5.0])))) == pytest.approx(3.0)
