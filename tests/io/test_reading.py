"""What a file must not hold: each is one sentence that names the place."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from mdsens.errors import UserError
from mdsens.io import Provenance, Run, export_extxyz, read_run, read_tables, summary, write_run, write_tables

TRAJECTORY = "particles/trajectory"
Damage = Callable[[Any], None]


def put(place: str, value: object) -> Damage:
    """Return what puts another array or attribute in a place."""

    def change(file: Any) -> None:
        name, _, attribute = place.partition("@")
        if attribute:
            file[name].attrs[attribute] = value
        else:
            del file[name]
            file[name] = value

    return change


def remove(place: str) -> Damage:
    def change(file: Any) -> None:
        name, _, attribute = place.partition("@")
        if attribute:
            del file[name].attrs[attribute]
        else:
            del file[name]

    return change


def nan(place: str) -> Damage:
    def change(file: Any) -> None:
        file[place][(0,) * file[place].ndim] = np.nan

    return change


def promised(file: Any) -> None:
    del file["relaxation/energy"]
    file["relaxation"].create_dataset("energy", shape=(10**11,), chunks=(1024,), dtype=float)


DAMAGES = {
    "positions as text": (put(f"{TRAJECTORY}/position/value", "here"), "position/value"),
    "positions without an axis": (put(f"{TRAJECTORY}/position/value", np.zeros(32)), "position/value"),
    "no particle": (put(f"{TRAJECTORY}/position/value", np.zeros((1, 0, 3))), "position"),
    "a position that is NaN": (nan(f"{TRAJECTORY}/position/value"), "position/value"),
    "a species without a name": (put(f"{TRAJECTORY}/species/value", np.full((1, 32), 7)), "species/value"),
    "one name for two species": (put(f"{TRAJECTORY}/species@species_names", ["A", "A"]), "species_names"),
    "fewer species than particles": (put(f"{TRAJECTORY}/species/value", np.zeros((1, 31), int)), "species/value"),
    "a box without volume": (put(f"{TRAJECTORY}/box/edges/value", np.zeros((1, 3))), "box/edges/value"),
    "no box": (remove(f"{TRAJECTORY}/box"), "box"),
    "four dimensions": (put(f"{TRAJECTORY}@spatial_dimension", 4), "spatial_dimension"),
    "an unknown verdict": (put("relaxation@verdict", "wonderful"), "verdict"),
    "an unknown attribute": (put("relaxation@mood", "good"), "mood"),
    "a missing attribute": (remove("relaxation@force_unit"), "force_unit"),
    "a contact with nobody": (put("relaxation/contacts", np.array([[0, 32]])), "relaxation/contacts"),
    "a history of another length": (put("relaxation/newton", np.zeros(1, bool)), "relaxation/newton"),
    "more rows than are stored": (promised, "relaxation/energy"),
    "values of another number than paths": (put("parameters/values", np.zeros(2)), "parameters/values"),
    "a derivative that is text": (put("sensitivity/energy/soft_sphere.sigma[A]", "steep"), "sigma[A]"),
    "a missing derivative": (remove("sensitivity/energy/soft_sphere.sigma[A]"), "sigma[A]"),
    "an error of another length": (put("sensitivity/energy@certificate_error", np.zeros(2)), "certificate_error"),
    "vectors of another length": (
        put(f"{TRAJECTORY}/d_position_d_soft_sphere_sigma_A/value", np.zeros((1, 5, 3))),
        "d_position_d_soft_sphere_sigma_A/value",
    ),
    "no provenance": (remove("provenance"), "provenance"),
    "a time that is text": (put("provenance/seconds@relax", "long"), "seconds@relax"),
    "a kind that is a number": (lambda file: file.attrs.__setitem__("kind", 3), "kind"),
}


@pytest.mark.parametrize(("change", "place"), DAMAGES.values(), ids=DAMAGES)
def test_damage_is_named_by_its_place(stored: Path, change: Damage, place: str) -> None:
    with h5py.File(stored, "r+") as file:
        change(file)
    for use in (summary, lambda path: export_extxyz(path, path.with_suffix(".xyz"))):
        with pytest.raises(UserError, match="damaged or incomplete at ") as caught:
            use(stored)
        assert place in str(caught.value)
        assert "\n" not in str(caught.value)
    assert not stored.with_suffix(".xyz").exists()


def external_raw(file: Any) -> None:
    del file["parameters/diameters"]
    secret = Path(file.filename).with_name("secret")
    secret.write_bytes(np.arange(32.0).tobytes())
    file["parameters"].create_dataset("diameters", (32,), float, external=[(str(secret), 0, h5py.h5f.UNLIMITED)])


def virtual(file: Any) -> None:
    del file["parameters/diameters"]
    layout = h5py.VirtualLayout(shape=(32,), dtype=float)
    layout[:] = h5py.VirtualSource("/somewhere/else.h5", "x", shape=(32,))
    file["parameters"].create_virtual_dataset("diameters", layout)


OUTWARD = {
    "an external link": lambda file: file.__setitem__("analyses/more", h5py.ExternalLink("/somewhere/else.h5", "/x")),
    "a soft link": lambda file: file.__setitem__("analyses/more", h5py.SoftLink("/relaxation")),
    "external storage": external_raw,
    "a foreign virtual source": virtual,
}


@pytest.mark.parametrize("change", OUTWARD.values(), ids=OUTWARD)
def test_a_file_that_leads_out_of_itself_is_refused(stored: Path, change: Damage) -> None:
    with h5py.File(stored, "r+") as file:
        change(file)
    with pytest.raises(UserError, match="leads to"):
        read_run(stored)


def test_tables_that_hold_no_tables_are_damage(tmp_path: Path, provenance: Provenance) -> None:
    path = tmp_path / "tables.h5"
    write_tables(path, "ensemble", {"starts": {"x": np.zeros(3)}}, {}, provenance)
    with h5py.File(path, "r+") as file:
        file["starts"].create_group("deeper")
    with pytest.raises(UserError, match=r"at /starts/deeper \(neither numbers nor text\)"):
        read_tables(path)


def test_a_file_that_is_open_elsewhere_in_the_process_is_read(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    write_run(path, run)
    with h5py.File(path, "r"):
        assert read_run(path).energy == run.relaxation.energy


def test_a_heap_of_texts_without_an_end_is_damage(stored: Path) -> None:
    data = bytearray(stored.read_bytes())
    begin = data.find(b"GCOL")
    assert begin > 0
    data[begin + 16 : begin + 32] = bytes(16)  # the first object becomes free room of length 0
    stored.write_bytes(data)
    with pytest.raises(UserError, match="a heap of texts has no end"):
        summary(stored)


@pytest.mark.parametrize("how", [{"mode": "r"}, {"mode": "r", "locking": False}, {"mode": "r+"}])
def test_a_file_that_this_process_has_open_is_read(run: Run, tmp_path: Path, how: dict[str, Any]) -> None:
    write_run(tmp_path / "run.h5", run)
    with h5py.File(tmp_path / "run.h5", **how):
        assert read_run(tmp_path / "run.h5").energy == run.relaxation.energy


_HOLD = "import sys, h5py; file = h5py.File(sys.argv[1], sys.argv[2]); print('open', flush=True); sys.stdin.read()"


@pytest.mark.parametrize("mode", ["r", "r+"])
def test_a_file_that_another_process_has_open_is_read_unless_it_writes(run: Run, tmp_path: Path, mode: str) -> None:
    path = tmp_path / "run.h5"
    write_run(path, run)
    hold = [sys.executable, "-c", _HOLD, str(path), mode]
    with subprocess.Popen(hold, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        other.stdout.readline()
        try:
            if mode == "r":
                assert read_run(path).energy == run.relaxation.energy
            else:
                with pytest.raises(UserError, match="open for writing elsewhere"):
                    read_run(path)
        finally:
            other.stdin.close()
