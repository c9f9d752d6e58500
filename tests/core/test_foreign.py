"""Energies written elsewhere: right or refused, in small cells, with boxes of their own, at one place."""

import jax.numpy as jnp
import numpy as np
import pytest
from jax_md import energy as jax_md_energy
from jax_md import space

from mdsens.energy import Locality, State, energy, pressure
from mdsens.energy.foreign import EnergyFunction
from mdsens.energy.jax_md import from_jax_md, from_jax_md_displacement
from mdsens.energy.paths import select
from mdsens.errors import UserError
from mdsens.pressure import relax_at_pressure
from mdsens.relaxation import PressureSettings, relax
from mdsens.response import linear_response
from mdsens.results import Verdict
from mdsens.sensitivity import observable_sensitivity
from mdsens.types import Configuration, FreeBox, PeriodicBox

CORNERS = np.array([[0, 0, 0], [0, 1, 1], [1, 0, 1], [1, 1, 0]]) / 2
MORSE = {"sigma": 1.0, "epsilon": 1.0}
CUTOFF = 1.6


def crystal(n_cells, edge=1.4):
    cells = np.stack(np.meshgrid(*[np.arange(n_cells)] * 3, indexing="ij"), axis=-1).reshape(-1, 1, 3)
    position = jnp.asarray(edge * (cells + CORNERS).reshape(-1, 3))
    return Configuration(position, jnp.zeros(len(position), int), PeriodicBox.cubic(n_cells * edge, 3))


def morse(displacement):
    return jax_md_energy.morse_pair(displacement, alpha=5.0, r_onset=1.3, r_cutoff=CUTOFF)


def with_own_box(configuration):
    displacement, _ = space.periodic(jnp.diag(configuration.box.matrix), wrapped=False)
    return from_jax_md(morse(displacement), MORSE, locality=Locality(CUTOFF))


def ours(**options):
    return from_jax_md_displacement(morse, MORSE, **options)


def test_a_displacement_of_ours_gives_the_energy_and_a_pressure():
    start = crystal(3)
    state = State.unlisted(start, ours())
    assert float(energy(state)) == pytest.approx(float(energy(State.unlisted(start, with_own_box(start)))), rel=1e-13)
    heights = [float(energy(State.unlisted(crystal(3, 1.4 * (1 + s)), ours()))) for s in (1e-5, -1e-5)]
    volume = float(start.box.volume)
    assert float(pressure(state)) == pytest.approx(-(heights[0] - heights[1]) / (3 * volume * 2e-5), rel=1e-6)


def test_a_box_of_its_own_refuses_pressure_strain_and_box_parameters():
    start = crystal(3)
    law = with_own_box(start)
    state = State.unlisted(start, law)
    with pytest.raises(UserError, match=r"does not follow the box.*from_jax_md_displacement"):
        pressure(state)
    with pytest.raises(UserError, match="does not follow the box"):
        relax_at_pressure(law, start, 0.0)
    with pytest.raises(UserError, match="no parameter 'box"):
        select(state, ["box.length"])
    relaxation = relax(law, start)
    assert relaxation.verdict is Verdict.CONVERGED
    assert np.isnan(relaxation.pressure)


def test_a_box_that_is_followed_relaxes_at_constant_pressure():
    found = relax_at_pressure(ours(locality=Locality(CUTOFF)), crystal(3), 0.0, PressureSettings())
    assert found.verdict is Verdict.CONVERGED
    assert float(found.state.configuration.box.matrix[0, 0]) != pytest.approx(4.2, abs=1e-3)


@pytest.mark.parametrize("locality", [Locality(CUTOFF), None], ids=["declared", "unknown"])
def test_a_cell_in_which_nearest_images_are_not_enough_is_refused(locality):
    with pytest.raises(UserError, match=r"two such cells side by side along axis 0.*nearest images only"):
        relax(ours(locality=locality), crystal(1))


def test_a_box_of_its_own_and_an_unknown_range_are_refused():
    start = crystal(3)
    displacement, _ = space.periodic(4.2, wrapped=False)
    with pytest.raises(UserError, match=r"keeps a box of its own and does not say how far it reaches.*Give locality"):
        relax(from_jax_md(morse(displacement), MORSE), start)


def test_outer_fields_and_energies_of_a_list_have_no_doubled_cell():
    start = crystal(1)
    first = EnergyFunction(
        lambda x, p, box: p["k"] * jnp.sum(box.displacement(x[0] - x[1]) ** 2), {"k": 1.0}, name="spring"
    )
    first.check_cell(start)
    field = EnergyFunction(lambda x, p, box: p["k"] * jnp.sum((x - 0.3) ** 2), {"k": 1.0}, name="trap")
    field.check_cell(start)


def test_particles_at_one_place_are_refused_where_a_law_cannot_tell_them_from_one():
    position = jnp.array([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
    with pytest.raises(UserError, match="particles 1 and 2 lie at the same place"):
        relax(ours(), Configuration(position, jnp.zeros(3, int), FreeBox(3)))


def test_no_law_is_evaluated_at_the_distance_zero():
    # jax-md's Lennard-Jones of a particle with itself is infinite, and made adjoint derivatives NaN
    lennard_jones = from_jax_md_displacement(jax_md_energy.lennard_jones_pair, MORSE)
    position = jnp.array([[0.0, 0.0], [1.1, 0.0], [0.5, 0.9]])
    relaxation = relax(lennard_jones, Configuration(position, jnp.zeros(3, int), FreeBox(2)))
    assert relaxation.verdict is Verdict.CONVERGED
    response = linear_response(relaxation)
    found = observable_sensitivity(response, energy, select(relaxation.state))
    np.testing.assert_allclose(found.values, [-3.0, 0.0], atol=1e-6)  # in the order epsilon, sigma


def test_a_tolerance_knows_the_rounding_of_stiff_energies():
    # a flexible water molecule in kJ/mol and nm: no force is known to 1e-12
    bond, angle = 0.09572, np.deg2rad(104.52)

    def water(x, p, box):
        arms = x[1:] - x[0]
        lengths = jnp.linalg.norm(arms, axis=1)
        opening = jnp.arccos(arms[0] @ arms[1] / (lengths[0] * lengths[1]))
        return 0.5 * p["bond"] * jnp.sum((lengths - bond) ** 2) + 0.5 * p["angle"] * (opening - angle) ** 2

    position = 0.1 * jnp.array([[0.0, 0.0, 0.0], [1.0, 0.1, 0.0], [-0.3, 0.9, 0.1]]) + 1.0
    start = Configuration(position, jnp.zeros(3, int), FreeBox(3))
    relaxation = relax(EnergyFunction(water, {"bond": 502416.0, "angle": 628.02}, "water"), start)
    assert relaxation.verdict is Verdict.CONVERGED, relaxation.max_force
    arms = np.asarray(relaxation.state.position)[1:] - np.asarray(relaxation.state.position)[0]
    np.testing.assert_allclose(np.linalg.norm(arms, axis=1), bond, rtol=1e-9)
