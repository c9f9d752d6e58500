"""Stress and elastic moduli: against jax-md, exact crystals and re-relaxed states, and their derivatives."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax_md import elasticity, space
from jax_md import energy as jax_md_energy

from mdsens.energy.parameters import Parameters
from mdsens.energy.paths import select
from mdsens.errors import UserError
from mdsens.observables import (
    StressComponent,
    Workbench,
    bulk_modulus,
    elastic_tensor,
    made,
    modulus,
    pressure,
    shear_modulus_in_plane,
    stress_tensor,
)
from mdsens.observables.elasticity import in_voigt, out_of_voigt, polycrystal_averages
from mdsens.relaxation import relax
from mdsens.response import linear_response
from mdsens.results import check
from mdsens.sensitivity import observable_sensitivity
from mdsens.types import Configuration, FreeBox, PeriodicBox
from potentials import lennard_jones, soft_sphere
from systems import bidisperse, fcc

STEP = 1e-6  # relative: no contact changes
PACKINGS = {
    "2D": {"n_particles": 60, "packing_fraction": 0.95, "seed": 1},
    "2D with rattlers": {"n_particles": 60, "packing_fraction": 0.87, "seed": 3},
    "3D": {"n_particles": 60, "dimension": 3, "packing_fraction": 0.75},
}


def relaxed(potential, configuration):
    relaxation = relax(potential, configuration)
    check(relaxation.verdict)
    return relaxation


@functools.cache
def packing(name):
    start = bidisperse.build(bidisperse.Options(**PACKINGS[name]))
    law = soft_sphere.build(soft_sphere.Options(epsilon=(1.0, 2.0)), start.diameters, 2)
    return relaxed(law, start.configuration)


@functools.cache
def crystal():
    """Return the fcc Lennard-Jones crystal at zero pressure, cut at three sigma."""
    start = fcc.build(fcc.Options(n_cells=(4, 4, 4), spacing=1.546378969360933 / np.sqrt(2)))
    law = lennard_jones.build(lennard_jones.Options(cutoff=3.0, truncation="cut"), start.diameters, 1)
    return relaxed(law, start.configuration)


@pytest.fixture(scope="module", params=["2D with rattlers", "3D"])
def relaxation(request):
    found = packing(request.param)
    assert (found.network.n_rattlers > 0) == ("rattlers" in request.param)
    return found


@pytest.fixture(scope="module")
def tensor(relaxation):
    return elastic_tensor(linear_response(relaxation))


def changed(relaxation, parameters, factor=1.0):
    """Relax again with other parameters, from positions scaled by a factor."""
    configuration = relaxation.state.configuration
    start = Configuration(
        configuration.position * factor, configuration.species, parameters.box, configuration.species_names
    )
    return relaxed(parameters.potential, start)


def dilated(relaxation, factor):
    box = PeriodicBox(relaxation.state.configuration.box.matrix * factor)
    return changed(relaxation, Parameters(relaxation.state.potential, box), factor)


def test_the_stress_is_symmetric_and_its_trace_is_the_pressure(relaxation):
    stress = np.asarray(stress_tensor(relaxation.state))
    np.testing.assert_array_equal(stress, stress.T)
    assert -np.trace(stress) / len(stress) == pytest.approx(float(pressure(relaxation.state)), rel=1e-13)
    assert float(StressComponent(0, 1)(relaxation.state)) == stress[0, 1]


def test_the_tensor_is_that_of_jax_md(relaxation, tensor):
    state = relaxation.loaded
    configuration, d = state.configuration, state.configuration.dimension
    sigma, epsilon = (np.asarray(state.potential.sigma.values), np.asarray(state.potential.epsilon.values))
    box = np.asarray(configuration.box.matrix)
    displacement, _ = space.periodic_general(jnp.asarray(box), fractional_coordinates=False)
    species = np.asarray(configuration.species)[relaxation.network.backbone]
    lengths, depths = 0.5 * (sigma[:, None] + sigma), np.sqrt(epsilon[:, None] * epsilon)
    energy_fn = jax_md_energy.soft_sphere_pair(
        displacement, sigma=jnp.asarray(lengths[species][:, species]), epsilon=jnp.asarray(depths[species][:, species])
    )
    moduli = elasticity.athermal_moduli(energy_fn, tether_strength=1e-12, cg_tol=1e-12)
    expected = moduli(configuration.position[relaxation.network.backbone], jnp.asarray(np.diag(box)))
    np.testing.assert_allclose(tensor.curvature, expected, atol=1e-6 * np.abs(expected).max())
    assert tensor.curvature.shape == (d,) * 4


def test_the_bulk_modulus_is_that_of_relaxed_states(relaxation, tensor):
    h = 1e-6
    states = [dilated(relaxation, 1 + s * h).state for s in (1, -1)]
    pressures, volumes = (
        [float(f(state)) for state in states] for f in (pressure, lambda s: s.configuration.box.volume)
    )
    expected = -relaxation.state.configuration.box.volume * np.diff(pressures) / np.diff(volumes)
    assert tensor.bulk_modulus == pytest.approx(float(expected[0]), rel=1e-6)


def test_stress_strain_coefficients_are_those_of_relaxed_states(relaxation, tensor):
    h, d = 1e-6, tensor.dimension
    matrix = np.asarray(relaxation.state.configuration.box.matrix)
    for strain, place in ((np.diag([1.0] + [0.0] * (d - 1)), (0, 0)), (_shear(d), (0, 1))):
        stresses = []
        for sign in (1, -1):
            gradient = np.eye(d) + sign * h * strain
            configuration = relaxation.state.configuration
            start = Configuration(
                configuration.position @ gradient.T,
                configuration.species,
                PeriodicBox(jnp.asarray(gradient @ matrix)),
                configuration.species_names,
            )
            again = relaxed(relaxation.state.potential, start)
            stresses.append(np.asarray(stress_tensor(again.state)))
        expected = (stresses[0] - stresses[1]) / (2 * h)
        found = tensor.stress_strain[:, :, place[0], place[1]]
        np.testing.assert_allclose(found, expected, atol=2e-6 * np.abs(expected).max())


def _shear(d):
    strain = np.zeros((d, d))
    strain[0, 1] = strain[1, 0] = 0.5
    return strain


def test_a_modulus_as_an_observable_has_the_value_of_the_tensor(relaxation, tensor):
    state = relaxation.loaded
    assert float(bulk_modulus(tensor)(state)) == pytest.approx(tensor.bulk_modulus, rel=1e-11)
    assert float(shear_modulus_in_plane(tensor)(state)) == pytest.approx(tensor.stress_strain[0, 1, 0, 1], rel=1e-11)
    d = tensor.dimension
    one, two = np.diag(np.eye(d)[0]), np.diag(np.eye(d)[1])
    mixed = 0.5 * (tensor.stress_strain[0, 0, 1, 1] + tensor.stress_strain[1, 1, 0, 0])
    assert float(modulus(tensor, one, two)(state)) == pytest.approx(mixed, rel=1e-10)


@pytest.mark.parametrize("kind", ["bulk", "shear"])
def test_derivatives_of_moduli_are_those_of_relaxed_states(relaxation, tensor, kind):
    response = linear_response(relaxation)
    observable = bulk_modulus(tensor) if kind == "bulk" else shear_modulus_in_plane(tensor)
    selection = select(response.state, ["soft_sphere.sigma[A]", "soft_sphere.epsilon[B]", "box.length"])
    found = observable_sensitivity(response, observable, selection)
    for k, (path, value) in enumerate(zip(selection.paths, selection.values, strict=True)):
        direction = selection.combined(np.eye(len(selection.paths))[k])
        moduli = []
        for sign in (1, -1):
            step = sign * STEP * value
            parameters = jax.tree.map(lambda p, t, s=step: p + s * t, response.state.parameters, direction)
            factor = 1 + sign * STEP if path == "box.length" else 1.0
            again = elastic_tensor(linear_response(changed(relaxation, parameters, factor)))
            moduli.append(again.bulk_modulus if kind == "bulk" else again.stress_strain[0, 1, 0, 1])
        expected = (moduli[0] - moduli[1]) / (2 * STEP * value)
        assert found.values[k] == pytest.approx(expected, rel=1e-5, abs=1e-5 * abs(moduli[0]))


def test_moduli_scale_as_energy_over_volume(relaxation, tensor):
    response = linear_response(relaxation)
    for observable in (bulk_modulus(tensor), shear_modulus_in_plane(tensor)):
        value = float(observable(response.state))
        lengths = select(response.state, ["soft_sphere.sigma", "box.length"])
        energies = select(response.state, ["soft_sphere.epsilon"])
        by_length = observable_sensitivity(response, observable, lengths).values @ lengths.values
        by_energy = observable_sensitivity(response, observable, energies).values @ energies.values
        assert by_length == pytest.approx(-tensor.dimension * value, rel=1e-8)
        assert by_energy == pytest.approx(value, rel=1e-8)


def test_an_fcc_lennard_jones_crystal_has_its_moduli():
    tensor = elastic_tensor(linear_response(crystal()))
    voigt = tensor.voigt
    np.testing.assert_allclose(np.diag(voigt)[:3], 101.0533899, rtol=1e-8)
    np.testing.assert_allclose(np.diag(voigt)[3:], 57.2772009, rtol=1e-8)
    np.testing.assert_allclose([voigt[0, 1], voigt[0, 2], voigt[1, 2]], 57.2772009, rtol=1e-8)
    np.testing.assert_allclose(tensor.stress, 0.0, atol=1e-9)
    # every particle is a centre of symmetry: nothing moves on its own
    np.testing.assert_allclose(tensor.affine, tensor.curvature, atol=1e-9)
    averages = tensor.averages
    np.testing.assert_allclose(np.asarray(averages.bulk), tensor.bulk_modulus, rtol=1e-10)
    c11, c12, c44 = 101.0533899, 57.2772009, 57.2772009
    np.testing.assert_allclose(float(averages.shear[0]), (c11 - c12 + 3 * c44) / 5, rtol=1e-8)
    np.testing.assert_allclose(float(averages.shear[1]), 5 * (c11 - c12) * c44 / (4 * c44 + 3 * (c11 - c12)), rtol=1e-8)
    assert tensor.mean_shear_modulus == pytest.approx(float(averages.shear[0]), rel=1e-10)


def test_derivatives_of_a_crystals_moduli_are_exact():
    response = linear_response(crystal())
    tensor = elastic_tensor(response)
    selection = select(response.state, ["lennard_jones.epsilon"])
    found = observable_sensitivity(response, shear_modulus_in_plane(tensor), selection)
    assert found.values[0] == pytest.approx(57.2772009, rel=1e-8)
    lengths = select(response.state, ["lennard_jones.sigma", "box.length"])
    found = observable_sensitivity(response, bulk_modulus(tensor), lengths)
    assert found.values @ lengths.values == pytest.approx(-3 * tensor.bulk_modulus, rel=1e-8)


@pytest.mark.parametrize("d", [2, 3])
def test_an_isotropic_solid_has_one_average(d):
    bulk, shear, unit = 2.0, 0.7, np.eye(d)
    lame = bulk - 2 * shear / d
    tensor = lame * np.einsum("ij,kl->ijkl", unit, unit) + shear * (
        np.einsum("ik,jl->ijkl", unit, unit) + np.einsum("il,jk->ijkl", unit, unit)
    )
    np.testing.assert_allclose(out_of_voigt(in_voigt(tensor)), tensor)
    averages = polycrystal_averages(in_voigt(tensor))
    np.testing.assert_allclose(np.asarray(averages.bulk), bulk)
    np.testing.assert_allclose(np.asarray(averages.shear), shear)
    expected = lame / (2 * (lame + shear)) if d == 3 else lame / (lame + 2 * shear)
    assert float(averages.poisson) == pytest.approx(expected)


def test_a_free_cluster_has_no_moduli():
    position = jnp.array([[0.0, 0], [1.12, 0], [0.56, 0.97]])
    start = Configuration(position, jnp.zeros(3, int), FreeBox(2), ("A",))
    law = lennard_jones.build(lennard_jones.Options(onset=50.0, cutoff=60.0), jnp.ones(1), 1)
    response = linear_response(relaxed(law, start))
    with pytest.raises(UserError, match="a free system has no volume"):
        elastic_tensor(response)


def test_a_stress_component_beyond_the_dimension_is_refused():
    with pytest.raises(UserError, match=r"no stress\[0,2\] in 2 dimensions"):
        made("stress[0,2]", Workbench(packing("2D").state))(packing("2D").state)
