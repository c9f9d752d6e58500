"""mdsens verify: right derivatives pass, wrong ones do not."""

import re

import h5py
import jax.numpy as jnp
import numpy as np
import pytest

from mdsens import io
from mdsens.energy import energy, pressure
from mdsens.energy.foreign import EnergyFunction
from mdsens.energy.mixing import geometric_mean
from mdsens.energy.parameters import PerPair, PerSpecies
from mdsens.energy.paths import select
from mdsens.relaxation import RelaxationSettings, relax
from mdsens.response import linear_response
from mdsens.sensitivity import observable_sensitivities, position_sensitivity
from mdsens.types import Configuration, FreeBox
from potentials import lennard_jones, soft_sphere
from systems import bidisperse


def places(path, pattern):
    return [place for place in io.file_leaves(path) if re.fullmatch(pattern, place)]


def scale(path, place, factor):
    """Multiply a stored number, or an array's largest one."""
    with h5py.File(path, "r+") as file:
        name, _, attribute = place.partition("@")
        node = file[name]
        values = np.array(node.attrs[attribute] if attribute else node[()])
        flat = values.reshape(-1)
        flat[np.nanargmax(np.abs(flat))] *= factor
        if attribute:
            node.attrs[attribute] = values[()]
        else:
            node[...] = values


def test_a_results_file_verifies(mdsens, results):
    outcome = mdsens("verify", results)
    assert outcome.code == 0, outcome.out
    assert "d x/d soft_sphere.sigma[A] against re-relaxed differences, h = " in outcome.out
    assert "sum sigma dP/dsigma + L dP/dL = -d P" in outcome.out
    assert outcome.out.endswith("verified\n")
    assert "FAIL" not in outcome.out


def test_a_configuration_verifies_and_writes_nothing(mdsens, configuration, tmp_path):
    outcome = mdsens("verify", configuration)
    assert outcome.code == 0, outcome.out
    assert "stored values" not in outcome.out
    assert list(tmp_path.iterdir()) == [configuration]


@pytest.mark.parametrize("factor", [1.0 + 1e-7, -1.0])
def test_tampered_sensitivities_do_not_verify(mdsens, results, factor):
    with h5py.File(results, "r+") as file:
        name = next(name for name in file["particles/trajectory"] if name.startswith("d_position"))
        vectors = file[f"particles/trajectory/{name}/value"]
        vectors[...] = factor * vectors[...]
    outcome = mdsens("verify", results)
    assert outcome.code == 1
    assert f"FAIL  particles/trajectory/{name}/value is " in outcome.out
    assert outcome.out.endswith("NOT verified\n")


WRONG = {
    "all dE/dp and dP/dp doubled": {r"sensitivity/(energy|pressure)/.*": 2.0},
    "energy doubled": {r"relaxation@energy": 2.0},
    "pressure tripled": {r"relaxation@pressure|observables/pressure/value": 3.0},
}


@pytest.mark.parametrize("changes", WRONG.values(), ids=WRONG)
def test_a_writer_that_stored_wrong_numbers_is_found(mdsens, results, changes):
    for pattern, factor in changes.items():
        for place in places(results, pattern):
            scale(results, place, factor)
            outcome = mdsens("verify", results)
    assert outcome.code == 1
    assert outcome.out.count("FAIL") == len(list(places(results, pattern)))


def test_positions_that_are_not_relaxed_do_not_verify(mdsens, results):
    with h5py.File(results, "r+") as file:
        position = file["particles/trajectory/position/value"]
        position[0, 0] += 1e-6  # so little that the relaxation goes back to the same state
    outcome = mdsens("verify", results)
    assert outcome.code == 1
    assert "FAIL  largest force at the stored positions" in outcome.out


def test_derivatives_that_vanish_and_entries_that_are_zero_verify(mdsens, configuration):
    # one energy scale for all moves nothing; the shear of a square box is an entry of value 0
    names = '["soft_sphere.epsilon", "box.matrix[0,1]"]'
    outcome = mdsens("verify", configuration, "--sensitivity.parameters", names)
    assert outcome.code == 0, outcome.out


def test_what_was_not_verified_is_named(mdsens, results):
    out = mdsens("verify", results).out
    assert "not verified (times): relaxation@seconds" in out
    assert "sensitivity/energy@certificate_residual" in out


def test_overrides_of_a_results_file_are_refused(mdsens, results):
    assert "leave out --relaxation.skin" in mdsens("verify", results, "--relaxation.skin", "1").sentence


def test_an_unjammed_configuration_is_not_verified(mdsens, configuration):
    outcome = mdsens("verify", configuration, "--system.packing_fraction", "0.5")
    assert outcome.code == 1
    assert "unjammed" in outcome.sentence


LAWS = {
    "soft spheres, one energy per species": lambda sigma: soft_sphere.SoftSphere(
        sigma, PerSpecies([1.0, 1.2], mixing=geometric_mean), alpha=2.5
    ),
    "Lennard-Jones": lambda sigma: lennard_jones.LennardJones(sigma, onset=1.5, cutoff=2.0),
}


@pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)
def test_a_file_saved_from_python_verifies_and_names_what_is_the_authors_own(mdsens, tmp_path, law):
    start = bidisperse.build(bidisperse.Options(n_particles=36, packing_fraction=1.0)).configuration
    relaxation = relax(law(PerPair([0.6, 0.8, 1.0])), start, RelaxationSettings(max_force=1e-11))
    response = linear_response(relaxation)
    selection = select(response.state, ["box.length", f"{relaxation.state.potential.name}.epsilon"])
    own = {"energy": energy, "pressure": pressure, "my_observable": lambda state: jnp.sum(state.position**3)}
    observables = observable_sensitivities(response, own, selection)
    run = io.Run(relaxation, position_sensitivity(response, selection), observables, io.collect("", "", 0, {}))
    io.write_run(tmp_path / "own.h5", run)
    outcome = mdsens("verify", tmp_path / "own.h5")
    assert outcome.code == 0, outcome.out + outcome.err
    assert "not verified (observables of the author's own): sensitivity/my_observable" in outcome.out
    scale(tmp_path / "own.h5", "sensitivity/energy/box.length", 1 + 1e-6)
    assert "FAIL  sensitivity/energy/box.length" in mdsens("verify", tmp_path / "own.h5").out


def test_a_law_that_only_its_author_has_is_refused_by_name(mdsens, tmp_path):
    start = bidisperse.build(bidisperse.Options(n_particles=8)).configuration
    free = Configuration(start.position, start.species, FreeBox(2), start.species_names)
    law = EnergyFunction(lambda x, p, box: p["stiffness"] * jnp.sum(x**2), {"stiffness": 1.0}, "trap")
    relaxation = relax(law, free)
    run = io.Run(relaxation, io.no_sensitivity(relaxation), (), io.collect("", "", 0, {}))
    io.write_run(tmp_path / "own.h5", run)
    assert "'trap' cannot be made from the file" in mdsens("verify", tmp_path / "own.h5").sentence
