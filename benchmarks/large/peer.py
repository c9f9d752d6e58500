"""LAMMPS and this library have the same energy and the same forces."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.large import lammps
from benchmarks.large.options import Config
from benchmarks.large.parts import Part, Result, Spec, largest
from benchmarks.large.problems import lammps_start, packing
from mdsens.energy import State, energy, forces, max_reach
from mdsens.neighbors import neighbor_pairs
from workflows.rows import Row


def specs(config: Config, peer: str) -> list[Spec]:
    """Return one comparison of discs and one of spheres; none without LAMMPS."""
    n, diameters = min(config.relaxation.n_particles), config.relaxation.diameters
    fractions = {2: config.relaxation.packing_fraction, 3: config.spheres.packing_fraction}
    return [
        {"dimension": d, "n_particles": n, "packing_fraction": phi, "diameters": diameters, "lammps": peer}
        for d, phi in fractions.items()
        if peer
    ]


def measure(spec: Spec) -> dict[str, Any]:
    """Compare energy and forces at a random start."""
    sizes = spec["n_particles"], spec["dimension"], spec["packing_fraction"], tuple(spec["diameters"])
    problem = packing(*sizes, seed=0, max_force=1e-10)
    configuration = problem.configuration
    reach = max_reach(problem.potential, configuration)
    pairs = neighbor_pairs(configuration.position, configuration.box, reach)
    state = State(configuration, problem.potential, pairs)
    theirs = lammps.minimise(lammps_start(problem), style="cg", max_force=1e-2)
    ours = np.asarray(forces(state))
    return {
        "energy_difference": abs(float(energy(state)) / theirs.start_energy - 1),
        "force_difference": float(np.abs(ours - theirs.start_forces).max() / np.abs(ours).max()),
    }


def rows(config: Config, results: Sequence[Result]) -> list[Row]:
    """Return the row of the worst difference."""
    if not results:
        return []
    energies, differences = (largest(results, f"{name}_difference") for name in ("energy", "force"))
    note = (
        f"random starts of {int(results[0]['n_particles'])} discs and spheres: energy {energies:.0e}, forces "
        f"{differences:.0e} of the largest; LAMMPS {results[0]['lammps']}, harmonic/cut"
    )
    return [Row("energy and forces: LAMMPS's against ours", max(energies, differences), 1e-12, "at most", note)]


PART = Part("the same energy and forces as LAMMPS", specs, measure, rows)
