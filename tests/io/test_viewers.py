"""Other programs open our files: MDAnalysis, pyh5md, OVITO, ASE and gsd."""

import importlib
import sys
import warnings
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from mdsens.errors import UserError
from mdsens.io import Run, export_extxyz, export_gsd, read_configuration, write_run


def program(name: str) -> ModuleType:
    """Import another program; what it warns about while it is imported is not ours to change."""
    pytest.importorskip(name.split(".")[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module(name)


def test_mdanalysis_reads_the_state(run: Run, stored: Path) -> None:
    universe = program("MDAnalysis").Universe.empty(32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns about atoms without masses
        universe.load_new(str(stored), format="H5MD", convert_units=False)
    state = run.relaxation.state
    expected = np.asarray(state.position)
    # MDAnalysis keeps positions in single precision
    np.testing.assert_allclose(universe.atoms.positions[:, :2], expected, rtol=1e-6, atol=1e-6)
    assert not universe.atoms.positions[:, 2].any()
    length = float(state.configuration.box.length)
    np.testing.assert_allclose(universe.dimensions, [length, length, length, 90, 90, 90], rtol=1e-6)
    assert universe.trajectory.ts.data["energy"] == run.relaxation.energy
    universe.trajectory.close()


def test_pyh5md_reads_positions_species_and_sensitivities(run: Run, stored: Path) -> None:
    pyh5md = program("pyh5md")
    with pyh5md.File(str(stored), "r") as file:
        group = file.particles_group("trajectory")
        value = {name: pyh5md.element(group, name).value[0] for name in group if name != "box"}
        assert list(group["box"].attrs["boundary"]) == ["periodic", "periodic", "none"]
        path = pyh5md.element(file.particles_group("path"), "position")
        np.testing.assert_array_equal(path.step[:], run.relaxation.history.path_step)
    np.testing.assert_array_equal(value["position"][:, :2], run.relaxation.state.position)
    np.testing.assert_array_equal(value["species"], run.relaxation.state.configuration.species)
    np.testing.assert_array_equal(value["d_position_d_soft_sphere_sigma_B"][:, :2], run.positions.values[1])


def test_ovito_shows_discs_and_arrows(run: Run, stored: Path) -> None:
    data = program("ovito.io").import_file(str(stored)).compute()
    np.testing.assert_array_equal(data.particles["Position"][:, :2], run.relaxation.state.position)
    np.testing.assert_array_equal(data.particles["Particle Type"], run.relaxation.state.configuration.species)
    np.testing.assert_allclose(data.particles["Radius"], np.repeat([0.3, 0.5], 16))
    np.testing.assert_array_equal(data.particles["d_position_d_soft_sphere_sigma_A"][:, :2], run.positions.values[0])
    np.testing.assert_allclose(np.diag(data.cell[:2, :2]), float(run.relaxation.state.configuration.box.length))


def test_ovito_reads_both_exports(run: Run, stored: Path) -> None:
    import_file = program("ovito.io").import_file
    text, binary = stored.with_suffix(".extxyz"), stored.with_suffix(".gsd")
    export_extxyz(stored, text, "soft_sphere.sigma[B]")
    export_gsd(stored, binary)
    data = import_file(str(text)).compute()
    np.testing.assert_allclose(data.particles["Displacement"][:, :2], run.positions.values[1], rtol=1e-14)
    assert [kind.name for kind in data.particles.particle_types.types] == ["A", "B"]
    flat = import_file(str(binary)).compute()
    assert flat.cell.is2D
    assert "d_position_d_soft_sphere_sigma_A" in flat.particles


def test_ase_reads_every_digit_of_an_extxyz(run: Run, stored: Path) -> None:
    path = stored.with_suffix(".extxyz")
    export_extxyz(stored, path, "soft_sphere.sigma[B]")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # ASE 3.29 sets array shapes, which NumPy 2.5 deprecates
        atoms = program("ase.io").read(path)
    np.testing.assert_array_equal(atoms.positions[:, :2], run.relaxation.state.position)
    np.testing.assert_array_equal(atoms.arrays["disp"][:, :2], run.positions.values[1])
    np.testing.assert_array_equal(atoms.cell[:2, :2].T, run.relaxation.state.configuration.box.matrix)
    assert atoms.pbc.tolist() == [True, True, False]
    assert atoms.info["parameter"] == "soft_sphere.sigma[B]"


@pytest.mark.parametrize("shape", ["square", "tilted"])
def test_gsd_holds_a_plane_with_the_distances_unchanged(shape: str, run: Run, tilted: Run, tmp_path: Path) -> None:
    hoomd = program("gsd.hoomd")
    chosen = run if shape == "square" else tilted
    source, path = tmp_path / "run.h5", tmp_path / "run.gsd"
    write_run(source, chosen)
    export_gsd(source, path)
    with hoomd.open(path, "r") as file:
        frame = file[0]
    lx, ly, lz, xy = frame.configuration.box[:4]
    assert (frame.configuration.dimensions, lz) == (2, 0)
    assert frame.particles.types == ["A", "B"]
    np.testing.assert_allclose(frame.particles.diameter, np.repeat([0.6, 1.0], 16), rtol=1e-6)
    matrix = np.array([[lx, xy * ly], [0, ly]])
    fractional = frame.particles.position[:, :2] @ np.linalg.inv(matrix).T
    assert np.abs(fractional).max() <= 0.5 + 1e-6
    configuration = chosen.relaxation.state.configuration
    old = np.asarray(configuration.position) @ np.linalg.inv(np.asarray(configuration.box.matrix)).T
    shift = fractional - old - (fractional - old)[0]
    np.testing.assert_allclose(shift, np.round(shift), atol=1e-5)  # single precision
    lengths = np.linalg.norm(frame.log["particles/d_position_d_soft_sphere_sigma_A"], axis=1)
    np.testing.assert_allclose(lengths, np.linalg.norm(run.positions.values[0], axis=1), rtol=1e-14)


def test_an_unknown_parameter_is_refused_with_the_known_ones(stored: Path) -> None:
    with pytest.raises(UserError, match=r"soft_sphere\.sigma\[A\]"):
        export_extxyz(stored, stored.with_suffix(".extxyz"), "soft_sphere.sigma[C]")
    assert not stored.with_suffix(".extxyz").exists()


@pytest.mark.parametrize("missing", ["gsd", "ase"])
def test_a_missing_extra_says_how_to_install_it(missing: str, stored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = stored.with_suffix(".extxyz")
    export_extxyz(stored, text)
    for name in (missing, f"{missing}.hoomd", f"{missing}.io"):
        monkeypatch.setitem(sys.modules, name, None)
    use = {"gsd": lambda: export_gsd(stored, stored.with_suffix(".gsd")), "ase": lambda: read_configuration(text)}
    with pytest.raises(UserError, match="pip install"):
        use[missing]()
