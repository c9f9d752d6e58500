"""Long-range corrections of Lennard-Jones particles: the part beyond the cutoff, as integrals say it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad

from mdsens.energy import State
from mdsens.energy.mixing import geometric_mean
from mdsens.energy.parameters import PerPair, PerParticle, PerSpecies, Uniform
from mdsens.equilibrium import Tail, TailedEnergy, ThermalPressure
from mdsens.errors import UserError
from mdsens.types import Configuration, FreeBox, PeriodicBox, replaced
from potentials.lennard_jones import LennardJones
from potentials.lennard_jones_tail import check_tail, tail_energy, tail_pressure
from potentials.soft_sphere import SoftSphere

EDGE, CUTOFF = 7.0, 2.5


def mixture(sigma, epsilon):
    """Five A and three B in a box so thin that the place of each does not matter."""
    places = jnp.asarray(np.random.default_rng(0).uniform(0, EDGE, (8, 3)))
    box = PeriodicBox.cubic(EDGE, 3)
    configuration = Configuration(places, jnp.array([0, 0, 1, 0, 1, 0, 0, 1]), box, ("A", "B"))
    return State.unlisted(
        configuration, LennardJones(sigma, epsilon, cutoff=CUTOFF, truncation="cut")
    ).with_every_pair()


def _law(r, s, e):
    return r**2 * 4 * e * ((s / r) ** 12 - (s / r) ** 6)


def _virial(r, s, e):
    return r**2 * 4 * e * (-12 * (s / r) ** 12 + 6 * (s / r) ** 6)


def integrals(state, held):
    """Return energy and pressure beyond the cutoffs ``held`` (n, n) for uniform density, pair by pair."""
    i, j = (index.ravel() for index in np.indices((8, 8)))
    sigma, epsilon = (
        np.broadcast_to(np.asarray(p.at(state.configuration.species, jnp.asarray(i), jnp.asarray(j))), i.shape)
        for p in (state.potential.sigma, state.potential.epsilon)
    )
    volume, both = EDGE**3, np.zeros(2)
    for s, e, c in zip(sigma, epsilon, held.ravel(), strict=True):
        energy, _ = quad(_law, c, np.inf, args=(s, e))
        virial, _ = quad(_virial, c, np.inf, args=(s, e))
        both += 2 * np.pi / volume * np.array([energy, -virial / (3 * volume)])
    return both


PARAMETERS = {
    "per species": (PerSpecies([1.0, 1.2]), PerSpecies([1.0, 0.6], mixing=geometric_mean)),
    "per pair": (PerPair([1.0, 0.8, 0.88]), PerPair([1.0, 1.5, 0.5])),
    "per particle": (PerParticle(np.linspace(0.8, 1.2, 8)), Uniform(1.1)),
}


@pytest.mark.parametrize("kind", PARAMETERS)
def test_the_tail_is_the_integral_beyond_the_cutoff_and_so_is_its_slope(kind):
    state = mixture(*PARAMETERS[kind])
    every = jnp.indices((8, 8)).reshape(2, -1)
    held = CUTOFF * np.asarray(state.potential.sigma.at(state.configuration.species, *every)).reshape(8, 8)
    got = [float(f(state)) for f in (tail_energy, tail_pressure)]
    np.testing.assert_allclose(got, integrals(state, held), rtol=1e-8)

    # all diameters scaled, cutoffs held
    def scaled(factor):
        sigma = replaced(state.potential.sigma, {"values": state.potential.sigma.values * factor})
        return replaced(state, {"potential": replaced(state.potential, {"sigma": sigma})})

    h = 1e-4
    difference = (integrals(scaled(1 + h), held) - integrals(scaled(1 - h), held)) / (2 * h)
    slope = jax.jacobian(lambda f: jnp.stack([tail_energy(scaled(f)), tail_pressure(scaled(f))]))(1.0)
    np.testing.assert_allclose(slope, difference, rtol=1e-5)


def test_the_tail_of_the_fluid_that_nist_published():
    # N = 500 at rho = 0.776, cut at 3: U_tail/N = (8/3) pi rho [1/3 3^-9 - 3^-3]
    state = mixture(PerSpecies([1.0, 1.0]), Uniform(1.0))
    density = 8 / EDGE**3
    state = replaced(state, {"potential": LennardJones(PerSpecies([1.0, 1.0]), cutoff=3.0, truncation="cut")})
    wanted = 8 * np.pi * density / 3 * (3.0**-9 / 3 - 3.0**-3)
    tail = Tail(tail_energy, tail_pressure)
    bare, tailed = (TailedEnergy(t, per_particle=True)(state) for t in (None, tail))
    assert float(tailed - bare) == pytest.approx(wanted)
    bare, tailed = (ThermalPressure(0.85, t)(state) for t in (None, tail))
    assert float(tailed - bare) == pytest.approx(16 * np.pi * density**2 / 3 * (2 * 3.0**-9 / 3 - 3.0**-3))


def test_systems_without_such_a_tail_are_refused():
    state = mixture(PerSpecies([1.0, 1.0]), Uniform(1.0))
    check_tail(state.potential, state)
    with pytest.raises(UserError, match='truncation = "cut"'):
        check_tail(LennardJones(1.0), state)
    with pytest.raises(UserError, match="lennard_jones"):
        check_tail(SoftSphere(1.0), state)
    free = replaced(state, {"configuration": replaced(state.configuration, {"box": FreeBox(3)})})
    with pytest.raises(UserError, match="periodic box in three dimensions"):
        check_tail(state.potential, free)
