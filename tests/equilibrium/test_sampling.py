"""Sampled averages and their derivatives against exact ones, and what sampling refuses."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mdsens.energy import State, energy
from mdsens.energy.foreign import EnergyFunction
from mdsens.energy.parameters import Uniform
from mdsens.energy.paths import select
from mdsens.equilibrium import (
    Equilibration,
    ThermalPressure,
    ThermalSettings,
    averages,
    check_equilibration,
    joined,
    n_segments,
    replica_keys,
    sample,
    sampled_energy,
    sampling,
    thermal_observable,
    without_overlaps,
)
from mdsens.errors import NumericalError, UserError
from mdsens.types import replaced
from potentials.lennard_jones import LennardJones
from systems import fcc

FOUR = 4.0  # standard errors: exceeded once in 16 000 comparisons


def few(**changes):
    return dataclasses.replace(
        ThermalSettings(temperature=0.2, timestep=0.1, n_samples=40, n_equilibration=5), **changes
    )


def agree(values, exact, errors):
    np.testing.assert_array_less(np.abs(values - exact), FOUR * errors)


def test_two_discs_have_their_exact_averages_and_derivatives(two_discs, exact):
    selection = select(two_discs, ["soft_sphere.sigma[A]", "soft_sphere.epsilon", "box.length"])
    settings = few(n_samples=800, n_equilibration=20, sample_every=8, friction=2.0, skin=0.08)
    observables = {"energy": energy, "pressure": ThermalPressure(0.2)}
    found = averages(sample(two_discs, observables, selection, settings, replica_keys(0, range(64))))
    means, slopes = exact
    agree(found.mean, means, found.error)
    agree(found.slope, slopes, found.slope_error)
    assert np.all(found.slope_error < 0.05 * np.abs(slopes).max())  # so that agreement means something
    assert found.verdict is Equilibration.EQUILIBRATED


def test_a_law_that_jumps_at_its_cutoff_is_averaged_with_its_jump(two_atoms, exact_atoms):
    selection = select(two_atoms, ["lennard_jones.sigma[A]", "lennard_jones.epsilon"])
    settings = few(
        temperature=1.0, timestep=0.01, n_samples=500, n_equilibration=50, sample_every=20, friction=2.0, skin=0.06
    )
    samples = sample(two_atoms, {"energy": energy}, selection, settings, replica_keys(4, range(128)))
    found, (means, slopes) = averages(samples), exact_atoms
    agree(found.mean, means, found.error)
    agree(found.slope, slopes, found.slope_error)
    unweighted = averages(dataclasses.replace(samples, log_weights=np.zeros_like(samples.log_weights)))
    assert abs(unweighted.mean[0] - means[0]) > 3 * FOUR * unweighted.error[0]  # a jump of a third of kT is felt


def test_a_trap_has_its_exact_energy(trap, mean_square):
    settings = few(timestep=0.3, n_samples=400, sample_every=5, friction=2.0)
    selection = select(trap, ["trap.k"])
    found = averages(sample(trap, {"u": energy, "x2": mean_square}, selection, settings, replica_keys(1, range(20))))
    agree(found.mean, [8 * 2 * 0.5 * 0.2, 0.2 / 2.0], found.error)  # kT/2 per coordinate; kT/k
    agree(found.slope[:, 0], [0.0, -0.2 / 2.0**2], found.slope_error[:, 0])
    # dU/dk at fixed positions is <U>/k, all of which the fluctuations take back
    agree(found.explicit[0], 8 * 2 * 0.5 * 0.2 / 2.0, 2 * found.error[0])


@pytest.mark.slow
def test_two_standard_errors_hold_the_trap_in_ninety_of_a_hundred_repetitions(trap, mean_square):
    temperature, k = 0.7, 2.0
    settings = few(
        temperature=temperature, timestep=0.3, n_samples=3000, n_equilibration=40, sample_every=5, friction=2.0
    )
    keys = jax.vmap(jax.random.key)(jnp.arange(100))
    every = sample(trap, {"x2": mean_square}, select(trap, ["trap.k"]), settings, keys)
    one = [dataclasses.replace(every, **{n: a[r : r + 1] for n, a in every.arrays.items()}) for r in range(100)]
    found = [averages(repetition) for repetition in one]
    inside = [abs(f.mean[0] - temperature / k) < 2 * f.error[0] for f in found]
    slope_inside = [abs(f.slope[0, 0] + temperature / k**2) < 2 * f.slope_error[0, 0] for f in found]
    assert sum(inside) >= 90
    assert sum(slope_inside) >= 90


@pytest.mark.slow
def test_both_thermostats_sample_the_same_ensemble(many_discs):
    # steps twice as long leave half a per cent of the kinetic temperature, four standard errors
    settings = few(timestep=0.025, n_samples=200, n_equilibration=20, sample_every=30)
    arguments = (many_discs, {"energy": energy}, select(many_discs, ["soft_sphere.sigma"]))
    langevin, chain = (
        averages(sample(*arguments, dataclasses.replace(settings, integrator=name), replica_keys(3, range(12))))
        for name in ("langevin", "nose_hoover")
    )
    agree(langevin.mean, chain.mean, np.hypot(langevin.error, chain.error))
    agree(langevin.slope, chain.slope, np.hypot(langevin.slope_error, chain.slope_error))
    # the chain's total momentum is zero: (n - 1) d degrees of freedom, or T would be off by 4 %
    assert chain.kinetic_temperature[0] == pytest.approx(0.2, abs=FOUR * chain.kinetic_temperature[1])
    assert chain.kinetic_temperature[1] < 0.002


def difference(state):
    """Return how much the energy over the listed pairs lacks of that over all pairs."""
    return energy(state) - energy(state.with_every_pair())


def brief(state, replicas):
    """Sample 20 times, so that trajectories can still be compared."""
    observables = {"energy": energy, "difference": difference}
    settings = few(timestep=0.02, n_samples=20, sample_every=7, skin=0.05)
    return sample(state, observables, select(state, ["soft_sphere.epsilon"]), settings, replica_keys(7, replicas))


def test_pairs_are_listed_before_they_are_felt_and_replicas_do_not_depend_on_their_company(many_discs, monkeypatch):
    real, asked = sampling._room, []

    def scarce(n_pairs, factor, state):
        asked.append(n_pairs)
        return 32 if len(asked) % 2 else real(n_pairs, 4.0, state)

    monkeypatch.setattr(sampling, "_room", scarce)  # the first list of every run is too small
    together, others = (brief(many_discs, replicas) for replicas in (range(2), range(1, 3)))
    assert len(asked) == 4
    assert np.abs(together.values[..., 1]).max() < 1e-12
    np.testing.assert_allclose(together.values[1, :, 0], others.values[0, :, 0], rtol=1e-6)  # chaos is slow at first
    assert joined([together, others]).values.shape == (4, 20, 2)


def test_progress_is_reported_after_every_segment(trap, mean_square):
    settings = few(n_samples=250, sample_every=10)
    calls = []
    arguments = (trap, {"x2": mean_square}, select(trap), settings, replica_keys(0, range(1)))
    assert sample(*arguments, done=lambda: calls.append(1)).values.shape == (1, 250, 1)
    assert len(calls) == n_segments(settings) == 3


def test_the_sampled_energy_of_a_law_that_jumps_is_the_shifted_one():
    start = fcc.build(fcc.Options(n_cells=(3, 3, 3), spacing=1.2, perturbation=0.1))
    cut, shifted = (
        State.unlisted(start.configuration, LennardJones(1.1, 1.3, cutoff=2.0, truncation=name)).with_every_pair()
        for name in ("cut", "shifted")
    )
    for state in (cut, shifted):  # the edge is taken one part in 1e12 inside
        assert float(sampled_energy(state)) == pytest.approx(float(energy(shifted)), rel=1e-10)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"temperature": 0.0}, "thermal.temperature is 0.0; it must be finite and greater than 0."),
        ({"temperature": float("nan")}, "thermal.temperature is nan"),
        ({"timestep": -0.1}, "thermal.timestep is -0.1"),
        ({"n_samples": 19}, "thermal.n_samples is 19; it must be at least 20."),
        ({"sample_every": 0}, "thermal.sample_every is 0"),
    ],
)
def test_settings_out_of_range_are_refused(changes, words):
    with pytest.raises(UserError, match=words.replace("(", r"\(")):
        few(**changes)


def test_a_timestep_that_is_too_large_is_a_sentence(trap, two_discs, mean_square):
    settings = few(timestep=3.0, n_samples=400)
    with pytest.raises(NumericalError, match=r"did not stay finite with thermal\.timestep = 3"):
        sample(trap, {"x2": mean_square}, select(trap), settings, replica_keys(0, range(1)))
    overlapping = replaced(
        two_discs.moved(jnp.array([[0.1, 0.2], [0.3, 0.2]]), two_discs.pairs).with_every_pair(),
        {"potential": replaced(two_discs.potential, {"epsilon": Uniform(1e4)})},
    )
    with pytest.raises(NumericalError, match=r"in one step than .* make thermal\.timestep smaller than 0\.1"):
        sample(overlapping, {"u": energy}, select(overlapping), few(), replica_keys(0, range(1)))


@pytest.mark.slow
def test_overlaps_of_the_start_are_taken_away(many_discs):
    crowded = many_discs.moved(many_discs.position * 0.5, many_discs.pairs).with_every_pair()
    relaxed = without_overlaps(crowded)
    assert energy(crowded) > 1.0
    assert energy(relaxed) < 1e-3


def test_what_cannot_be_sampled_is_refused(trap, two_discs, mean_square):
    keys = replica_keys(0, range(1))
    with pytest.raises(UserError, match="nothing to average"):
        sample(two_discs, {}, select(two_discs), few(), keys)
    with pytest.raises(UserError, match="keeps the angular momentum"):
        sample(trap, {"x2": mean_square}, select(trap), few(integrator="nose_hoover"), keys)
    field = EnergyFunction(lambda x, params, box: params["a"] * jnp.sum(jnp.cos(2 * jnp.pi * x / 2.2)), {"a": 1.0})
    pushed = replaced(two_discs, {"potential": field})
    with pytest.raises(UserError, match="an outer field acts"):
        sample(pushed, {"x2": mean_square}, select(pushed), few(integrator="nose_hoover"), keys)
    with pytest.raises(UserError, match=r"no parameter 'soft_sphere\.sgma'"):
        select(two_discs, ["soft_sphere.sgma"])
    with pytest.raises(UserError, match="no thermal observable 'presure'; did you mean pressure"):
        thermal_observable("presure", 1.0)


def test_a_run_that_is_no_equilibrium_says_so(trap, mean_square):
    settings = few(timestep=0.3, n_samples=400, sample_every=5, friction=2.0)
    samples = sample(trap, {"x2": mean_square}, select(trap), settings, replica_keys(2, range(4)))
    ramp = np.linspace(0.0, 1.0, 400)[None, :, None] * samples.values.std()
    step = np.arange(4)[:, None, None] * samples.values.std()
    slow = np.random.default_rng(0).standard_normal((4, 400, 1))
    for t in range(1, 400):
        slow[:, t] = 0.95 * slow[:, t - 1] + 0.3 * slow[:, t]
    verdicts = [
        averages(dataclasses.replace(samples, values=values)).verdict
        for values in (samples.values, samples.values + ramp, samples.values + step, slow)
    ]
    assert verdicts[0] is Equilibration.EQUILIBRATED
    assert verdicts[1] is Equilibration.DRIFTING
    assert verdicts[2] is Equilibration.DISAGREEING
    assert verdicts[3] is Equilibration.TOO_SHORT
    unequal = dataclasses.replace(samples, log_weights=3.0 * np.random.default_rng(1).standard_normal((4, 400)))
    assert averages(unequal).verdict is Equilibration.UNEQUAL
    check_equilibration(verdicts[0])
    with pytest.raises(NumericalError, match=r"sampling: The first half .* raise thermal\.n_equilibration\."):
        check_equilibration(verdicts[1])
