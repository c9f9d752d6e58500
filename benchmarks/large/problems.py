"""The systems of the suite: harmonic discs and spheres of energy scale 1."""

from __future__ import annotations

import dataclasses
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp

import systems
from benchmarks.large.lammps import Start
from mdsens.energy import Potential, State
from mdsens.energy.parameters import PairParameter, PerPair, PerParticle, PerSpecies, flattened
from mdsens.energy.paths import Selection
from mdsens.relaxation import Relaxation, RelaxationSettings
from mdsens.types import Configuration, PeriodicBox, replaced
from potentials.soft_sphere import SoftSphere
from workflows.problem import Problem

N_SPECIES = 10  # of the systems whose 55 pairs have diameters of their own


@dataclasses.dataclass(frozen=True)
class Lattice:
    """A hexagonal lattice of discs that all differ in size, at about the number of particles asked for.

    Attributes:
        n_particles: Number of discs, about.
        packing_fraction: Area of all discs over that of the box.
        spread: Diameters are uniform within 1 +- spread.
        perturbation: Largest random displacement along each axis, units of the mean diameter.
        seed: Seed of diameters and displacements.
        shear: Simple shear strain of positions and box.
    """

    n_particles: int
    packing_fraction: float
    spread: float
    perturbation: float
    seed: int
    shear: float = 0.0


def packing(
    n_particles: int,
    dimension: int,
    packing_fraction: float,
    diameters: tuple[float, float],
    *,
    seed: int,
    max_force: float,
) -> Problem:
    """Return a bidisperse packing at random positions; ``max_force`` is in units of epsilon over diameter A."""
    options = systems.bidisperse.Options(
        n_particles=n_particles,
        dimension=3 if dimension == 3 else 2,
        diameters=diameters,
        packing_fraction=packing_fraction,
        seed=seed,
    )
    begin = systems.bidisperse.build(options)
    return _problem(PerSpecies(begin.diameters), begin.configuration, max_force / diameters[0])


def lammps_start(problem: Problem) -> Start:
    """Return the same start for LAMMPS."""
    configuration = problem.configuration
    first, second = np.asarray(packed(problem.potential).sigma.values).tolist()
    assert isinstance(configuration.box, PeriodicBox)
    return Start(
        np.asarray(configuration.position),
        np.asarray(configuration.species),
        (first, second),
        float(configuration.box.matrix[0, 0]),
    )


def lattice(options: Lattice, *, max_force: float) -> Problem:
    """Return the lattice; ``max_force`` is in units of epsilon over the mean diameter."""
    n_along = max(3, round(math.sqrt(options.n_particles * math.sqrt(3) / 2)))
    n_rows = max(2, round(options.n_particles / (2 * n_along)))
    generator = np.random.default_rng(options.seed)
    diameters = generator.uniform(1 - options.spread, 1 + options.spread, 2 * n_along * n_rows)
    touching = systems.hexagonal.TOUCHING
    spacing = math.sqrt(touching / options.packing_fraction * float(np.mean(diameters**2)))
    begin = systems.hexagonal.build(
        systems.hexagonal.Options(
            n_cells=(n_along, n_rows),
            spacing=spacing,
            perturbation=options.perturbation / spacing,
            seed=options.seed,
        )
    )
    configuration, box = begin.configuration, begin.configuration.box
    if options.shear:
        assert isinstance(box, PeriodicBox)
        sheared = np.array([[1.0, options.shear], [0.0, 1.0]])
        box = PeriodicBox(sheared @ np.asarray(box.matrix))
        configuration = replaced(configuration, {"position": configuration.position @ sheared.T, "box": box})
    return _problem(PerParticle(diameters), configuration, max_force)


def many_species(n_particles: int, *, seed: int, max_force: float) -> Problem:
    """Return a random packing of ten species whose 55 pairs have independent diameters around 1.2."""
    generator = np.random.default_rng(seed)
    first, second = np.triu_indices(N_SPECIES)
    own = np.linspace(1.0, 1.4, N_SPECIES)
    sigma = 0.5 * (own[first] + own[second]) * generator.uniform(0.97, 1.03, len(first))
    species = np.arange(n_particles) % N_SPECIES
    edge = math.sqrt(math.pi / 4 * float(np.sum(own[species] ** 2)))
    configuration = Configuration(
        jnp.asarray(generator.uniform(0, edge, (n_particles, 2))),
        jnp.asarray(species),
        PeriodicBox.cubic(edge, 2),
        tuple("ABCDEFGHIJ"),
    )
    return _problem(PerPair(jnp.asarray(sigma)), configuration, max_force)


def random_half(state: State) -> Selection:
    """Return the diameter of a random half of the particles as one parameter."""
    return directions(state, np.random.default_rng(0).integers(0, 2, (1, state.configuration.n_particles)))


def directions(state: State, weights: np.ndarray) -> Selection:
    """Return directions in the space of all diameters as parameters; weights have shape (k, n)."""
    k = len(weights)
    nothing = jax.tree.map(lambda leaf: jnp.zeros((k, *leaf.shape)), state.parameters)
    tangents = eqx.tree_at(lambda p: p.potential.sigma.values, nothing, jnp.asarray(weights, dtype=float))
    names = tuple(f"soft_sphere.sigma, direction {number}" for number in range(k))
    rows = sp.csr_array(flattened(tangents))
    return Selection(names, np.ones(k), ("length",) * k, rows, state.parameters)


def with_own_diameters(relaxation: Relaxation) -> Relaxation:
    """Return the same relaxed packing with every particle's diameter as a parameter of its own."""
    state = relaxation.state
    diameters = packed(state.potential).sigma.values[state.configuration.species]
    law = replaced(state.potential, {"sigma": PerParticle(diameters)})
    state, loaded = (replaced(one, {"potential": law}) for one in (relaxation.state, relaxation.loaded))
    return dataclasses.replace(relaxation, state=state, loaded=loaded)


def packed(potential: Potential) -> SoftSphere:
    """Return the law of a packing."""
    assert isinstance(potential, SoftSphere)
    return potential


def _problem(sigma: PairParameter, configuration: Configuration, max_force: float) -> Problem:
    """Return a problem relaxed to a largest force in units of energy per length."""
    settings = RelaxationSettings(max_force=max_force * float(jnp.max(sigma.values)))
    return Problem(SoftSphere(sigma), configuration, settings)
