import io
import zipfile
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from mdsens.errors import UserError
from mdsens.io import Run, export_extxyz, read_configuration, write_run
from mdsens.types import Configuration, FreeBox, PeriodicBox

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


def test_npz_brings_groups_of_particles(tmp_path: Path) -> None:
    path = tmp_path / "start.npz"
    bonds, shift = np.array([[0, 1], [1, 2]]), np.array([[[0, 1]], [[0, 0]]])
    given = {"topology.bonds.index": bonds, "topology.far.index": bonds, "topology.far.shift": shift}
    position = np.array([[0.1, 0.1], [0.1, 3.9], [1.0, 3.9]])
    np.savez(path, position=position, box=[3.0, 4.0], **given, **{"topology.far.kind": np.array([1, 0])})
    topology = read_configuration(path)[0].topology
    assert list(topology) == ["bonds", "far"]
    np.testing.assert_array_equal(topology["bonds"].shift, [[[0, -1]], [[0, 0]]])  # nearest images
    np.testing.assert_array_equal(topology["far"].shift, shift)
    np.testing.assert_array_equal(topology["far"].kind, [1, 0])


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
        ({"position": POSITION, "species": [0, 10**9, 0]}, "3 particles are of at most 3 species"),
        ({"position": POSITION, "species": np.array([0, 2**63, 0], np.uint64)}, "species indices span -9"),
        ({"position": POSITION, "species": [0, 0]}, "one number per particle"),
        ({"position": POSITION, "species_names": "A"}, r"shape \(\); it must be text, one name per species"),
        ({"position": POSITION, "species_names": [b"A"]}, "must be text"),
        ({"position": POSITION, "species_names": [1]}, "must be text"),
        ({"position": POSITION, "species_names": ["A", "A"]}, "two species are named 'A'"),
        ({"position": POSITION, "species_names": ["A", ""]}, "a species is named ''"),
        ({"position": POSITION + 0j}, "real numbers"),
        ({"position": POSITION > 1}, "real numbers"),
        ({"position": POSITION.astype(object)}, "no array of numbers or text"),
        ({"position": POSITION, "box": [np.nan, 1.0]}, "every entry must be finite"),
        ({"position": POSITION, "box": [np.inf, 1.0]}, "every entry must be finite"),
        ({"position": POSITION, "box": [1e200, 1e200]}, "not larger than 1e"),
        ({"position": POSITION, "box": [[0.0, 1.0], [1.0, 0.0]]}, "right-handed"),
        ({"position": POSITION, "box": [[1.0, 1.0], [1.0, 1.0 + 1e-15]]}, "no two of them parallel"),
        ({"position": POSITION + 1e16, "box": [4.0, 4.0]}, r"a coordinate is 1e\+16"),
        ({"position": POSITION + 1e16}, "shift or wrap the positions"),
        ({"position": POSITION * 1e120}, r"at most 1e\+100"),
        ({"position": POSITION, "diameters": [1.0, -1.0, 1.0]}, "diameter of particle 1 is -1.0"),
        ({"position": POSITION, "diameters": [1.0, np.nan, 1.0]}, "diameter of particle 1 is nan"),
        ({"position": POSITION, "diameters": [1.0]}, "one per particle"),
        ({"position": POSITION, "topology.bonds.index": [[0, 7]]}, r"topology\.bonds: group 0 holds the particles"),
        ({"position": POSITION, "topology.bonds.index": [[1, 1]]}, "holds particle 1 twice"),
        ({"position": POSITION, "topology.bonds.index": [0, 1]}, r"must be integers, \(m, k\) with k >= 2"),
        ({"position": POSITION, "topology.bonds.index": [[0.0, 1.0]]}, "must be integers"),
        ({"position": POSITION, "topology.bonds.kind": [0]}, r"topology\.bonds\.index is missing"),
        ({"position": POSITION, "topology.bonds.index": [[0, 1]], "topology.bonds.kind": [0, 0]}, "topology.bonds: "),
        ({"position": POSITION, "topology.bonds": [[0, 1]]}, "topology.bonds.index, .kind and .shift"),
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
        ("a.xyz", b"", "line 1 is ''; it must be the number of particles"),
        ("a.xyz", b"\xff\xfe", "cannot be read as text"),
        ("a" * 300 + ".npz", None, "does not exist"),
        ("a\0.npz", None, "does not exist"),
        ("a.pdb", b"", "ends in '.pdb'"),
        ("a.h5", b"text", "not an HDF5 file"),
    ],
)
def test_a_file_of_another_kind_is_refused(name: str, content: bytes | None, sentence: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=sentence):
        read_configuration(tmp_path / name)


