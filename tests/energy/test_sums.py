"""Sums of terms: values, derivatives, paths, relaxation and storage."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mdsens import io
from mdsens.energy import State, Sum, energy, energy_at, forces, gradient_at, pressure, term_energies
from mdsens.energy.foreign import EnergyFunction
from mdsens.energy.parameters import PerSpecies
from mdsens.energy.paths import select
from mdsens.errors import UserError
from mdsens.hessian.any_energy import coloured_hessian
from mdsens.pressure import rerelaxed
from mdsens.relaxation import relax
from mdsens.response import linear_response
from mdsens.results import Verdict
from mdsens.sensitivity import observable_sensitivity, position_sensitivity
from mdsens.types import Configuration, Groups, PeriodicBox
from mdsens.verification import scale_identities
from potentials.harmonic_bond import HarmonicBond
from potentials.lennard_jones import LennardJones
from potentials.morse import Morse
from potentials.wca import WCA
from systems import bidisperse
from workflows.problem import stored_problem


def chains(n=12):
    """Return beads in a plane, joined to chains of four."""
    start = bidisperse.build(bidisperse.Options(n_particles=n, packing_fraction=0.8)).configuration
    first = np.array([k for k in range(n - 1) if k % 4 != 3])
    bonds = Groups.nearest(np.stack([first, first + 1], axis=1), start.position, start.box)
    return Configuration(start.position, start.species, start.box, start.species_names, {"bonds": bonds})


LAW = Sum({"beads": WCA(PerSpecies([0.6, 1.0])), "chain": HarmonicBond(20.0, 0.9)})


@pytest.fixture(scope="module")
def relaxation():
    found = relax(LAW, chains())
    assert found.verdict is Verdict.CONVERGED
    return found


def test_a_sum_is_the_sum_of_its_terms(relaxation):
    state = relaxation.state
    parts = [State(state.configuration, part, state.pairs) for part in LAW.parts]
    assert float(energy(state)) == pytest.approx(sum(float(energy(part)) for part in parts), rel=1e-14)
    np.testing.assert_allclose(forces(state), sum(np.asarray(forces(part)) for part in parts), atol=1e-13)
    assert float(pressure(state)) == pytest.approx(sum(float(pressure(part)) for part in parts), rel=1e-12)
    found = term_energies(state.potential, state.configuration, state.pairs)
    assert found == pytest.approx({"beads": float(energy(parts[0])), "chain": float(energy(parts[1]))})


def test_paths_begin_with_the_names_of_the_terms(relaxation):
    selection = select(relaxation.state)
    assert selection.paths == ("beads.sigma[A]", "beads.sigma[B]", "beads.epsilon", "chain.k", "chain.length")
    assert selection.units == ("length", "length", "energy", "energy/length^2", "length")
    with pytest.raises(UserError, match=r"nearest are chain\.k"):
        select(relaxation.state, ["chain.kk"])


def test_the_hessian_of_a_sum_is_the_second_derivative(relaxation):
    state = relaxation.state
    size = state.position.size
    dense = jax.hessian(energy_at, argnums=1)(state, state.position, state.parameters).reshape(size, size)
    np.testing.assert_allclose(coloured_hessian(state).toarray(), dense, atol=1e-10)


def test_derivatives_of_a_sum_are_differences_of_re_relaxed_states(relaxation):
    response, selection = linear_response(relaxation), select(relaxation.state, ["beads.sigma", "chain", "box.length"])
    found = position_sensitivity(response, selection)
    heights = observable_sensitivity(response, energy, selection, positions=found)
    h, held = 1e-6, response.network.backbone
    for k in range(len(selection.paths)):
        direction = selection.part(slice(k, k + 1)).combined(np.ones(1))
        ends = [rerelaxed(relaxation, direction, sign * h) for sign in (1, -1)]
        rate = np.asarray(ends[0].state.position - ends[1].state.position)[held] / (2 * h)
        rate -= rate.mean(axis=0)
        expected = found.values[k][held] - found.values[k][held].mean(axis=0)
        np.testing.assert_allclose(expected, rate, atol=2e-5 * max(np.abs(rate).max(), 0.1))
        assert heights.values[k] == pytest.approx((ends[0].energy - ends[1].energy) / (2 * h), rel=1e-5, abs=1e-7)


def test_units_are_powers(relaxation):
    # a stiffness scales as energy over length squared, a steepness as one over length
    assert all(identity.violation < 1e-8 for identity in scale_identities(linear_response(relaxation)))
    start = Configuration(jnp.array([[0.0, 0.0], [1.1, 0.0], [0.4, 0.9]]), jnp.zeros(3, int), PeriodicBox.cubic(9.0, 2))
    found = relax(Morse(1.0, 1.0, 5.0), start)
    assert all(identity.violation < 1e-8 for identity in scale_identities(linear_response(found))[:2])


def test_a_sum_with_its_topology_comes_back_from_a_file(relaxation, tmp_path):
    run = io.Run(relaxation, io.no_sensitivity(relaxation), (), io.collect("", "", 0, {}))
    io.write_run(tmp_path / "chains.h5", run)
    stored = io.read_run(tmp_path / "chains.h5")
    problem = stored_problem(stored)
    assert jax.tree.structure(problem.potential) == jax.tree.structure(LAW)
    assert jax.tree.all(jax.tree.map(np.array_equal, problem.potential, LAW))
    assert jax.tree.all(jax.tree.map(np.array_equal, problem.configuration, relaxation.state.configuration))
    assert "beads: wca" in io.summary(tmp_path / "chains.h5")


def test_a_plus_makes_a_sum():
    found = WCA(1.0) + HarmonicBond() + Morse(1.0)
    assert found.names == ("wca", "harmonic_bond", "morse")


@pytest.mark.parametrize(
    ("terms", "words"),
    [
        ([WCA(1.0), WCA(2.0)], "two terms of a sum are named 'wca'"),
        ([], "at least one term"),
        ({"my law": WCA(1.0)}, "a term is named 'my law'"),
        ({"box": WCA(1.0)}, "a term is named 'box'"),
    ],
)
def test_sums_without_meaning_are_refused(terms, words):
    with pytest.raises(ValueError, match=words):
        Sum(terms)


def test_functions_written_elsewhere_may_be_terms():
    pull = EnergyFunction(lambda x, p, box: 0.5 * p["k"] * jnp.sum(x[0] ** 2), {"k": 3.0}, "pull")
    start = chains()
    whole = Sum([WCA(PerSpecies([0.6, 1.0])), pull])
    state = State.unlisted(start, whole).with_every_pair()
    assert select(state).paths[-1] == "pull.k"
    alone = State.unlisted(start, WCA(PerSpecies([0.6, 1.0]))).with_every_pair()
    expected = np.asarray(gradient_at(alone, alone.position, alone.parameters)).copy()
    expected[0] += 3.0 * np.asarray(start.position[0])
    np.testing.assert_allclose(gradient_at(state, state.position, state.parameters), expected, atol=1e-12)


@pytest.mark.parametrize("name", ["box", "held", "pressure", "a.b", "1st"])
def test_a_term_is_not_named_like_what_is_of_the_state(name):
    with pytest.raises(ValueError, match="is none of"):
        Sum({name: LennardJones(1.0)})
