"""``mdsens thermal CONFIG.toml``: sample thermal equilibrium, average observables and differentiate the averages."""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import math
import time
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field
from rich.console import Console
from rich.table import Table

from mdsens import io
from mdsens.config import Names, OutputOptions, Section, load
from mdsens.energy import State
from mdsens.energy.paths import Selection, select
from mdsens.equilibrium import (
    Averages,
    Observable,
    Samples,
    Tail,
    ThermalSettings,
    averages,
    check_equilibration,
    joined,
    n_segments,
    replica_keys,
    sample,
    thermal_observable,
    without_overlaps,
)
from mdsens.equilibrium.samples import SERIES
from mdsens.equilibrium.tables import average_arrays, convergence_arrays, derivative_arrays, series_arrays
from mdsens.machine.progress import counting_progress, say
from mdsens.sweep import Record, note_manifest, run_members, stored_members
from mdsens.verification.checks import Check
from potentials.lennard_jones_tail import check_tail, tail_energy, tail_pressure
from workflows.output import announce, draw, prepare_output
from workflows.problem import ProblemSections, build_problem


class ThermalOptions(Section):
    """The ``[thermal]`` section; all masses are one."""

    temperature: float = Field(ge=1e-100, le=1e100, description="k_B T, units of energy")
    timestep: float = Field(0.005, gt=0, le=10, description="step of the integrator, units of time")
    integrator: Literal["langevin", "nose_hoover"] = Field(
        "langevin", description="thermostat; nose_hoover is for periodic systems without an outer field"
    )
    friction: float = Field(1.0, gt=0, le=1_000, description="of the Langevin thermostat, units of inverse time")
    thermostat_time: float = Field(0.5, gt=0, le=1_000, description="period of the Nose-Hoover chain, units of time")
    n_replicas: int = Field(4, ge=1, le=100_000, description="independent trajectories")
    replicas_per_batch: int = Field(
        2, ge=1, le=10_000, description="how many of them advance together; a finished batch is kept on disk"
    )
    n_equilibration: int = Field(100, ge=0, le=100_000_000, description="samples per replica discarded at first")
    n_samples: int = Field(1000, ge=20, le=100_000_000, description="samples per replica that count")
    sample_every: int = Field(20, ge=1, le=1_000_000, description="steps between samples")
    parameters: Names = Field(description='parameters to differentiate in, by path, such as "lennard_jones.epsilon"')
    observables: Names = Field(("energy_per_particle", "pressure"), description="what is averaged")
    tail_correction: bool = Field(
        False, description="whether energy and pressure hold the part beyond a plain Lennard-Jones cutoff"
    )
    relax_first: bool = Field(True, description="whether overlaps of the start are relaxed away before")
    seed: int = Field(0, ge=0, lt=2**63, description="of momenta and noise")


class Config(ProblemSections):
    """The whole file."""

    thermal: ThermalOptions
    output: OutputOptions = OutputOptions(name="thermal")

    @property
    def settings(self) -> ThermalSettings:
        """The engine's settings."""
        options = self.thermal
        return ThermalSettings(
            temperature=options.temperature,
            timestep=options.timestep,
            n_samples=options.n_samples,
            n_equilibration=options.n_equilibration,
            sample_every=options.sample_every,
            integrator=options.integrator,
            friction=options.friction,
            thermostat_time=options.thermostat_time,
            skin=self.relaxation.skin,
        )


@dataclasses.dataclass(frozen=True)
class Task:
    """What is sampled.

    Attributes:
        state: Where the replicas start.
        observables: What is averaged, by name.
        selection: What the averages are differentiated in.
        settings: How.
    """

    state: State
    observables: dict[str, Observable]
    selection: Selection
    settings: ThermalSettings


def run(arguments: argparse.Namespace) -> int:
    """Sample (or resume) all replicas, average, save, draw, print; 1 when this is not equilibrium yet."""
    loaded = load(arguments.config, schema=Config, overrides=arguments.overrides)
    config = loaded.config
    task = build_task(config)
    folder = prepare_output(arguments.output)
    begun = time.perf_counter()
    provenance = io.collect(loaded.text, loaded.resolved, config.thermal.seed, {})
    members = folder / f"{config.output.name}.members"
    note_manifest(members, loaded.resolved, say)
    samples = run_replicas(config, task, members, provenance, redo=arguments.redo)
    found = averages(samples)
    groups = tables(task, samples, found)
    path = folder / f"{config.output.name}.h5"
    stages = {"sampling": time.perf_counter() - begun}
    provenance = io.collect(loaded.text, loaded.resolved, config.thermal.seed, stages)
    io.write_tables(path, "thermal", groups, attributes(config, task, found), provenance, overwrite=True)
    print_tables(found)
    announce(path, draw(path, folder, config.output))
    check_equilibration(found.verdict)
    return 0


def tables(task: Task, samples: Samples, found: Averages) -> dict[str, dict[str, np.ndarray]]:
    """Return the groups of the results file from the series."""
    return {
        "averages": average_arrays(found),
        "derivatives": derivative_arrays(found, task.selection.values),
        "convergence": convergence_arrays(samples),
        "series": series_arrays(samples),
    }


