"""A relaxation that stalls, rises or breaks down says so soon, and which particle it is."""

import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mdsens.energy.foreign import EnergyFunction
from mdsens.errors import NumericalError, UserError
from mdsens.relaxation import ConjugateGradient, Fire, RelaxationSettings, relax
from mdsens.relaxation.way import _Watch
from mdsens.results import Verdict, check
from mdsens.types import Configuration, FreeBox


def in_space(position):
    return Configuration(jnp.asarray(position), jnp.zeros(len(position), int), FreeBox(2))


def single(position, k, box):
    """Return springs to the corners of a square, computed in single precision."""
    moved = (position - jnp.array([[0.0, 0], [1.1, 0], [0, 1.2], [1.3, 1.4]])).astype(jnp.float32)
    return (0.5 * k * jnp.sum(moved**2) + 0.1 * jnp.sum(jnp.sin(3 * moved))).astype(float)


@pytest.mark.parametrize("rule", [ConjugateGradient(), Fire()], ids=["conjugate gradients", "FIRE"])
def test_an_energy_in_single_precision_stalls_and_says_where(rule):
    begun = time.perf_counter()
    start = in_space(np.random.default_rng(0).uniform(size=(4, 2)))
    found = relax(EnergyFunction(single, 1.0), start, RelaxationSettings(newton=False, minimizer=rule))
    assert found.verdict in (Verdict.STALLED, Verdict.CONVERGED)
    assert time.perf_counter() - begun < 60
    if found.verdict is Verdict.STALLED:
        with pytest.raises(NumericalError, match=r"single precision.*Particle [0-3] \(species A\) feels the largest"):
            check(found.verdict, reason=found.reason)


def test_a_force_that_is_no_gradient_stalls():
    @jax.custom_jvp
    def leaning(position):
        return 0.5 * jnp.sum(position**2)

    @leaning.defjvp
    def slope(primals, tangents):
        (position,), (moved,) = primals, tangents
        return leaning(position), jnp.sum((position + jnp.array([0.0, 0.3])) * moved)

    law = EnergyFunction(lambda position, k, box: k * leaning(position), 1.0)
    start = in_space([[0.2, 0.1], [0.4, 0.3]])
    settings = RelaxationSettings(minimizer=ConjugateGradient(), newton=False)
    found = relax(law, start, settings)
    assert found.verdict is Verdict.STALLED
    assert len(found.history.energy) < 25_000
    assert "largest force" in found.reason


def test_an_energy_that_rises_is_found_out():
    watch = _Watch(-20.0, 1.0)
    assert not watch.rises(-19.0)
    assert not watch.rises(5.0)  # once may be a swing
    assert watch.rises(50.0)


def test_slow_progress_is_no_stall():
    watch = _Watch(1.0, 1.0)
    steps = range(0, 200_000, 200)
    assert not any(watch.stalls(n, np.exp(-n / 1e5), 1.0) for n in steps)
    still = _Watch(1.0, 1.0)
    assert next(n for n in steps if still.stalls(n, 1.0, 1e-3)) == 20_200


def test_a_broken_force_names_its_particle():
    def broken(position, k, box):
        return k * jnp.sum((position - 1.0) ** 2) + jnp.sqrt(position[2, 0] - 0.5)

    start = in_space([[0.0, 0.0], [0.5, 0.2], [0.4, 0.9]])
    with pytest.raises(UserError, match="particle 2 at"):
        relax(EnergyFunction(broken, 1.0), start)
    found = relax(EnergyFunction(broken, 1.0), start, refuse=False)
    with pytest.raises(NumericalError, match=r"infinite or NaN.*Particle 2 \(species A\) has the force nan"):
        check(found.verdict, reason=found.reason)


def test_a_state_at_rest_gives_no_reason():
    found = relax(EnergyFunction(lambda x, k, box: k * jnp.sum(x**2), 1.0), in_space([[1.0, 2.0]]))
    assert (found.verdict, found.reason) == (Verdict.CONVERGED, "")
