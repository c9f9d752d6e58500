import dataclasses
from pathlib import Path

import h5py
import jax
import numpy as np
import pytest

from mdsens.errors import UserError
from mdsens.io import Provenance, Run, kind_of, no_sensitivity, read_run, restored_potential, summary, write_run
from mdsens.io.hdf5 import SCHEMA_VERSION
from mdsens.types import Configuration, FreeBox
from potentials.soft_sphere import SoftSphere


def assert_same(a: object, b: object) -> None:
    """Compare records field by field, arrays bit for bit, NaN equal to NaN."""
    assert type(a) is type(b), (a, b)
    if dataclasses.is_dataclass(a) and not isinstance(a, type):
        for field in dataclasses.fields(a):
            assert_same(getattr(a, field.name), getattr(b, field.name))
    elif isinstance(a, np.ndarray):
        np.testing.assert_array_equal(a, b)
        assert a.dtype == b.dtype  # type: ignore[attr-defined]
    elif isinstance(a, float):
        assert a == b or (np.isnan(a) and np.isnan(b))  # type: ignore[arg-type]
    else:
        assert a == b


def test_the_state_comes_back_bit_for_bit(run: Run, stored: Path) -> None:
    found, state = read_run(stored), run.relaxation.state
    assert_same(found.position, np.asarray(state.position))
    assert_same(found.box_matrix, np.asarray(state.configuration.box.matrix))
    assert_same(found.species, np.asarray(state.configuration.species))
    assert found.species_names == ("A", "B")
    assert jax.tree.all(jax.tree.map(np.array_equal, found.configuration, state.configuration))
    np.testing.assert_array_equal(found.diameters, np.repeat([0.6, 1.0], 16))


def test_the_relaxation_comes_back_whole(run: Run, stored: Path) -> None:
    found, relaxation = read_run(stored), run.relaxation
    for name in ("verdict", "energy", "max_force", "force_unit", "pressure", "seconds"):
        assert_same(getattr(found, name), getattr(relaxation, name))
    assert_same(found.history, relaxation.history)
    assert_same(found.backbone, relaxation.network.backbone)
    assert_same(found.contacts[:, 0], relaxation.network.i)
    assert_same(found.contacts[:, 1], relaxation.network.j)
    assert found.one_sided == relaxation.network.one_sided
    assert found.settings["max_force"] == relaxation.settings.max_force
    assert found.settings["minimizer"] == "FIRE"
    assert found.settings["minimizer.dt_max"] == relaxation.settings.rule(1).dt_max
    assert [(term.name, term.law, term.fields) for term in found.terms] == [
        ("soft_sphere", "soft_sphere", {"alpha": 2.0})
    ]


def test_sensitivities_come_back_with_every_field_of_their_certificates(run: Run, stored: Path) -> None:
    found = read_run(stored)
    assert_same(found.positions, run.positions)
    assert list(found.observables) == ["pressure", "energy"]
    for observable in run.observables:
        assert_same(found.observables[observable.name], observable)


def test_provenance_comes_back_with_the_verdict_added(run: Run, stored: Path) -> None:
    found = read_run(stored).provenance
    expected = {"relaxation": "converged", "sensitivity": "done"}
    assert_same(found, dataclasses.replace(run.provenance, results=expected))
    assert found.x64
    assert {"mdsens", "jax", "jaxlib", "jax-md", "numpy", "scipy", "h5py", "python"} <= set(found.versions)


def test_parameters_are_stored_by_path_and_restored_bit_for_bit(run: Run, stored: Path) -> None:
    found = read_run(stored)
    table = dict(zip(found.parameter_paths, found.parameter_values, strict=True))
    assert (table["soft_sphere.sigma[A]"], table["soft_sphere.epsilon"]) == (0.6, 1.0)
    assert table["box.matrix[1,1]"] == found.box_matrix[1, 1]  # type: ignore[index]
    laws = {"soft_sphere": SoftSphere}
    law = restored_potential(found, laws)
    assert jax.tree.all(jax.tree.map(np.array_equal, law, run.relaxation.state.potential))
    strange = dataclasses.replace(found.terms[0], layout=(("sigma", "PerSpecies", "largest"),))
    with pytest.raises(UserError, match="sigma cannot be made from the file"):
        restored_potential(dataclasses.replace(found, terms=(strange,)), laws)
    with pytest.raises(UserError, match="none of morse"):
        restored_potential(found, {"morse": SoftSphere})


def test_the_jacobian_is_a_virtual_dataset_with_its_certificate(run: Run, stored: Path) -> None:
    with h5py.File(stored) as file:
        jacobian = file["sensitivity/jacobian"]
        assert jacobian.is_virtual
        np.testing.assert_array_equal(jacobian[:], run.positions.values)
        assert list(jacobian.attrs["parameters"]) == list(run.positions.paths)
        assert "centre of mass" in jacobian.attrs["gauge"]
        assert not jacobian.attrs["rattlers"].any()
        vector = file["particles/trajectory/d_position_d_soft_sphere_sigma_B/value"]
        assert (vector.shape, vector.dtype) == ((1, 32, 3), np.float64)
        assert file["sensitivity/energy/soft_sphere.sigma[B]"][()] == run.observables[1].values[1]


