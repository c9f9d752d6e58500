"""The public face: what people type, what they are told, and what it costs to import."""

import importlib
import pkgutil
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest

import mdsens as md
import systems
from mdsens.energy import State
from mdsens.energy.parameters import PerPair, PerSpecies
from mdsens.energy.paths import select
from mdsens.equilibrium import ThermalSettings
from mdsens.errors import UserError
from mdsens.fitting import Outcome
from mdsens.machine.progress import box_progress, relaxation_progress
from mdsens.relaxation import relax
from mdsens.response import linear_response
from mdsens.results import Verdict
from mdsens.sensitivity import position_sensitivity

PATH = "soft_sphere.sigma[A]"


@pytest.fixture(scope="module")
def atoms():
    return md.systems.bidisperse(n_particles=32)


@pytest.fixture(scope="module")
def law():
    return md.potentials.SoftSphere({"B": 1.0, "A": 0.6})


@pytest.fixture(scope="module")
def found(atoms, law):
    return md.relax(atoms, law)


def test_importing_it_loads_nothing_and_switches_double_precision_on():
    words = (
        "import sys, mdsens as md; print(*dir(md)); assert not {'jax', 'numpy', 'h5py'} & sys.modules.keys();"
        "import jax.numpy as jnp; assert jnp.ones(1).dtype == jnp.float64"
    )
    done = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, check=True)
    names = done.stdout.split()
    assert {"read", "relax", "load", "potentials", "systems"} <= set(names)
    assert len(names) <= 25


def test_no_room_hides_a_name_of_the_face():
    for room in pkgutil.walk_packages(md.__path__, "mdsens."):
        importlib.import_module(room.name)
    for name in md.__all__:
        assert getattr(md, name) is not None
    assert all(callable(getattr(md, name)) for name in ("read", "relax", "load"))
    assert all(getattr(md, name).__doc__ for name in md.__all__)


def test_the_face_answers_what_the_rooms_answer(found, law):
    assert found.verdict is Verdict.CONVERGED
    dx = found.sensitivity(PATH)
    plain = relax(law.for_species(("A", "B")), start())
    response = linear_response(plain)
    record = position_sensitivity(response, select(response.state, [PATH]))
    np.testing.assert_array_equal(dx.values, record.values[0])
    assert dx.values.shape == (32, 2)
    assert dx.error == record.certificate.error[0]


def start():
    return systems.bidisperse.build(systems.bidisperse.Options(n_particles=32)).configuration


def test_what_was_asked_is_saved_and_loaded(found, tmp_path):
    dx, table = found.sensitivity(PATH), found.observables(["pressure", "energy"], [PATH])
    found.save(tmp_path / "run.h5")
    again = md.load(tmp_path / "run.h5")
    np.testing.assert_array_equal(again.sensitivity.values, dx.values)
    assert again.observables.names == ("pressure", "energy")
    assert again.observables["pressure"].values == table["pressure"].values
    assert repr(again.observables) == repr(table)
    np.testing.assert_array_equal(again.configuration.position, found.position)
    with pytest.raises(UserError, match="exists"):
        found.save(tmp_path / "run.h5")
    asked_later = again.relaxed.observables("bulk_modulus", [PATH])["bulk_modulus"]
    np.testing.assert_allclose(
        asked_later.values, found.observables("bulk_modulus", [PATH])["bulk_modulus"].values, rtol=1e-9
    )
    with pytest.raises(UserError, match="'volume' is not in the table; it holds pressure, energy"):
        table["volume"]


def test_words_say_it_all(found):
    words = repr(found)
    assert "32 particles in 2 dimensions: The largest force is below the tolerance" in words
    assert f"{len(found.rattlers)} rattlers" in words
    table = found.observables("energy", PATH)
    assert repr(table).splitlines()[0].split() == ["observable", "value", "parameter", "derivative", "error"]
    assert "<td>energy</td>" in table._repr_html_()
    assert "|dx/dp|" in repr(found.sensitivity())
    assert found._repr_html_().startswith("<pre>32 particles")


def test_a_packing_and_its_arrows_are_drawn(found):
    assert found.plot().axes
    assert found.sensitivity(PATH).plot(PATH).axes
    with pytest.raises(UserError, match="no sensitivity in 'epsilon'; there is"):
        found.sensitivity(PATH).plot("epsilon")


