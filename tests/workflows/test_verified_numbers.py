"""Every single stored number that is changed by a millionth is found, or was named as not verified."""

import argparse
import contextlib
import io as text
import shutil

import h5py
import numpy as np
import pytest

from mdsens import io
from mdsens.errors import NumericalError, UserError
from workflows import verify
from workflows.remaking import ensemble as remade_ensemble
from workflows.remaking import state as remade_state

A_MILLIONTH = 1 + 1e-6
# what the state is made from: changed in the file itself, for it would be read from there
INPUTS = (
    "particles/trajectory/position/value",
    "particles/trajectory/species/value",
    "particles/trajectory/box/edges/value",
    "parameters/values",
    "parameters/terms/soft_sphere@alpha",
    "relaxation/settings@max_force",
    "relaxation/settings@skin",
    "relaxation@energy",
    "relaxation@pressure",
    "relaxation@force_unit",
)


def changed(value):
    """Return a copy with one number changed: the largest by a millionth, a count by one, a truth value turned."""
    array = np.array(value)
    flat = array.reshape(-1)
    if array.dtype.kind == "f" and np.any(np.nan_to_num(flat)):
        flat[np.nanargmax(np.abs(np.where(np.isfinite(flat), flat, 0.0)))] *= A_MILLIONTH
    elif array.dtype.kind in "iu" and array.size:
        flat[0] += 1
    elif array.dtype.kind == "b" and array.size:
        flat[0] = not flat[0]
    else:
        return None
    return array


def missed(leaves, expectation):
    """Return the places whose change nothing finds and nothing names."""
    whole = io.compare(leaves, expectation)
    assert not whole.differences
    named = {place for places in whole.unverified.values() for place in places}
    found = []
    for place, value in leaves.items():
        other = changed(value)
        if other is None or place in named:
            continue
        if not io.compare({**leaves, place: other}, expectation).differences:
            found.append(place)
    return found


def test_of_a_relaxed_state_and_its_derivatives(finished):
    path = finished[1] / "sensitivity.h5"
    _, expectation = remade_state.expected(remade_state.stored_state(io.read_run(path)))
    leaves = io.file_leaves(path)
    assert len(leaves) > 100
    assert missed(leaves, expectation) == []


def test_of_an_ensemble(ensemble):
    path = ensemble[1] / "out" / "ensemble.h5"
    tables = io.read_tables(path)
    config = verify.load_text(tables.provenance.resolved, schema=remade_ensemble.Config)
    expectation, _ = remade_ensemble.expected(tables, config, path.with_name("ensemble.members"))
    leaves = io.file_leaves(path)
    # numbers at rounding, which only their members tell, are compared and named
    copied = {place for place in leaves if io.compare({place: 0}, expectation).unverified}
    assert set(missed(leaves, expectation)) <= copied


@pytest.mark.parametrize("place", INPUTS)
def test_of_what_the_state_is_made_from(results, monkeypatch, place):
    monkeypatch.setattr(verify, "witnesses", lambda *arguments: [])
    with h5py.File(results, "r+") as file:
        name, _, attribute = place.partition("@")
        node = file[name]
        if attribute:
            node.attrs[attribute] = changed(node.attrs[attribute])[()]
        else:
            node[...] = changed(node[()])
    assert outcome(results) != 0


def test_of_the_unchanged_file(results, monkeypatch):
    monkeypatch.setattr(verify, "witnesses", lambda *arguments: [])
    assert outcome(results) == 0


def outcome(path):
    """Return the exit code of ``mdsens verify``."""
    with contextlib.redirect_stdout(text.StringIO()):
        try:
            return verify.run(argparse.Namespace(file=path, overrides=[]))
        except (UserError, NumericalError):
            return 2


MORE = {
    "constant pressure": ("sensitivity", "sensitivity.toml", ["--pressure.value", "0.05"]),
    "observables": ("observables", "observables.toml", []),
    "spectrum": ("spectrum", "spectrum.toml", []),
    "validity": ("validity", "validity.toml", ["--validity.n_steps", "3"]),
    "relaxation": ("relax", "relax.toml", []),
    "compress": (
        "compress",
        "compress.toml",
        [
            *("--compress.n_packings", "3", "--compress.pressures", "[1e-2, 5e-3, 2e-3]"),
            *("--compress.n_resamples", "5", "--compress.fit_range", "[1e-3, 1e-2]"),
        ],
    ),
    "fit": ("fit", "fit_soft_sphere.toml", ["--fit.n_cases", "2", "--fit.descent_relaxations", "3"]),
}


@pytest.mark.exhaustive
@pytest.mark.parametrize(("command", "shipped", "overrides"), MORE.values(), ids=MORE)
def test_of_every_other_workflow(mdsens, pytestconfig, tmp_path, monkeypatch, command, shipped, overrides):
    monkeypatch.setattr(verify, "witnesses", lambda *arguments: [])
    toml = pytestconfig.rootpath / "workflows" / shipped
    tiny = ("--system.n_particles", 24, "--output.figures", "false", "--output.name", "it", *overrides)
    assert mdsens(command, toml, *tiny, "-o", tmp_path).code == 0
    path, kept = tmp_path / "it.h5", tmp_path / "kept"
    shutil.copy(path, kept)
    out = mdsens("verify", path)
    assert out.code == 0, out.out
    named = {
        place for line in out.out.splitlines() if line.startswith("--") for place in line.split("): ")[1].split(", ")
    }
    lost = []
    for place, value in io.file_leaves(path).items():
        other = changed(value)
        if other is None or place in named or place.startswith(("@", "h5md", "provenance")):
            continue
        shutil.copy(kept, path)
        with h5py.File(path, "r+") as file:
            name, _, attribute = place.partition("@")
            if attribute:
                file[name].attrs[attribute] = other[()]
            elif not file[name].is_virtual:
                file[name][...] = other
            else:
                continue
        lost += [place] if outcome(path) == 0 else []
    # derivatives that vanish by symmetry have errors larger than a millionth of them
    assert [place for place in lost if not vanishes(kept, place)] == []


def vanishes(path, place):
    """Whether a derivative is zero within its error."""
    parts = place.split("/")
    if parts[0] != "sensitivity" or len(parts) != 3:
        return False
    with h5py.File(path) as file:
        group = file["/".join(parts[:2])]
        k = list(group.attrs["parameters"]).index(parts[2])
        return abs(float(file[place][()])) * 1e-6 <= 3 * group.attrs["certificate_error"][k]