def expected(stored: io.Tables, config: Config, members: Path) -> tuple[io.Expectation, list[Check]]:
    """Return what the file should hold: everything made again from the series of its members, or its own without."""
    task = build_task(config)
    keys = [member_key(config, batch) for batch in batches(config)]
    records = stored_members(keys, members) or [stored.groups["series"]]
    samples = joined([restored(record, task) for record in records])
    found = averages(samples)
    leaves = io.tables_leaves("thermal", tables(task, samples, found), attributes(config, task, found))
    walk = "only with the members: samples of a random walk"
    return io.Expectation(leaves, {}, {f"series/({'|'.join(SERIES)})": walk}), []


def batches(config: Config) -> list[range]:
    """Return the numbers of the replicas that advance together."""
    numbers, size = range(config.thermal.n_replicas), config.thermal.replicas_per_batch
    return [numbers[k : k + size] for k in numbers[::size]]


def build_task(config: Config) -> Task:
    """Build the system and look every name up before anything long runs.

    Raises:
        UserError: When a parameter or an observable is unknown, or tail corrections are not meant for the system.
    """
    problem, options = build_problem(config), config.thermal
    state = State.unlisted(problem.configuration, problem.potential)
    tail = None
    if options.tail_correction:
        check_tail(problem.potential, state)
        tail = Tail(tail_energy, tail_pressure)
    observables = {name: thermal_observable(name, options.temperature, tail) for name in options.observables}
    return Task(state, observables, select(state, options.parameters), config.settings)


def run_replicas(
    config: Config, task: Task, members: Path, provenance: io.Provenance, *, redo: bool = False
) -> Samples:
    """Sample all replicas, batch by batch; what an interrupted run has finished is read."""
    options, segments = config.thermal, n_segments(task.settings)
    groups = batches(config)
    keys = [member_key(config, batch) for batch in groups]
    missing = [key for key in keys if redo or not io.member_path(members, key).exists()]
    begin = functools.cache(lambda: without_overlaps(task.state) if options.relax_first else task.state)
    with counting_progress(f"{options.n_replicas} replicas", len(missing) * segments) as done:

        def work(k: int) -> Record:
            replicas = replica_keys(options.seed, groups[k])
            return sample(begin(), task.observables, task.selection, task.settings, replicas, done=done).arrays

        records = run_members(keys, work, members, provenance, redo=redo, say=say)
    return joined([restored(record, task) for record in records])


def restored(record: Record, task: Task) -> Samples:
    """Return the series of one batch from its record."""
    names, settings = tuple(task.observables), task.settings
    arrays = {name: np.asarray(record[name]) for name in SERIES}
    return Samples(names, task.selection.paths, settings.temperature, settings.interval, **arrays)


def member_key(config: Config, batch: range) -> str:
    """Return what identifies a batch: everything that decides its series, and its replicas."""
    common = {"stage": "thermal", "first": batch.start, "last": batch.stop}
    thermal = config.thermal.model_dump(mode="json", exclude={"n_replicas", "replicas_per_batch"})
    sections = config.model_dump(mode="json", include={"system", "potential", "relaxation"}, serialize_as_any=True)
    return json.dumps(common | sections | {"thermal": thermal}, sort_keys=True)


def attributes(config: Config, task: Task, found: Averages) -> dict[str, Any]:
    """Return what a reader of the file wants to know beside the numbers."""
    options = config.thermal
    return {
        "temperature": options.temperature,
        "timestep": options.timestep,
        "interval": task.settings.interval,
        "integrator": options.integrator,
        "n_particles": task.state.configuration.n_particles,
        "n_replicas": options.n_replicas,
        "n_samples": options.n_samples,
        "kinetic_temperature": found.kinetic_temperature,
        "verdict": found.verdict.value,
    }


def print_tables(found: Averages) -> None:
    """Print averages, derivatives and the verdict."""
    console = Console()
    table = Table(title="averages")
    derivatives = Table(title="derivatives of the averages")
    for heading in ("observable", "mean ± error", "tau", "N_eff", "halves", "replicas"):
        table.add_column(heading, justify="left" if heading == "observable" else "right", no_wrap=True)
    for heading in ("observable", "parameter", "derivative ± error", "N_eff"):
        derivatives.add_column(heading, justify="right" if "_" in heading or "±" in heading else "left", no_wrap=True)
    for a, name in enumerate(found.observables):
        checks = (f"{found.halves[a]:+.1f}", f"{found.replicas[a]:.2f}")
        worth = (f"{found.tau[a]:.2g}", f"{found.n_effective[a]:.0f}")
        table.add_row(name, with_error(found.mean[a], found.error[a]), *worth, *checks)
        for k, path in enumerate(found.paths):
            value = with_error(found.slope[a, k], found.slope_error[a, k])
            derivatives.add_row(name, path, value, f"{found.slope_n_effective[a, k]:.0f}")
    console.print(table)
    console.print("tau: autocorrelation time; halves: their difference in standard errors;")
    console.print("replicas: probability of a spread like theirs")
    console.print(derivatives)
    console.print(f"kinetic temperature {with_error(*found.kinetic_temperature)}", highlight=False)
    print(f"{found.verdict.value}: {found.verdict.sentence}")


def with_error(value: float, error: float) -> str:
    """Write a number and its standard error, both to the second significant digit of the error."""
    if not (math.isfinite(error) and error > 0):
        return f"{value:.6g} ± {error:.2g}"
    digits = max(0, 1 - math.floor(math.log10(error)))
    return f"{value:.{digits}f} ± {error:.{digits}f}"
