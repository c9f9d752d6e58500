"""LAMMPS's own relaxation of box and positions (``fix box/relax iso``), in a process of its own.

``python lammps_box.py FOLDER`` relaxes the start in FOLDER at every pressure of its ``task.json`` and leaves the minima
there. Searching for a zero of the force along every line (``line forcezero``) it ends at rounding. Searches that
compare energies end earlier, at rounding of the energy; with ``thermo_modify norm no`` so does this one, at pressures
off by up to 1e-6. Strains count from the box that a ``minimize`` finds, so the last one starts where the others ended.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.large.lammps import load
from benchmarks.processes import environment

_ROUNDS = 4
_MOST_STEPS = 20_000


@dataclasses.dataclass(frozen=True)
class Start:
    """Where LAMMPS begins, and what particles feel.

    Attributes:
        position: Shape (n, d), within the box, units of length.
        species: From 0, shape (n,).
        edges: Edges of the rectangular periodic box, shape (d,).
        law: LAMMPS's commands ``pair_style`` and ``pair_coeff``.
        max_force: Norm of all forces, that of the box among them, at which to end, units of epsilon per length.
    """

    position: np.ndarray
    species: np.ndarray
    edges: np.ndarray
    law: str
    max_force: float = 1e-13


@dataclasses.dataclass(frozen=True)
class Minimum:
    """A minimum of the enthalpy as LAMMPS reports it.

    Attributes:
        pressure: The pressure asked for, units of epsilon/sigma^d.
        volume: Volume of the box (area in two dimensions).
        energy: Potential energy of all particles.
        pressure_error: LAMMPS's pressure less the one asked for.
        max_force: Largest Euclidean norm of a particle's force.
    """

    pressure: float
    volume: float
    energy: float
    pressure_error: float
    max_force: float


def relaxed_at(start: Start, pressures: Sequence[float]) -> list[Minimum]:
    """Relax the same start at every pressure.

    Raises:
        RuntimeError: When LAMMPS fails; the message is its last line.
    """
    with tempfile.TemporaryDirectory() as folder:
        task = {"law": start.law, "max_force": start.max_force, "pressures": [float(p) for p in pressures]}
        Path(folder, "task.json").write_text(json.dumps(task))
        np.savez(Path(folder, "start.npz"), position=start.position, species=start.species, edges=start.edges)
        done = subprocess.run(
            [sys.executable, __file__, folder],
            capture_output=True,
            text=True,
            env=environment(OMP_NUM_THREADS="1"),
            check=False,
        )
        if done.returncode != 0:
            raise RuntimeError("LAMMPS: " + (done.stdout + done.stderr).strip().splitlines()[-1])
        return [Minimum(**numbers) for numbers in json.loads(Path(folder, "minima.json").read_text())]


def main(folder: Path) -> None:
    """Do the task in a folder and leave ``minima.json`` there."""
    task = json.loads((folder / "task.json").read_text())
    with np.load(folder / "start.npz") as file:
        start = Start(file["position"], file["species"], file["edges"], task["law"], task["max_force"])
    engine = load()
    minima = [_relaxed(engine, start, pressure) for pressure in task["pressures"]]
    (folder / "minima.json").write_text(json.dumps([dataclasses.asdict(minimum) for minimum in minima]))


def _relaxed(engine: Any, start: Start, pressure: float) -> Minimum:
    n, d = start.position.shape
    lammps = engine(cmdargs=["-screen", "none", "-nocite", "-log", "none"])
    lammps.commands_string(_box(start.edges, int(start.species.max()) + 1))
    padded = np.zeros((n, 3))
    padded[:, :d] = start.position
    lammps.create_atoms(n, list(range(1, n + 1)), (start.species + 1).tolist(), padded.ravel().tolist())
    if lammps.get_natoms() != n:
        raise ValueError(f"{n - lammps.get_natoms()} of {n} particles lie outside the box.")
    lammps.commands_string(_method(start.law, d, pressure))
    for _ in range(_ROUNDS):
        lammps.command(f"minimize 0.0 {start.max_force!r} {_MOST_STEPS} {10 * _MOST_STEPS}")
    forces = np.array(lammps.gather_atoms("f", 1, 3)).reshape(-1, 3)
    found = Minimum(
        pressure=pressure,
        volume=lammps.get_thermo("vol"),
        energy=lammps.get_thermo("pe") * n,  # in units lj it is per particle
        pressure_error=lammps.get_thermo("press") - pressure,
        max_force=float(np.linalg.norm(forces, axis=1).max()),
    )
    lammps.close()
    return found


def _box(edges: np.ndarray, n_species: int) -> str:
    sides = " ".join(f"0 {float(edge)!r}" for edge in edges)
    return f"""
        units lj
        dimension {len(edges)}
        boundary p p p
        atom_style atomic
        atom_modify map array
        region box block {sides} {"-0.5 0.5" if len(edges) == 2 else ""}
        create_box {n_species} box
        mass * 1.0
    """


def _method(law: str, dimension: int, pressure: float) -> str:
    return f"""
        {law}
        neighbor 0.3 bin
        neigh_modify delay 0 every 1 check yes
        {"fix plane all enforce2d" if dimension == 2 else ""}
        fix box all box/relax iso {pressure!r} vmax 0.001
        min_style cg
        min_modify line forcezero
        thermo 1000000000
    """


if __name__ == "__main__":
    main(Path(sys.argv[1]))