def test_numbers_of_another_byte_order_or_precision_are_read(tmp_path: Path) -> None:
    path = tmp_path / "start.npz"
    np.savez(path, position=POSITION.astype(">f8"), box=np.array([3, 4], ">i2"), species=np.array([1, 0, 1], ">u2"))
    configuration, _ = read_configuration(path)
    np.testing.assert_array_equal(configuration.position, POSITION)
    np.testing.assert_array_equal(configuration.box.matrix, np.diag([3.0, 4.0]))
    np.testing.assert_array_equal(configuration.species, [1, 0, 1])
    np.savez(path, position=POSITION.astype(np.float32))
    assert read_configuration(path)[0].position.dtype == float


def array_bytes(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


GOOD = array_bytes(POSITION)
CLAIM = GOOD.replace(b"(3, 2)", b"(100000000000, 2)").replace(b" " * 11 + b"\n", b"\n")
MEMBERS = {
    "no array": {"position.npy": b"text"},
    "another file": {"position.npy": GOOD, "readme.txt": b"text"},
    "a hundred thousand million rows": {"position.npy": CLAIM},
    "too few rows": {"position.npy": GOOD[:-8]},
    "no member": {},
}


@pytest.mark.parametrize("members", MEMBERS.values(), ids=MEMBERS)
def test_a_zip_file_of_other_things_is_refused(members: dict[str, bytes], tmp_path: Path) -> None:
    path = tmp_path / "start.npz"
    with zipfile.ZipFile(path, "w") as file:
        for name, content in members.items():
            file.writestr(name, content)
    with pytest.raises(UserError, match=r"not a readable \.npz|position is needed"):
        read_configuration(path)


@pytest.mark.parametrize("flag", [0x01, 0x20], ids=["encrypted", "patched"])
def test_a_member_that_cannot_be_decoded_is_refused(flag: int, tmp_path: Path) -> None:
    path = tmp_path / "start.npz"
    np.savez_compressed(path, position=POSITION)
    content = bytearray(path.read_bytes())
    content[6] |= flag
    content[content.rindex(b"PK\x01\x02") + 8] |= flag
    path.write_bytes(content)
    with pytest.raises(UserError, match="not a readable"):
        read_configuration(path)


def test_a_damaged_or_renamed_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "start.npz"
    np.savez_compressed(path, position=np.random.default_rng(0).uniform(size=(100, 2)))
    content = bytearray(path.read_bytes())
    content[400:420] = bytes(20)
    for wrong in (content, GOOD):
        path.write_bytes(wrong)
        with pytest.raises(UserError, match="not a readable"):
            read_configuration(path)


@pytest.mark.parametrize("name", ["", "A,B", "[A]", "A\0", " A", "A B", "A\n", "\x1b[31m", "a" * 51])
def test_a_name_that_no_path_can_hold_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="a species is named"):
        Configuration(jnp.asarray(POSITION), jnp.zeros(3, int), FreeBox(2), (name,))


