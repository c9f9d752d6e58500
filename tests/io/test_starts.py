from pathlib import Path

import numpy as np
import pytest

from mdsens.errors import UserError
from mdsens.io import Run, export_extxyz, read_configuration, write_run
from mdsens.types import FreeBox, PeriodicBox

POSITION = np.array([[0.1, 0.2], [1.0, 1.5], [2.0, 0.3]])


@pytest.mark.parametrize("suffix", [".h5", ".extxyz"])
def test_a_start_from_our_own_files_is_exact(suffix: str, run: Run, stored: Path) -> None:
    if suffix == ".extxyz":
        pytest.importorskip("ase")
        export_extxyz(stored, stored.with_suffix(suffix))
    configuration, diameters = read_configuration(stored.with_suffix(suffix))
    expected = run.relaxation.state.configuration
    np.testing.assert_array_equal(configuration.position, expected.position)
    np.testing.assert_array_equal(configuration.box.matrix, expected.box.matrix)
    np.testing.assert_array_equal(configuration.species, expected.species)
    assert configuration.species_names == ("A", "B")
    assert diameters is not None
    np.testing.assert_allclose(diameters, np.repeat([0.6, 1.0], 16), rtol=1e-15)


def test_a_tilted_box_survives_extxyz(tilted: Run, tmp_path: Path) -> None:
    pytest.importorskip("ase")
    write_run(tmp_path / "t.h5", tilted)
    export_extxyz(tmp_path / "t.h5", tmp_path / "t.extxyz")
    configuration, _ = read_configuration(tmp_path / "t.extxyz")
    np.testing.assert_array_equal(configuration.box.matrix, tilted.relaxation.state.configuration.box.matrix)


def test_npz_with_lengths_and_everything(tmp_path: Path) -> None:
    path = tmp_path / "start.npz"
    np.savez(
        path,
        position=POSITION,
        box=[3.0, 4.0],
        species=[1, 0, 1],
        species_names=["small", "large"],
        diameters=[1.0, 0.5, 1.0],
    )
    configuration, diameters = read_configuration(path)
    np.testing.assert_array_equal(configuration.position, POSITION)
    np.testing.assert_array_equal(configuration.box.matrix, np.diag([3.0, 4.0]))
    np.testing.assert_array_equal(configuration.species, [1, 0, 1])
    assert configuration.species_names == ("small", "large")
    np.testing.assert_array_equal(diameters, [1.0, 0.5, 1.0])


def test_npz_with_a_matrix_keeps_its_columns(tmp_path: Path) -> None:
    path = tmp_path / "start.npz"
    matrix = np.array([[3.0, 0.5], [0.0, 4.0]])
    np.savez(path, position=POSITION, box=matrix)
    configuration, diameters = read_configuration(path)
    assert isinstance(configuration.box, PeriodicBox)
    np.testing.assert_array_equal(configuration.box.matrix, matrix)
    assert diameters is None


def test_npz_without_a_box_is_free(tmp_path: Path) -> None:
    path = tmp_path / "start.npz"
    np.savez(path, position=np.pad(POSITION, [(0, 0), (0, 1)]))
    assert read_configuration(path)[0].box == FreeBox(3)


@pytest.mark.parametrize(
    ("arrays", "sentence"),
    [
        ({"box": [1.0, 1.0]}, "position is needed"),
        ({"position": POSITION, "boxx": [1.0, 1.0]}, "boxx"),
        ({"position": POSITION, "box": [1.0, 1.0, 1.0]}, r"lengths \(2,\)"),
        ({"position": POSITION, "box": [1.0, -1.0]}, "determinant"),
        ({"position": POSITION[:, :1]}, "2 or 3"),
        ({"position": POSITION[0]}, r"\(n, 2\)"),
        ({"position": POSITION * np.nan}, "finite"),
        ({"position": POSITION.astype(str)}, "real numbers"),
        ({"position": POSITION, "species": [0, 0, 2], "species_names": ["A", "B"]}, "one per name"),
        ({"position": POSITION, "species": [0.0, 1.0, 0.0]}, "integers"),
        ({"position": POSITION, "species": [-1, 0, 0]}, "species indices span -1"),
        ({"position": POSITION, "diameters": [1.0, -1.0, 1.0]}, "diameter of particle 1 is -1.0"),
        ({"position": POSITION, "diameters": [1.0, np.nan, 1.0]}, "diameter of particle 1 is nan"),
        ({"position": POSITION, "diameters": [1.0]}, "one per particle"),
    ],
)
def test_npz_content_that_makes_no_configuration_is_refused(
    arrays: dict[str, object], sentence: str, tmp_path: Path
) -> None:
    path = tmp_path / "start.npz"
    np.savez(path, **{name: np.array(array) for name, array in arrays.items()})
    with pytest.raises(UserError, match=sentence) as caught:
        read_configuration(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.npz", None, "does not exist"),
        ("a.npz", b"not a zip", "not a readable .npz"),
        ("a.npz", b"", "not a readable .npz"),
        ("a.xyz", b"3\n\nA 0 0\n", "not a readable extended XYZ"),
        ("a.xyz", b"", "not a readable extended XYZ"),
        ("a.pdb", b"", "ends in '.pdb'"),
        ("a.h5", b"text", "not an HDF5 file"),
    ],
)
def test_a_file_of_another_kind_is_refused(name: str, content: bytes | None, sentence: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=sentence):
        read_configuration(tmp_path / name)


def write_xyz(path: Path, pbc: str, last: float) -> None:
    lattice = "4 0 0 0 5 0 0 0 6"
    head = f'2\nLattice="{lattice}" Properties=species:S:1:pos:R:3 pbc="{pbc}"'
    path.write_text(f"{head}\nAr 0 0 {last}\nKr 1 1 0\n")


def test_extxyz_of_elements_in_three_dimensions(tmp_path: Path) -> None:
    pytest.importorskip("ase")
    path = tmp_path / "a.extxyz"
    write_xyz(path, "T T T", 0.0)
    configuration, diameters = read_configuration(path)
    np.testing.assert_array_equal(configuration.box.matrix, np.diag([4.0, 5.0, 6.0]))
    assert configuration.species_names == ("Ar", "Kr")
    assert diameters is None


def test_extxyz_without_period_is_free(tmp_path: Path) -> None:
    pytest.importorskip("ase")
    path = tmp_path / "a.extxyz"
    write_xyz(path, "F F F", 1.0)
    assert read_configuration(path)[0].box == FreeBox(3)


def test_extxyz_that_is_periodic_along_some_directions_only_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("ase")
    path = tmp_path / "a.extxyz"
    write_xyz(path, "T T F", 1.0)
    with pytest.raises(UserError, match="every one of its directions"):
        read_configuration(path)