def test_a_plain_relaxation_has_no_entries(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "relax.h5"
    write_run(path, dataclasses.replace(run, positions=no_sensitivity(run.relaxation), observables=()))
    found = read_run(path)
    assert found.positions.values.shape == (0, 32, 2)
    assert not found.observables
    assert "dx/dp" not in summary(path)


def test_a_tilted_box_comes_back(tilted: Run, tmp_path: Path) -> None:
    path = tmp_path / "tilted.h5"
    write_run(path, tilted)
    np.testing.assert_array_equal(read_run(path).box_matrix, tilted.relaxation.state.configuration.box.matrix)
    with h5py.File(path) as file:
        rows = file["particles/trajectory/box/edges/value"][0]
        np.testing.assert_array_equal(rows[0, :2], [4.5, 0.4])  # H5MD's rows are our columns
        assert "AMBER" not in file


def test_a_free_system_comes_back(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "free.h5"
    old = run.relaxation.state.configuration
    free = Configuration(old.position, old.species, FreeBox(2), old.species_names)
    state = dataclasses.replace(run.relaxation.state, configuration=free)
    relaxation = dataclasses.replace(run.relaxation, state=state, pressure=float("nan"))
    write_run(path, dataclasses.replace(run, relaxation=relaxation))
    found = read_run(path)
    assert found.box_matrix is None
    assert np.isnan(found.pressure)
    assert found.configuration.box == FreeBox(2)
    assert not any(path.startswith("box") for path in found.parameter_paths)
    assert "free" in summary(path)


def test_many_parameters_fit_although_attributes_exceed_64_kb(run: Run, tmp_path: Path) -> None:
    k = 5000
    rows = np.arange(k) % 3
    observable = run.observables[0]
    many = dataclasses.replace(
        observable,
        paths=tuple(f"soft_sphere.sigma[{index}]" for index in range(k)),
        parameter_values=np.ones(k),
        units=("length",) * k,
        values=rows.astype(float),
        certificate=dataclasses.replace(
            observable.certificate,
            **dict.fromkeys(("residual", "error", "relative_error", "bound"), np.full(k, 1e-12)),
        ),
    )
    path = tmp_path / "many.h5"
    write_run(path, dataclasses.replace(run, positions=no_sensitivity(run.relaxation), observables=(many,)))
    assert_same(read_run(path).observables["pressure"], many)
    assert "... and 4976 more" in summary(path)


@pytest.mark.parametrize("name", ["jacobian", "a/b"])
def test_an_observable_whose_name_does_not_fit_is_refused(name: str, run: Run, tmp_path: Path) -> None:
    renamed = dataclasses.replace(run.observables[0], name=name)
    with pytest.raises(UserError, match="cannot be called"):
        write_run(tmp_path / "x.h5", dataclasses.replace(run, observables=(renamed,)))
    assert not list(tmp_path.iterdir())


def test_summary_names_verdict_certificate_parameters_and_origin(stored: Path) -> None:
    text = summary(stored)
    for part in (
        "32 particles in 2D (16 A, 16 B)",
        "converged: The largest force is below",
        "soft_sphere.sigma[A]",
        "One-sided",
        "CAUTION",
        "2 translations, 1 rotation, 3 rattlers, 4 floppy modes",
        "smallest non-zero eigenvalue 0.0123",
        "Sensitivity of energy",
        "wall time   relax 1.50 s",
        'kind = "packing" # µ',
    ):
        assert part in text, part


def damaged(stored: Path, kind: str) -> None:
    data = stored.read_bytes()
    if kind == "missing":
        stored.unlink()
    elif kind == "folder":
        stored.unlink()
        stored.mkdir()
    elif kind == "empty":
        stored.write_bytes(b"")
    elif kind == "text":
        stored.write_text("position 1 2 3\n" * 100)
    elif kind == "truncated":
        stored.write_bytes(data[: len(data) // 2])
    elif kind == "foreign":
        with h5py.File(stored, "w") as file:
            file["x"] = 1
    elif kind == "H5MD of others":
        with h5py.File(stored, "r+") as file:
            file["h5md/creator"].attrs["name"] = "somebody"
    elif kind == "newer":
        with h5py.File(stored, "r+") as file:
            file.attrs["schema_version"] = SCHEMA_VERSION + 1
    else:
        with h5py.File(stored, "r+") as file:
            del file["relaxation"]


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ("missing", "does not exist"),
        ("folder", "is a folder"),
        ("empty", "not an HDF5 file"),
        ("text", "not an HDF5 file"),
        ("truncated", "ends too early"),
        ("foreign", "not written by mdsens"),
        ("H5MD of others", "not written by mdsens"),
        ("newer", "update mdsens"),
        ("incomplete", "damaged or incomplete"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_with_one_sentence(kind: str, sentence: str, stored: Path) -> None:
    damaged(stored, kind)
    with pytest.raises(UserError, match=sentence) as caught:
        summary(stored)
    assert "\n" not in str(caught.value)
    assert str(stored) in str(caught.value)


def test_kind_tells_runs_apart(stored: Path) -> None:
    assert kind_of(stored) == "run"


def test_commit_is_a_hash_or_unknown(provenance: Provenance) -> None:
    assert provenance.commit == "unknown" or len(provenance.commit) == 40
    assert provenance.dirty in ("yes", "no", "unknown")