HEAD = 'Lattice="4 0 0 0 5 0 0 0 6" Properties=species:S:1:pos:R:3'
NUMBERED = HEAD + ":Z:I:1"
FRAMES = {
    "no number": ("two\n\nAr 0 0 0\n", "line 1 is 'two'; it must be the number"),
    "no particles": ("0\n\n", "line 1 is '0'"),
    "a million million particles": (f"{10**12}\n\nAr 0 0 0\n", "line 1 is '1000000000000'"),
    "a thousand million particles": (f"{10**9}\n\nAr 0 0 0\n", "announces 1000000000 particles, but only 1"),
    "too few lines": (f"3\n{HEAD}\nAr 0 0 0\n", "line 1 announces 3 particles, but only 1"),
    "too many lines": (f"1\n{HEAD}\nAr 0 0 0\nAr 1 1 1\n", "line 4 is 'Ar 1 1 1'"),
    "second frame": (f"1\n{HEAD}\nAr 0 0 0\n2\n{HEAD}\nAr 1 1 1\n", "line 4 announces 2 particles, but only 1"),
    "no coordinate": (f"1\n{HEAD}\nAr 0 zero 0\n", "line 3 has 'zero' as pos; it must be a number"),
    "too few columns": (f"1\n{HEAD}\nAr 0 0\n", "line 3 has 3 columns; its frame announces 4"),
    "no element": (f"1\n{HEAD}\nXx 0 0 0\n", "line 3 has 'Xx' as species; it must be a chemical element"),
    "no element without properties": ("1\n\nA 0 0 0\n", "'A' as species"),
    "atomic number too large": (f"1\n{NUMBERED}\nA 0 0 0 999\n", "'999' as Z; it must be an atomic number, 0 to 118"),
    "negative atomic number": (f"1\n{NUMBERED}\nA 0 0 0 -4\n", "'-4' as Z"),
    "no columns": ("1\nProperties=species:S\nA 0 0 0\n", "Properties=species:S is not a list of columns"),
    "infinite box": (f"1\n{HEAD.replace('4 0', 'inf 0')}\nAr 0 0 0\n", "every entry must be finite"),
    "infinite coordinate": (f"1\n{HEAD}\nAr 0 inf 0\n", "position of particle 0"),
    "far away": (f"1\n{HEAD}\nAr 0 1e16 0\n", r"a coordinate is 1e\+16"),
    "no positions": ("1\nProperties=species:S:1:x:R:3\nAr 0 0 0\n", "line 2 announces no positions"),
    "broken lattice": (f"1\n{HEAD.replace('4 0', '4 x')}\nAr 0 0 0\n", "not a readable extended XYZ"),
    "name with a comma": (f"1\n{NUMBERED}\nA,B 0 0 0 1\n", "a species is named 'A,B'"),
}


@pytest.mark.parametrize(("text", "sentence"), FRAMES.values(), ids=FRAMES)
def test_every_unreadable_extxyz_has_its_own_reason(text: str, sentence: str, tmp_path: Path) -> None:
    pytest.importorskip("ase")
    path = tmp_path / "a.extxyz"
    path.write_text(text)
    with pytest.raises(UserError, match=sentence) as caught:
        read_configuration(path)
    assert str(path) in str(caught.value)


def test_the_last_frame_of_a_trajectory_is_read(tmp_path: Path) -> None:
    pytest.importorskip("ase")
    path = tmp_path / "a.extxyz"
    path.write_text(f"1\n{HEAD}\nAr 0 0 0\n2\n{HEAD}\nKr 1 1 1\nNe 2 2 2\n\n")
    configuration, _ = read_configuration(path)
    np.testing.assert_array_equal(configuration.position, [[1, 1, 1], [2, 2, 2]])
    assert configuration.species_names == ("Ne", "Kr")


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


def test_extxyz_may_be_periodic_along_some_directions_only(tmp_path: Path) -> None:
    pytest.importorskip("ase")
    path = tmp_path / "a.extxyz"
    write_xyz(path, "T T F", 1.0)
    box = read_configuration(path)[0].box
    assert isinstance(box, PeriodicBox)
    assert box.periodic == (True, True, False)


def test_npz_files_say_what_is_held(tmp_path):
    path = tmp_path / "start.npz"
    np.savez(path, position=np.eye(3), held=[True, False, False])
    configuration, _ = read_configuration(path)
    np.testing.assert_array_equal(configuration.held, [[True] * 3, [False] * 3, [False] * 3])
    np.savez(path, position=np.eye(3), held=[True, False])
    with pytest.raises(UserError, match="one per particle"):
        read_configuration(path)


def test_constraints_of_ase_hold_particles(tmp_path):
    ase, constraints = pytest.importorskip("ase"), pytest.importorskip("ase.constraints")
    atoms = ase.Atoms("Ar3", positions=2.0 * np.eye(3), cell=[9, 9, 9], pbc=True)
    atoms.set_constraint(constraints.FixAtoms([1]))
    atoms.write(tmp_path / "start.extxyz")
    configuration, _ = read_configuration(tmp_path / "start.extxyz")
    np.testing.assert_array_equal(np.asarray(configuration.held), np.repeat([[False], [True], [False]], 3, axis=1))
