"""Relaxations from random positions beside LAMMPS, and the response of the state they end in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.large import lammps
from benchmarks.large.clock import peak_memory, timed
from benchmarks.large.options import Config
from benchmarks.large.parts import Part, Result, Spec, by_size, largest, median
from benchmarks.large.problems import directions, lammps_start, packing, with_own_diameters
from benchmarks.large.stages import further_seconds, response_stages
from mdsens.energy.paths import select
from mdsens.relaxation import Relaxation, relax
from mdsens.results import check
from workflows.problem import Problem
from workflows.rows import Row

LARGE = 50_000  # particles: from here on the stricter targets hold
REPEATS = 5
STAGES = ("assembly", "factor", "forward", "adjoint")


def specs(config: Config, peer: str) -> list[Spec]:
    """Return one measurement per size and start."""
    options = config.relaxation
    common = {
        "diameters": options.diameters,
        "packing_fraction": options.packing_fraction,
        "n_further": options.n_further,
        "max_force": config.benchmark.max_force,
        "lammps": peer,
    }
    starts = range(config.benchmark.n_starts)
    return [{"n_particles": n, "start": start, **common} for n in options.n_particles for start in starts]


def measure(spec: Spec) -> dict[str, Any]:
    """Relax one start twice, cold and warm, and with LAMMPS in between; then time the response."""
    problem = packing(
        spec["n_particles"],
        2,
        spec["packing_fraction"],
        tuple(spec["diameters"]),
        seed=spec["start"],
        max_force=spec["max_force"],
    )
    cold, _ = timed(lambda: _relaxed(problem))
    peer = _peer(problem, spec) if spec["lammps"] else {}
    warm, relaxation = timed(lambda: _relaxed(problem))
    memory = peak_memory()
    chosen = select(relaxation.state, ["soft_sphere.sigma[A]"])
    stages = response_stages(relaxation, chosen, REPEATS)
    own = with_own_diameters(relaxation)
    weights = np.random.default_rng(0).standard_normal((1 + spec["n_further"], spec["n_particles"]))
    first, more = (directions(own.state, weights[:k]) for k in (1, len(weights)))
    return {
        "relax_cold": cold,
        "relax_warm": warm,
        "relax_memory": memory,
        "steps": len(relaxation.history.energy),
        "energy": relaxation.energy,
        "max_force_left": relaxation.max_force,
        **{f"response_{stage}": value for stage, value in stages.items()},
        **{f"further_{kind}": value for kind, value in further_seconds(own, first, more, REPEATS).items()},
        **peer,
    }


def _relaxed(problem: Problem) -> Relaxation:
    relaxation = relax(problem.potential, problem.configuration, problem.settings)
    check(relaxation.verdict, reason=relaxation.reason)
    return relaxation


def _peer(problem: Problem, spec: Spec) -> dict[str, Any]:
    """Relax with both styles on one core, and with the faster one on two."""
    start, tolerance = lammps_start(problem), spec["max_force"] / spec["diameters"][0]
    found = {style: lammps.minimise(start, style=style, max_force=tolerance) for style in lammps.STYLES}
    best = min((style for style in found if found[style].stopped == "force tolerance"), key=lambda s: found[s].seconds)
    two = lammps.minimise(start, style=best, max_force=tolerance, ranks=2)
    return {
        **{f"lammps_{style}": minimum.seconds for style, minimum in found.items()},
        **{f"lammps_{style}_steps": minimum.steps for style, minimum in found.items()},
        "lammps_best": found[best].seconds,
        "lammps_two": two.seconds,
        "lammps_style": best,
        "lammps_energy": found[best].energy,
        "lammps_max_force": found[best].max_force,
        "lammps_memory": found[best].peak_memory,
    }


def rows(config: Config, results: Sequence[Result]) -> list[Row]:
    """Return the rows of relaxation, response, certificate and further parameters; those beside LAMMPS if it ran."""
    found: list[Row] = []
    for n, group in by_size(results).items():
        found += [_relaxation_row(n, group)] if "lammps_best" in group[0] else []
        found += _response_rows(n, group) if n >= 10_000 else []
    return found


def _relaxation_row(n: int, group: Sequence[Result]) -> Row:
    warm, best = median(group, "relax_warm"), median(group, "lammps_best")
    note = (
        f"{warm:.3g} s warm, {median(group, 'relax_cold'):.3g} s first call, {median(group, 'steps'):.0f} steps, "
        f"{largest(group, 'relax_memory'):.2g} GiB; LAMMPS {best:.3g} s (cg {median(group, 'lammps_cg'):.3g}, fire "
        f"{median(group, 'lammps_fire'):.3g}), {median(group, 'lammps_two'):.3g} s on two cores; {_starts(group)}"
    )
    return Row(f"relax, N = {n}: our time / LAMMPS's", warm / best, 0.5 if n >= LARGE else 1.0, "at most", note)


def _response_rows(n: int, group: Sequence[Result]) -> list[Row]:
    cost, certificate = median(group, "response_response"), median(group, "response_certificate")
    stages = ", ".join(f"{stage} {_ms(group, f'response_{stage}')}" for stage in STAGES)
    certified = Row(
        f"certificate, N = {n}: its time / the response's",
        certificate / cost,
        1.0,
        "at most",
        f"{1e3 * certificate:.3g} ms beside {1e3 * cost:.3g} ms; smallest eigenvalues and error estimate",
    )
    if "lammps_best" not in group[0]:
        return [certified]
    best = median(group, "lammps_best")
    note = (
        f"{stages}; certified {_ms(group, 'response_whole')}, with the relaxation's factor "
        f"{_ms(group, 'response_as_is')}, first call {median(group, 'response_cold'):.3g} s; {_starts(group)}"
    )
    further = max(median(group, "further_parameter"), median(group, "further_observable"))
    return [
        Row(
            f"response, N = {n}: its time / LAMMPS's relaxation",
            cost / best,
            0.05 if n >= LARGE else 0.1,
            "at most",
            note,
        ),
        certified,
        Row(
            f"further parameter or observable, N = {n}: / LAMMPS's relaxation",
            further / best,
            0.005,
            "at most",
            f"{_ms(group, 'further_parameter')} and {_ms(group, 'further_observable')} each, in blocks of "
            f"{int(group[0]['n_further'])}, refined",
        ),
    ]


def _ms(group: Sequence[Result], name: str) -> str:
    return f"{1e3 * median(group, name):.3g} ms"


def _starts(group: Sequence[Result]) -> str:
    return f"median of {len(group)} starts" if len(group) > 1 else "1 start"


PART = Part("relaxation and response beside LAMMPS", specs, measure, rows)
