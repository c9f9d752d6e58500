"""Starts from a file."""

import jax.numpy as jnp
import numpy as np
import pytest

import mdsens.io
from mdsens.errors import UserError
from mdsens.types import Configuration, PeriodicBox
from systems import file


@pytest.fixture
def configuration():
    position = np.random.default_rng(0).uniform(size=(6, 2)) * 4
    return Configuration(jnp.asarray(position), jnp.array([0, 0, 0, 1, 1, 1]), PeriodicBox.cubic(4.0, 2), ("A", "B"))


@pytest.fixture
def reader(monkeypatch, configuration):
    """Replace the reader by one that returns the configuration and the diameters given."""

    def replace(diameters):
        monkeypatch.setattr(mdsens.io, "read_configuration", lambda path: (configuration, diameters), raising=False)

    return replace


def test_the_diameters_of_the_file_are_used(reader, configuration):
    reader(np.array([0.6, 1.0]))
    start = file.build(file.Options(path="start.npz"))
    np.testing.assert_array_equal(start.diameters, [0.6, 1.0])
    assert start.configuration is configuration


def test_given_diameters_take_precedence(reader):
    reader(np.array([0.6, 1.0]))
    start = file.build(file.Options(path="start.npz", diameters=(0.7, 0.8)))
    np.testing.assert_array_equal(start.diameters, [0.7, 0.8])


def test_without_diameters_there_are_none(reader):
    reader(None)
    assert file.build(file.Options(path="start.npz")).diameters.shape == (0,)


def test_a_wrong_number_of_diameters_is_refused(reader):
    reader(None)
    with pytest.raises(UserError, match=r"3 diameters.*2.*6"):
        file.build(file.Options(path="start.npz", diameters=(1.0, 1.0, 1.0)))


@pytest.mark.parametrize("diameter", [0.0, 1e-200, 1e200])
def test_a_diameter_beyond_what_float64_multiplies_is_refused(diameter):
    with pytest.raises(ValueError, match=r"diameters\.0"):
        file.Options(path="start.npz", diameters=(diameter,))


def test_a_missing_file_is_refused_with_a_sentence(tmp_path):
    with pytest.raises(UserError, match=r"nothing\.npz"):
        file.build(file.Options(path=str(tmp_path / "nothing.npz")))
