"""From measurements to the arrays of the results file."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmarks.large.growth import exponent
from benchmarks.large.parts import Result, by_size


def part_arrays(results: Sequence[Result]) -> dict[str, np.ndarray]:
    """Return every quantity that all measurements of a part have, one entry per measurement."""
    names = [name for name in results[0] if name != "part" and all(name in result for result in results)]
    return {name: np.array([result[name] for result in results]) for name in names}


def relaxation_times(results: Sequence[Result]) -> dict[str, np.ndarray]:
    """Return wall times over sizes, shape (s, k) for k starts, NaN where nothing was measured."""
    groups = by_size(results)
    columns = {
        "ours": "relax_warm",
        "first_call": "relax_cold",
        "lammps_one": "lammps_best",
        "lammps_two": "lammps_two",
    }
    most = max(map(len, groups.values()))
    arrays = {"n_particles": np.array(list(groups))}
    for column, name in columns.items():
        arrays[column] = np.full((len(groups), most), np.nan)
        for row, group in enumerate(groups.values()):
            arrays[column][row, : len(group)] = [float(result.get(name, np.nan)) for result in group]
    return arrays


def response_costs(results: Sequence[Result], fit_from: int) -> dict[str, np.ndarray]:
    """Return the cost of a response by stages and the memory over sizes, shape (s,), and the fitted exponent."""
    ordered = sorted(results, key=lambda result: int(result["n_discs"]))
    fitted = [result for result in ordered if result["n_particles"] >= fit_from]

    def column(name: str) -> np.ndarray:
        return np.array([float(result[name]) for result in ordered])

    return {
        "n_particles": column("n_discs").astype(int),
        "assembly": column("response_assembly"),
        "factor": column("response_factor"),
        "solve": column("response_forward") + column("response_adjoint"),
        "certificate": column("response_certificate"),
        "relaxation_memory": column("relax_memory"),
        "memory": column("memory"),
        "exponent": np.array(exponent(fitted) if len(fitted) > 1 else np.nan),
        "fit_from": np.array(fit_from),
    }