def test_atoms_of_ase_and_files_are_taken(found, law, tmp_path):
    atoms = found.to_ase()
    again = md.relax(atoms, law)
    np.testing.assert_array_equal(again.configuration.species, found.configuration.species)
    assert again.configuration.species_names == ("A", "B")
    np.testing.assert_allclose(again.energy, found.energy, rtol=1e-12)
    found.save(tmp_path / "run.h5")
    np.testing.assert_array_equal(md.read(tmp_path / "run.h5").position, found.position)


def test_at_constant_pressure_the_box_answers_too(atoms, law, tmp_path):
    at = md.relax(atoms, law, pressure=0.05)
    assert abs(at.pressure / 0.05 - 1) < 1e-10
    assert at.sensitivity(PATH).parameters == (PATH, "pressure")
    table = at.observables("volume", PATH)
    assert table["volume"].values[1] < 0
    at.save(tmp_path / "at.h5")
    loaded = md.load(tmp_path / "at.h5")
    assert repr(loaded.observables) == repr(table)
    assert loaded.relaxed.verdict is Verdict.CONVERGED
    np.testing.assert_allclose(
        loaded.relaxed.observables("volume", PATH)["volume"].values, table["volume"].values, rtol=1e-9
    )
    assert "boxes" in repr(at)


@pytest.fixture(scope="module")
def many(law):
    starts = [md.systems.bidisperse(n_particles=32, seed=seed) for seed in range(8)]
    return md.relax([*starts, md.systems.bidisperse(n_particles=32, packing_fraction=0.3)], law)


def test_a_list_of_systems_answers_as_each_of_them(many, law):
    assert len(many) == 9
    assert many.verdicts[-1] is Verdict.UNJAMMED
    assert many.converged[:8].all()
    alone = [md.relax(one.configuration, law) for one in many[:2]]
    np.testing.assert_allclose([one.energy for one in alone], many.energy[:2], rtol=1e-12)
    tables = many.observables(["energy", "pressure"], PATH)
    for k, one in enumerate(alone):
        table = one.observables(["energy", "pressure"], PATH)
        for name in table.names:
            np.testing.assert_allclose(tables.derivatives(name)[k], table[name].values, rtol=1e-8)
            np.testing.assert_allclose(tables.values(name)[k], table[name].value, rtol=1e-8)
        np.testing.assert_allclose(many.sensitivity(PATH)[k].values, one.sensitivity(PATH).values, atol=1e-8)
    assert tables[8] is None
    assert np.isnan(tables.values("energy")[8])
    assert np.isnan(tables.derivatives("energy")[8]).all()


def test_many_systems_are_printed_and_saved(many, tmp_path):
    assert repr(many).splitlines()[0] == "9 systems: 8 converged, 1 unjammed"
    assert "8 of 9 systems answer" in repr(many.observables("energy", PATH))
    paths = many[:2].save(tmp_path)
    assert [path.name for path in paths] == ["0.h5", "1.h5"]
    np.testing.assert_array_equal(md.load(paths[1]).configuration.position, many[1].position)


def test_a_list_says_which_system_is_wrong(law):
    start = md.systems.bidisperse(n_particles=32)
    with pytest.raises(UserError, match="system 1: atoms are given as 3"):
        md.relax([start, 3], law)
    with pytest.raises(UserError, match="3 laws are given for 2 systems"):
        md.relax([start, start], [law] * 3)


def test_a_law_is_fitted_to_a_structure(found):
    start = md.potentials.SoftSphere({"A": 0.605, "B": 1.0})
    fitted = md.fit(found.configuration, start, "soft_sphere.sigma")
    assert fitted.outcome is Outcome.CONVERGED
    assert fitted.values["soft_sphere.sigma[A]"] == pytest.approx(0.6, rel=1e-9)
    np.testing.assert_allclose(fitted.relax().position, found.position, atol=1e-9)
    assert [row[0] for row in fitted.to_pandas().to_numpy()] == ["soft_sphere.sigma[A]", "soft_sphere.sigma[B]"]
    assert "relative error" in repr(fitted)
    with pytest.raises(UserError, match="nearest"):
        md.fit(found.configuration, start, "soft_sphere.sigm")


