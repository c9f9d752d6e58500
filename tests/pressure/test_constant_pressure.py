"""States at constant pressure and their derivatives: exact crystals, identities, re-relaxed states, refusals."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mdsens.energy import max_reach
from mdsens.energy.paths import select
from mdsens.errors import NumericalError, UserError
from mdsens.neighbors import smallest_height
from mdsens.observables import elastic_tensor, energy, packing_fraction, stress_tensor
from mdsens.pressure import relax_at_pressure
from mdsens.relaxation import PressureSettings, free_strains
from mdsens.response import linear_response
from mdsens.results import Verdict, check
from mdsens.sensitivity import observable_sensitivity, position_sensitivity
from mdsens.types import Configuration, FreeBox, PeriodicBox
from mdsens.verification import scale_identities
from potentials import lennard_jones, soft_sphere
from systems import bidisperse, fcc

STEP = 1e-6  # relative: no contact changes
CASES = {
    "2D isotropic": ({"n_particles": 60, "packing_fraction": 0.95, "seed": 1}, "isotropic", (), 0.03),
    "2D triclinic": ({"n_particles": 60, "packing_fraction": 0.9, "seed": 3}, "triclinic", (), 0.02),
    "3D orthorhombic": ({"n_particles": 60, "dimension": 3, "packing_fraction": 0.8}, "orthorhombic", (), 0.03),
    "2D one edge": ({"n_particles": 60, "packing_fraction": 0.95, "seed": 1}, "triclinic", ("yy", "xy"), 0.03),
}


def soft(options):
    start = bidisperse.build(bidisperse.Options(**options))
    law = soft_sphere.build(soft_sphere.Options(epsilon=(1.0, 2.0)), start.diameters, 2)
    return law, start.configuration


@functools.cache
def state(name):
    options, box, fixed, pressure = CASES[name]
    found = relax_at_pressure(*soft(options), pressure, PressureSettings(box=box, fixed=fixed))
    check(found.verdict)
    return found


@functools.cache
def crystal():
    """Return the fcc Lennard-Jones crystal, cut at three sigma, relaxed from a box 1 % too large to no pressure."""
    start = fcc.build(fcc.Options(n_cells=(4, 4, 4), spacing=1.01 * 1.546378969360933 / np.sqrt(2)))
    law = lennard_jones.build(lennard_jones.Options(cutoff=3.0, truncation="cut"), start.diameters, 1)
    found = relax_at_pressure(law, start.configuration, 0.0)
    check(found.verdict)
    return found


@pytest.fixture(scope="module", params=[name for name in CASES if name != "2D isotropic"])
def found(request):
    return state(request.param)


@pytest.fixture(scope="module")
def response(found):
    return linear_response(found)


def volume(state):
    return state.configuration.box.volume


def test_forces_and_stress_vanish_along_what_is_free(found):
    assert found.max_force <= 1e-12
    assert found.box.stress_error <= 1e-12
    asked = float(found.state.barostat.pressure)
    deviation = np.asarray(stress_tensor(found.state)) + asked * np.eye(found.state.configuration.dimension)
    np.testing.assert_allclose(np.einsum("aij,ij->a", found.state.barostat.strains, deviation), 0.0, atol=3e-12)
    assert found.box.enthalpy == pytest.approx(found.energy + asked * found.box.volumes[-1])


def test_a_fixed_component_keeps_its_value():
    found = state("2D one edge")
    before = np.asarray(soft(CASES["2D one edge"][0])[1].box.matrix)
    after = np.asarray(found.state.configuration.box.matrix)
    assert after[1, 1] == pytest.approx(before[1, 1], rel=1e-14)
    assert after[0, 1] == after[1, 0] == 0.0
    assert after[0, 0] != pytest.approx(before[0, 0], rel=1e-4)


def relaxed_again(found, parameters, pressure):
    """Relax with other parameters and at another pressure, from the state itself."""
    configuration = found.state.configuration
    start = Configuration(configuration.position, configuration.species, parameters.box, configuration.species_names)
    _, box, fixed, _ = next(case for name, case in CASES.items() if state(name) is found)
    again = relax_at_pressure(
        parameters.potential,
        start,
        pressure,
        PressureSettings(box=box, fixed=fixed),
    )
    check(again.verdict)
    return again


PATHS = ["soft_sphere.sigma[A]", "soft_sphere.epsilon[B]"]


def ends(found, selection, k):
    """Return the relaxed states at both ends of a small step of a parameter."""
    states, step = [], None
    for sign in (1, -1):
        step = STEP * selection.values[k]
        direction = selection.combined(np.eye(len(selection.paths))[k])
        parameters = jax.tree.map(lambda p, t, s=sign * step: p + s * t, found.state.parameters, direction)
        states.append(relaxed_again(found, parameters, float(parameters.pressure)).state)
    return states, step


def test_derivatives_are_those_of_states_relaxed_again(found, response):
    selection = select(response.state, PATHS)
    joint = position_sensitivity(response, selection)
    assert joint.paths == selection.paths == (*PATHS, "pressure")
    observables = {
        "volume": volume,
        "mixture": lambda s: energy(s) + packing_fraction(s) + stress_tensor(s)[0, 0] - 2 * stress_tensor(s)[1, 1],
    }
    adjoints = {name: observable_sensitivity(response, o, selection, name=name) for name, o in observables.items()}
    held = response.network.backbone
    for k in range(len(joint.paths)):
        (up, down), step = ends(found, selection, k)
        moved = np.asarray(up.position - down.position) / (2 * step)
        expected = moved[held] - moved[held].mean(axis=0)
        ours = joint.values[k][held] - joint.values[k][held].mean(axis=0)
        np.testing.assert_allclose(ours, expected, atol=2e-5 * np.abs(expected).max())
        for name, observable in observables.items():
            slope = float(observable(up) - observable(down)) / (2 * step)
            scale = abs(float(observable(response.state))) / abs(joint.parameter_values[k])
            assert adjoints[name].values[k] == pytest.approx(slope, rel=2e-5, abs=1e-6 * scale), (name, joint.paths[k])
        rate, size = joint.box.volumes[k], float(volume(up))
        assert adjoints["volume"].values[k] == pytest.approx(rate, rel=1e-9, abs=1e-9 * size)


def test_scale_identities(found, response):
    state, d, pressure = response.state, response.state.configuration.dimension, float(found.state.barostat.pressure)
    selection = select(state, ["soft_sphere.sigma", "soft_sphere.epsilon", "box.length"])
    joint = position_sensitivity(response, selection)
    assert (joint.certificate.relative_error[:-1] < 1e-6).all()
    kinds = np.array([path.split("[")[0] for path in joint.paths])
    at = {kind: np.flatnonzero(kinds == kind) for kind in set(kinds)}
    values, whole = joint.parameter_values, float(volume(state))
    # a box held in part is a length, too; one that is free throughout forgets where it began
    lengths = np.concatenate([at["soft_sphere.sigma"], at["box.length"]])
    by_length = values[lengths] @ joint.box.volumes[lengths] - d * pressure * joint.box.volumes[-1]
    assert by_length == pytest.approx(d * whole, rel=1e-9)
    by_energy = values[at["soft_sphere.epsilon"]] @ joint.box.volumes[at["soft_sphere.epsilon"]]
    assert by_energy + pressure * joint.box.volumes[-1] == pytest.approx(0.0, abs=1e-9 * whole)
    moved = np.tensordot(values[lengths], joint.values[lengths], axes=1) - d * pressure * joint.values[-1]
    held = response.network.backbone
    difference = (moved - np.asarray(state.position))[held]
    scale = np.abs(np.asarray(state.position)).max()
    np.testing.assert_allclose(difference - difference.mean(axis=0), 0.0, atol=1e-9 * scale)


@pytest.mark.parametrize(("dimension", "fraction", "seed"), [(2, 0.88, 0), (3, 0.68, 1)])
def test_scale_identities_with_rattlers(dimension, fraction, seed):
    options = {"dimension": dimension, "packing_fraction": fraction, "seed": seed, "diameters": (1.0, 1.4)}
    found = relax_at_pressure(*soft({"n_particles": 60, **options}), 2e-3)
    check(found.verdict)
    assert found.network.n_rattlers > 0
    identities = scale_identities(linear_response(found))
    assert len(identities) == 2
    assert all(identity.violation < 1e-9 for identity in identities)


def test_identities_of_the_whole_volume_need_a_box_that_is_free():
    assert scale_identities(linear_response(state("2D one edge"))) == []


def test_volume_and_shape_responses_are_told_apart(response):
    box = position_sensitivity(response, select(response.state, PATHS)).box
    d = response.state.configuration.dimension
    np.testing.assert_allclose(np.trace(box.shape_strains, axis1=1, axis2=2), 0.0, atol=1e-12)
    whole = box.shape_strains + np.einsum("k,ij->kij", box.volumes / float(volume(response.state)), np.eye(d)) / d
    np.testing.assert_allclose(whole, box.strains, atol=1e-12 * np.abs(box.strains).max())
    lengths = np.linalg.norm(box.displacements, axis=-1)
    np.testing.assert_allclose(box.mean_displacements, lengths.mean(axis=1))


def test_entries_chosen_at_fixed_box_are_refused(response):
    with pytest.raises(UserError, match="select"):
        position_sensitivity(response, select(response.fixed.state, PATHS))
    with pytest.raises(UserError, match="select"):
        position_sensitivity(response.fixed, select(response.state, PATHS))


def test_errors_are_bounded_as_at_fixed_box(response):
    selection = select(response.state, PATHS)
    positions = position_sensitivity(response, selection)
    records = [positions, observable_sensitivity(response, energy, selection)]
    for certificate in (record.certificate for record in records):
        assert np.isfinite(certificate.bound).all()
        assert (certificate.error <= 2 * certificate.bound + 1e-13 * np.abs(positions.values).max()).all()


def test_a_free_box_forgets_its_size():
    response = linear_response(state("2D isotropic"))
    joint = position_sensitivity(response, select(response.state, ["box.length"]))
    assert joint.box.volumes[0] == pytest.approx(0.0, abs=1e-10 * float(volume(response.state)))


def test_the_compressibility_is_the_inverse_of_the_bulk_modulus():
    response = linear_response(state("2D isotropic"))
    joint = position_sensitivity(response, select(response.state, PATHS))
    bulk = -float(volume(response.state)) / joint.box.volumes[-1]
    assert bulk == pytest.approx(elastic_tensor(response.fixed).bulk_modulus, rel=1e-10)


def test_an_fcc_crystal_has_its_lattice_constant_and_scales():
    found = crystal()
    edge = float(volume(found.state)) ** (1 / 3) / 4
    assert edge == pytest.approx(1.546378969360933, abs=1e-9)
    response = linear_response(found)
    joint = position_sensitivity(response, select(response.state, ["lennard_jones.sigma", "lennard_jones.epsilon"]))
    cell = joint.box.volumes / (3 * 4**3 * edge**2)  # da/dp
    assert cell[0] == pytest.approx(edge, rel=1e-9)
    assert cell[1] == pytest.approx(0.0, abs=1e-9)
    by_energy = observable_sensitivity(response, energy, select(response.state, ["lennard_jones.epsilon"]))
    assert by_energy.values[0] == pytest.approx(by_energy.value, rel=1e-10)
    assert by_energy.value / 256 == pytest.approx(-8.305026504316, abs=1e-9)


def test_a_dilute_start_is_compressed_until_it_jams():
    law, start = soft({"n_particles": 60, "packing_fraction": 0.7, "seed": 5})
    found = relax_at_pressure(law, start, 0.01, PressureSettings(max_strain=0.04))
    check(found.verdict)
    assert found.box.stress_error <= 1e-12
    assert found.box.volumes[-1] < found.box.volumes[0]


def test_without_pressure_soft_spheres_evaporate():
    found = relax_at_pressure(*soft({"n_particles": 60}), -0.01)
    assert found.verdict is Verdict.EVAPORATED
    assert "no minimum" in found.verdict.sentence
    with pytest.raises(NumericalError, match="grew without bound"):
        linear_response(found)


def test_a_box_may_shrink_below_two_ranges():
    law, start = soft({"n_particles": 12, "packing_fraction": 1.2})
    found = relax_at_pressure(law, start, 2.0, PressureSettings(max_strain=0.2))
    assert found.verdict is Verdict.CONVERGED
    state = found.state
    assert smallest_height(state.configuration.box) < 2 * max_reach(law, state.configuration)
    assert found.pressure == pytest.approx(2.0, rel=1e-10)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((2, "cubic"), "box kind is 'cubic'; it must be one of isotropic, orthorhombic, triclinic"),
        ((2, "triclinic", ("zz",)), "no component zz of triclinic boxes in 2 dimensions: there are xx, yy, xy"),
        ((2, "orthorhombic", ("xx", "yy")), "every component of the box is fixed"),
        ((3, "isotropic", ("xx",)), "an isotropic box has one component"),
    ],
)
def test_boxes_that_do_not_exist_are_refused(arguments, words):
    free = free_strains.__wrapped__ if hasattr(free_strains, "__wrapped__") else free_strains
    with pytest.raises(UserError, match=words):
        free(*arguments)


def test_a_free_cluster_is_refused():
    law = lennard_jones.build(lennard_jones.Options(onset=50.0, cutoff=60.0), jnp.ones(1), 1)
    position = jnp.array([[0.0, 0], [1.12, 0], [0.56, 0.97]])
    with pytest.raises(UserError, match="a free system has no volume"):
        relax_at_pressure(law, Configuration(position, jnp.zeros(3, int), FreeBox(2), ("A",)), 0.1)


def test_a_pressure_that_is_not_finite_is_refused():
    law, start = soft({"n_particles": 40})
    assert isinstance(start.box, PeriodicBox)
    with pytest.raises(UserError, match="pressure is nan"):
        relax_at_pressure(law, start, float("nan"))
