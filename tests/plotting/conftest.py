"""Small relaxed packings and the records that figures are made of."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mdsens import plotting
from mdsens.energy import energy, pressure
from mdsens.energy.parameters import PerSpecies, Uniform
from mdsens.energy.paths import select
from mdsens.io import Run, StoredRun, collect, read_run, write_run
from mdsens.relaxation import Relaxation, relax
from mdsens.response import linear_response
from mdsens.sensitivity import observable_sensitivity, position_sensitivity
from mdsens.types import Configuration, PeriodicBox
from potentials.soft_sphere import SoftSphere

PATHS = ("soft_sphere.sigma[A]", "soft_sphere.epsilon", "box.length")


def relaxed(*, n: int, packing_fraction: float, seed: int) -> Relaxation:
    """Relax half small (0.6), half large (1) harmonic discs."""
    length = (n / 2 * np.pi / 4 * (0.6**2 + 1) / packing_fraction) ** 0.5
    start = jax.random.uniform(jax.random.key(seed), (n, 2)) * length
    box = PeriodicBox.cubic(length, 2)
    configuration = Configuration(start, jnp.repeat(jnp.arange(2), n // 2), box, ("A", "B"))
    return relax(SoftSphere(PerSpecies([0.6, 1.0]), Uniform(1.0)), configuration)


def stored(path: Path, relaxation: Relaxation) -> Path:
    """Write a relaxation with its sensitivities."""
    response = linear_response(relaxation)
    selection = select(relaxation.state, PATHS)
    positions = position_sensitivity(response, selection)
    observables = tuple(
        observable_sensitivity(response, function, selection, name=name, positions=positions)
        for name, function in (("energy", energy), ("pressure", pressure))
    )
    write_run(path, Run(relaxation, positions, observables, collect("", "", 0, {})))
    return path


@pytest.fixture(scope="session")
def planar_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    relaxation = relaxed(n=64, packing_fraction=0.86, seed=2)
    return stored(tmp_path_factory.mktemp("planar") / "planar.h5", relaxation)


@pytest.fixture(scope="session")
def spatial_run(planar_run: Path) -> StoredRun:
    """A run in three dimensions with made-up positions and derivatives: relaxing one takes too long here."""
    run, generator = read_run(planar_run), np.random.default_rng(0)
    n, length = len(run.position), 3.0
    position = generator.uniform(-0.5, length, (n, 3))
    separation = position[:, None] - position
    separation -= length * np.round(separation / length)
    touching = np.linalg.norm(separation, axis=-1) < 0.5 * (run.diameters[:, None] + run.diameters)
    contacts = np.argwhere(np.triu(touching, k=1))
    images = np.round((position[contacts[:, 0]] - position[contacts[:, 1]]) / length).astype(int)
    values = generator.normal(size=(len(PATHS), n, 3))
    return dataclasses.replace(
        run,
        position=position,
        box_matrix=length * np.eye(3),
        periodic=(True, True, True),
        contacts=contacts,
        contact_images=images,
        positions=dataclasses.replace(run.positions, values=values),
    )


@pytest.fixture
def iterates() -> plotting.Iterates:
    """Five starts, one of them refused, derivatives settling towards the reference."""
    generator = np.random.default_rng(0)
    step = np.unique(np.geomspace(1, 3000, 20).astype(int))
    reference = np.array([200.0, 150.0, 300.0, 250.0, np.nan])
    decay = np.exp(-step / 200.0) * generator.uniform(1, 10, (5, 1))
    implicit = decay**2
    implicit[0, :3] = np.nan
    return plotting.Iterates(
        step=step,
        unrolled_l1=200.0 * (1 + decay),
        implicit_l1=200.0 * (1 + implicit),
        reference_l1=reference,
        unrolled_error=decay,
        implicit_error=implicit,
        n_refused=1,
    )


@pytest.fixture
def sweep() -> plotting.Sweep:
    """A quadratic energy, whose differences at midpoints are its slope."""
    theta = np.linspace(0.4, 1.0, 10)
    small = np.full(10, 0.01)
    return plotting.Sweep(
        theta=theta,
        energy_mean=theta**2,
        energy_sem=small,
        slope_total_mean=2 * theta,
        slope_total_sem=small,
        slope_fixed_box_mean=6 + theta,
        slope_fixed_box_sem=small,
        magnitude_mean=1 + theta,
        magnitude_sem=10 * small,
        n_used=np.full(10, 38),
        n_refused=np.full(10, 2),
    )


@pytest.fixture
def benchmark_rows() -> plotting.Benchmark:
    return plotting.Benchmark(
        ("speed", "error", "missed", "exact"),
        np.array([30.0, 1e-12, 5.0, 0.0]),
        np.array([10.0, 1e-10, 10.0, 1e-9]),
        ("at least", "at most", "at least", "at most"),
    )


@pytest.fixture
def relaxation_times() -> plotting.RelaxationTimes:
    """Two sizes, three starts, LAMMPS on one core only."""
    ours = np.array([[0.1, 0.3, 0.2], [4.0, 2.0, 3.0]])
    return plotting.RelaxationTimes(np.array([1_000, 10_000]), ours, ours + 6, 2 * ours, np.full((2, 3), np.nan))


@pytest.fixture
def response_costs() -> plotting.ResponseCosts:
    """A power law from the second of four sizes on, dominated by the factor."""
    n = np.array([1_000, 9_990, 100_000, 1_000_000])
    total = 1e-6 * n**1.25
    stages = (0.1 * total, 0.7 * total, 0.2 * total, np.array([0.0, 0.1, 1.0, 10.0]))
    return plotting.ResponseCosts(n, *stages, 0.5 + 5e-6 * n, 0.5 + 1e-5 * n, exponent=1.25, fit_from=10_000)