def test_averages_at_a_temperature_have_errors_and_derivatives():
    soft = md.potentials.SoftSphere({"A": 1.0, "B": 1.4})
    start = md.systems.bidisperse(n_particles=16, packing_fraction=0.9)
    settings = ThermalSettings(1.0, n_samples=200, n_equilibration=20)
    warm = md.thermal(start, soft, 0.05, parameters="soft_sphere.epsilon", n_replicas=2, settings=settings)
    assert warm.record.observables == ("energy_per_particle", "pressure")
    assert 0 < warm.error["pressure"] < warm.mean["pressure"]
    assert repr(warm).startswith(warm.verdict.sentence)
    table = warm.to_pandas()
    assert list(table["parameter"]) == ["soft_sphere.epsilon"] * 2
    assert (table["derivative_error"] > 0).all()


def test_values_by_names_of_species_take_the_order_of_the_system():
    soft = md.potentials.SoftSphere
    by_species = soft({"B": 1.0, "A": 0.6}).for_species(("A", "B"))
    assert isinstance(by_species.sigma, PerSpecies)
    np.testing.assert_array_equal(by_species.sigma.values, [0.6, 1.0])
    by_pair = soft(1.0, {"B,A": 2.0, "A,A": 1.0, "B,B": 3.0}).for_species(("A", "B"))
    assert isinstance(by_pair.epsilon, PerPair)
    np.testing.assert_array_equal(by_pair.epsilon.values, [1.0, 2.0, 3.0])
    named = jnp.asarray(soft({"A": 0.6}).sigma.values)
    assert named.dtype == jnp.float64


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"A": 1.0}, "lacks B; it must have one for each of A, B"),
        ({"A": 1.0, "B": 1.0, "C": 1.0}, "names C; it must have"),
        ({"A,A": 1.0, "A,B": 1.0, "B,A": 1.0, "B,B": 1.0}, "names a pair twice"),
        ({"A": 1.0, "A,B": 1.0}, "mixes species and pairs"),
        ({1: 1.0}, 'name a species, "A", or two of them'),
    ],
)
def test_a_dictionary_that_does_not_fit_is_refused(given, sentence):
    with pytest.raises(ValueError, match=sentence):
        md.potentials.SoftSphere(given).for_species(("A", "B"))


def test_a_misspelt_name_is_told_what_there_is():
    with pytest.raises(AttributeError, match="no system 'bidispers'; there are bidisperse"):
        md.systems.bidispers  # noqa: B018
    with pytest.raises(AttributeError, match="it has Configuration"):
        md.relaxx  # noqa: B018


def test_a_state_with_values_by_name_is_refused_by_the_rooms(law):
    with pytest.raises(ValueError, match="say for which species"):
        State.unlisted(start(), law)


def test_double_precision_is_switched_on_where_jax_is_loaded_already():
    words = "import jax, mdsens as md; print(md.potentials.SoftSphere({'A': 0.6, 'B': 1.0}).epsilon.values.dtype)"
    done = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["float64"]


def test_derivatives_are_verified_and_wrong_ones_found(found, tmp_path):
    assert md.verify(found, PATH)
    asked = md.relax(found.configuration, found.relaxation.state.potential)
    asked.sensitivity(PATH)
    asked.observables(["pressure", "bulk_modulus"], PATH)
    asked.save(tmp_path / "run.h5")
    right = md.verify(tmp_path / "run.h5")
    assert right.holds
    assert repr(right).splitlines()[-1] == "verified"
    assert "<table>" in right._repr_html_()
    stored = md.load(tmp_path / "run.h5")
    stored.record.positions.values[0, 0, 0] += 1e-3
    wrong = md.verify(stored)
    assert not wrong
    assert [check.label for check in wrong.checks if not check.holds] == [f"dx/d {PATH}, as stored (absolute)"]
    with pytest.raises(UserError, match="3 is given; verify what"):
        md.verify(3)


def test_long_work_shows_its_progress_in_a_terminal(monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich then takes what it writes to for a terminal
    monkeypatch.setattr("mdsens.machine.progress._PATIENCE", 0.0)
    with relaxation_progress() as report:
        report(7, 1e-3)
    assert "relaxing: 7 steps, max force 1.0e-03" in capsys.readouterr().out
    monkeypatch.delenv("FORCE_COLOR")
    with box_progress() as report:
        report(7, 1e-3)
    assert capsys.readouterr().out == ""
