"""LAMMPS's own energy, forces and stress of pair laws at given positions, in one process for all of them.

``python lammps_pairs.py FOLDER`` evaluates every system in FOLDER's ``task.json`` and leaves ``found.json`` there. The
sums of absolute terms by which differences are judged are ours to know; LAMMPS gives the numbers alone.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.large.lammps import load
from benchmarks.processes import environment


class Found(NamedTuple):
    """What LAMMPS finds: energy, forces (n, d), and stress (d, d) times volume, in its own sign (pressure)."""

    energy: float
    forces: np.ndarray
    virial: np.ndarray


def evaluated(
    laws: Mapping[str, str], position: np.ndarray, species: Sequence[int], edges: np.ndarray
) -> dict[str, Found]:
    """Evaluate LAMMPS's ``pair_style`` and ``pair_coeff`` commands by name, in units ``lj`` at the same positions.

    Raises:
        RuntimeError: When LAMMPS fails; the message is its last line.
    """
    with tempfile.TemporaryDirectory() as folder:
        task = {"laws": dict(laws), "position": position.tolist(), "species": list(map(int, species))}
        Path(folder, "task.json").write_text(json.dumps({**task, "edges": edges.tolist()}))
        done = subprocess.run(
            [sys.executable, __file__, folder],
            capture_output=True,
            text=True,
            env=environment(OMP_NUM_THREADS="1"),
            check=False,
        )
        if done.returncode != 0:
            raise RuntimeError("LAMMPS: " + (done.stdout + done.stderr).strip().splitlines()[-1])
        found = json.loads(Path(folder, "found.json").read_text())
    return {name: Found(e, np.array(f), np.array(w)) for name, (e, f, w) in found.items()}


def main(folder: Path) -> None:
    """Do the task in a folder and leave ``found.json`` there."""
    task = json.loads((folder / "task.json").read_text())
    engine = load()
    found = {name: _one(engine, law, task) for name, law in task["laws"].items()}
    (folder / "found.json").write_text(json.dumps(found))


def _one(engine: Any, law: str, task: Mapping[str, Any]) -> tuple[float, list[list[float]], list[list[float]]]:
    position, edges = np.array(task["position"]), task["edges"]
    n, d = position.shape
    sides = " ".join(f"0 {edge!r}" for edge in edges)
    lammps = engine(cmdargs=["-screen", "none", "-nocite", "-log", "none"])
    lammps.commands_string(f"""
        units lj
        dimension {d}
        boundary p p p
        atom_style atomic
        atom_modify map array
        region box block {sides} {"-0.5 0.5" if d == 2 else ""}
        create_box {max(task["species"]) + 1} box
        mass * 1.0
    """)
    padded = np.zeros((n, 3))
    padded[:, :d] = position
    kinds = [kind + 1 for kind in task["species"]]
    lammps.create_atoms(n, list(range(1, n + 1)), kinds, padded.ravel().tolist())
    if lammps.get_natoms() != n:
        raise ValueError(f"{n - lammps.get_natoms()} of {n} particles lie outside the box.")
    lammps.commands_string(f"""
        {law}
        neighbor 0.3 bin
        compute pair all pressure NULL pair
        thermo_style custom pe vol c_pair[1] c_pair[2] c_pair[3] c_pair[4] c_pair[5] c_pair[6]
        thermo_modify norm no
        run 0
    """)
    forces = np.array(lammps.gather_atoms("f", 1, 3)).reshape(-1, 3)[:, :d]
    xx, yy, zz, xy, xz, yz = np.array(lammps.numpy.extract_compute("pair", 0, 1)) * lammps.get_thermo("vol")
    virial = np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])[:d, :d]
    energy = lammps.get_thermo("pe")
    lammps.close()
    return energy, forces.tolist(), virial.tolist()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
