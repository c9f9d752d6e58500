"""One small packing, relaxed once, with made-up sensitivities: these tests are about files."""

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mdsens.energy.parameters import PerSpecies, Uniform
from mdsens.io import Provenance, Run, collect, write_run
from mdsens.relaxation import relax
from mdsens.response.null_space import ZeroModes
from mdsens.sensitivity.certified import Certificate, ObservableSensitivity, PositionSensitivity
from mdsens.types import Configuration, PeriodicBox
from potentials.soft_sphere import SoftSphere

N = 32
RESOLVED = 'seed = 3\n\n[system]\nkind = "packing" # µ\n'


def certificate(random: np.random.Generator, k: int) -> Certificate:
    return Certificate(
        max_force=3e-15,
        residual=random.random(k),
        error=random.random(k),
        relative_error=random.random(k),
        bound=random.random(k),
        smallest_eigenvalue=0.0123,
        largest_eigenvalue=17.5,
        zero_modes=ZeroModes(translations=2, rotations=1, rattlers=3, floppy=4),
        one_sided=True,
        at_any_point=True,
        method="sparse factorisation",
    )


@pytest.fixture(scope="session")
def provenance() -> Provenance:
    return collect("# as given\nseed = 3\n", RESOLVED, 3, {"relax": 1.5, "sensitivity": 0.25}, {"sensitivity": "done"})


@pytest.fixture(scope="session")
def run(provenance: Provenance) -> Run:
    """A relaxed 2D packing with made-up derivatives in both diameters and an off-diagonal box entry."""
    random = np.random.default_rng(0)
    length = float(np.sqrt(N / 2 * np.pi * (0.6**2 + 1) / 4 / 0.98))
    position = jax.random.uniform(jax.random.key(3), (N, 2)) * length
    species = jnp.repeat(jnp.arange(2), N // 2)
    start = Configuration(position, species, PeriodicBox.cubic(length, 2), ("A", "B"))
    relaxation = relax(SoftSphere(PerSpecies([0.6, 1.0]), Uniform(1.0)), start)
    paths = ("soft_sphere.sigma[A]", "soft_sphere.sigma[B]", "box.matrix[0,1]")
    values, units = np.array([0.6, 1.0, 0.0]), ("length", "length", "length")
    positions = PositionSensitivity(paths, values, units, random.standard_normal((3, N, 2)), certificate(random, 3))
    observables = tuple(
        ObservableSensitivity(
            name=name,
            value=random.random(),
            paths=paths,
            parameter_values=values,
            units=units,
            values=random.random(3),
            way="adjoint",
            certificate=certificate(random, 3),
        )
        for name in ("pressure", "energy")
    )
    return Run(relaxation, positions, observables, provenance)


@pytest.fixture(scope="session")
def tilted(run: Run) -> Run:
    """The same state in a sheared box whose second vector leaves its place: a box that AMBER cannot say."""
    return _with_box(run, PeriodicBox(np.array([[4.5, 0.3], [0.4, 4.6]])))


def _with_box(run: Run, box: PeriodicBox) -> Run:
    state = run.relaxation.state
    old = state.configuration
    configuration = Configuration(old.position, old.species, box, old.species_names)
    moved = dataclasses.replace(state, configuration=configuration)
    return dataclasses.replace(run, relaxation=dataclasses.replace(run.relaxation, state=moved))


@pytest.fixture
def stored(run: Run, tmp_path: Path) -> Path:
    path = tmp_path / "run.h5"
    write_run(path, run)
    return path
