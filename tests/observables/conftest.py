"""Relaxed systems of every kind on which observables and their derivatives are tested."""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from mdsens.energy.parameters import Parameters
from mdsens.energy.paths import Selection, select
from mdsens.observables import Enthalpy, Workbench, made
from mdsens.pressure import relax_at_pressure
from mdsens.relaxation import PressureSettings, Relaxation, relax
from mdsens.response import LinearResponse, linear_response
from mdsens.results import check
from mdsens.sensitivity.derivatives import for_each, observable_slopes
from mdsens.types import Configuration
from potentials import lennard_jones, soft_sphere
from systems import bidisperse, cluster, fcc, l1_2

STEP = 1e-6  # relative step of differences: no contact changes


@dataclasses.dataclass(frozen=True)
class System:
    """A relaxed state, how it was relaxed, and what is differentiated in."""

    relaxation: Relaxation
    paths: tuple[str, ...]
    observables: tuple[str, ...]
    target: Configuration | None = None

    @functools.cached_property
    def response(self) -> LinearResponse:
        return linear_response(self.relaxation)

    @functools.cached_property
    def selection(self) -> Selection:
        return select(self.response.state, self.paths)

    def made(self, response: LinearResponse) -> dict[str, Callable]:
        bench = Workbench.at(response, self.target)
        fixed = {"enthalpy": Enthalpy(0.1)} if self.relaxation.box is None else {}
        return {name: fixed[name] if name in fixed else made(name, bench) for name in self.observables}

    def again(self, direction: Parameters, step: float) -> LinearResponse:
        """Relax again from the state with other parameters, the box scaled with its particles."""
        state = self.relaxation.state
        moved = jax.tree.map(lambda p, dp: p + step * dp, state.parameters, direction)
        species, names = state.configuration.species, state.configuration.species_names
        start = Configuration(state.position, species, moved.box, names)
        if self.relaxation.box is None:
            found = relax(moved.potential, start, self.relaxation.settings)
            check(found.verdict)
            return self._with_rattlers_in_place(linear_response(found))
        found = relax_at_pressure(moved.potential, start, float(moved.pressure), self.relaxation.box.settings)
        check(found.verdict)
        return linear_response(found)

    def _with_rattlers_in_place(self, response: LinearResponse) -> LinearResponse:
        """Return the response with rattlers, which relaxation pushes about, and the backbone's mean where they were."""
        held, before = response.network.backbone, self.relaxation.state.position
        shift = jnp.mean(before[held], axis=0) - jnp.mean(response.state.position[held], axis=0)
        position = jnp.where(held[:, None], response.state.position + shift, before)
        return dataclasses.replace(response, state=response.state.at(position, response.state.parameters))


def evaluated(system: System, response: LinearResponse) -> np.ndarray:
    """Return the values of all observables, made anew at a state."""
    still = jnp.zeros(len(response.border.strains))
    found = for_each(observable_slopes, tuple(system.made(response).values()), response.state, still)
    return np.array([float(part[0]) for part in found])


EVERYWHERE = ("energy", "coordination[1.0,1.4]", "eigenvalue[0]", "participation_ratio[0]", "distance")
PERIODIC = (
    "pressure",
    "enthalpy",
    "number_density",
    "stress[0,0]",
    "bulk_modulus",
    "shear_modulus[0,1]",
    "C12",
)
FLAT = (
    "poisson_ratio",
    "shear_modulus_reuss",
    "structure_factor[3.0,1.0]",
    "bond_order[6,1.1,1.6]",
    "radial_distribution[1.1,0.1]",
    "density_of_states[0.5,0.1]",
)
SOLID = ("structure_factor[4.0,1.0]", "bond_order[6,1.1,1.5]", "radial_distribution[1.1,0.06]")


def target_of(configuration: Configuration) -> Configuration:
    """Return the configuration with every particle moved a little, not rigidly."""
    moves = 0.03 * np.random.default_rng(3).standard_normal(configuration.position.shape)
    species, names = configuration.species, configuration.species_names
    return Configuration(configuration.position + moves, species, configuration.box, names)


def packing(options: dict, observables: tuple[str, ...]) -> System:
    start = bidisperse.build(bidisperse.Options(**options))
    law = soft_sphere.build(soft_sphere.Options(epsilon=(1.0, 2.0)), start.diameters, 2)
    relaxation = relax(law, start.configuration)
    paths = ("soft_sphere.sigma[A]", "soft_sphere.epsilon[B]", "box.length")
    target = target_of(relaxation.state.configuration)
    return System(relaxation, paths, observables, target)


def crystal_with_a_vacancy() -> System:
    # a smooth cutoff between shells, and a crystal that is not at rest: a strained one
    start = fcc.build(fcc.Options(n_cells=(4, 4, 4), spacing=1.08, vacancies=(5,)))
    law = lennard_jones.build(lennard_jones.Options(onset=1.7, cutoff=2.1), start.diameters, 1)
    relaxation = relax(law, start.configuration)
    paths = ("lennard_jones.sigma[A]", "lennard_jones.epsilon", "box.length")
    kept = [name for name in (*EVERYWHERE, *PERIODIC, *SOLID) if not name.startswith("partici")]
    target = target_of(relaxation.state.configuration)
    return System(relaxation, paths, tuple(kept), target)


def free_cluster() -> System:
    start = cluster.build(cluster.Options(shape="random", n_particles=12, seed=2))
    law = lennard_jones.build(lennard_jones.Options(onset=8.0, cutoff=10.0), start.diameters, 1)
    relaxation = relax(law, start.configuration)
    paths = ("lennard_jones.sigma[A]", "lennard_jones.epsilon")
    target = target_of(relaxation.state.configuration)
    return System(relaxation, paths, (*EVERYWHERE, "bond_order[4,1.2,1.5]"), target)


def binary_crystal() -> System:
    """Return an L1_2 crystal without one of its particles at constant pressure, its edges free."""
    start = l1_2.build(l1_2.Options(n_cells=(3, 3, 3), diameters=(1.0, 0.9), edge=1.5, vacancies=(1,)))
    options = lennard_jones.Options(onset=1.6, cutoff=2.0, epsilon=(1.0, 1.5, 0.8))
    law = lennard_jones.build(options, start.diameters, 2)
    settings = PressureSettings(box="orthorhombic")
    found = relax_at_pressure(law, start.configuration, 0.5, settings)
    check(found.verdict)
    paths = ("lennard_jones.sigma[A]", "lennard_jones.sigma[B]", "lennard_jones.epsilon[A,B]")
    kept = [name for name in (*EVERYWHERE, *PERIODIC, *SOLID) if not name.startswith("partici")]
    names = (*kept, "volume", "radial_distribution[A,B,1.1,0.06]")
    return System(found, paths, names, target_of(found.state.configuration))


SYSTEMS = {
    "2D packing": lambda: packing(
        {"n_particles": 60, "packing_fraction": 0.87, "seed": 3},
        (*EVERYWHERE, *PERIODIC, *FLAT, "packing_fraction", "mean_overlap"),
    ),
    "3D packing": lambda: packing(
        {"n_particles": 60, "dimension": 3, "packing_fraction": 0.8, "seed": 1, "diameters": (1.0, 1.2)},
        (*EVERYWHERE, *PERIODIC, "mean_overlap", "shear_modulus_hill"),
    ),
    "crystal with a vacancy": crystal_with_a_vacancy,
    "free cluster": free_cluster,
    "binary crystal": binary_crystal,
}


@functools.cache
def built(name: str) -> System:
    found = SYSTEMS[name]()
    check(found.relaxation.verdict)
    return found
