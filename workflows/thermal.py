"""``mdsens thermal CONFIG.toml``: sample thermal equilibrium, average observables and differentiate the averages."""

from __future__ import annotations

import functools
from typing import Literal

from pydantic import Field
from rich.console import Console

from mdsens.config import Names, OutputOptions, Section
from mdsens.energy import State
from mdsens.energy.paths import Selection, select
from mdsens.equilibrium import (
    Equilibration,
    Observable,
    Tail,
    ThermalSettings,
    averages,
    check_equilibration,
    joined,
    n_segments,
    replica_keys,
    restored,
    sample,
    thermal_observable,
    thermal_tables,
    without_overlaps,
)
from mdsens.sweep import Record
from potentials.lennard_jones_tail import check_tail, tail_energy, tail_pressure
from workflows.problem import ProblemSections, build_problem
from workflows.study import Done, Findings, Records, Stage, Study
from workflows.terminal import table, with_error


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
    def seed(self) -> int:
        """The seed of momenta and noise; the system's may be another."""
        return self.thermal.seed

    def settings(self) -> ThermalSettings:
        """Return the engine's settings."""
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


def look_up(config: Config) -> tuple[State, dict[str, Observable], Selection]:
    """Return where replicas start, what is averaged, by name, and what the averages are differentiated in.

    Raises:
        UserError: When a parameter or an observable is unknown, or tail corrections are not meant for the system.
    """
    problem, options = build_problem(config), config.thermal
    tail = None
    if options.tail_correction:
        check_tail(problem.potential, problem.start)
        tail = Tail(tail_energy, tail_pressure)
    observables = {name: thermal_observable(name, options.temperature, tail) for name in options.observables}
    config.settings()
    return problem.start, observables, select(problem.start, options.parameters)


def stages(config: Config) -> dict[str, Stage]:
    """Return the batches of replicas that advance together."""
    (state, observables, selection), options, settings = look_up(config), config.thermal, config.settings()
    begin = functools.cache(lambda: without_overlaps(state) if options.relax_first else state)

    def advance(batch: range, done: Done) -> Record:
        return sample(begin(), observables, selection, settings, replica_keys(options.seed, batch), done=done).arrays

    how = options.model_dump(mode="json", exclude={"n_replicas", "replicas_per_batch"})
    numbers, size = range(options.n_replicas), options.replicas_per_batch
    batches = [numbers[k : k + size] for k in numbers[::size]]
    what = {"stage": "thermal", "thermal": how}
    members = {config.key({**what, "first": batch.start, "last": batch.stop}): batch for batch in batches}
    return {"sampling": Stage(f"{options.n_replicas} replicas", members, advance, n_segments(settings))}


def findings(config: Config, records: Records) -> Findings:
    """Return averages, derivatives, how they converge, and the series."""
    (state, observables, selection), options, settings = look_up(config), config.thermal, config.settings()
    names, paths = tuple(observables), selection.paths
    samples = joined([restored(record, names, paths, settings) for record in records["sampling"]])
    found = averages(samples)
    attributes = options.model_dump(include={"temperature", "timestep", "integrator", "n_replicas", "n_samples"}) | {
        "interval": settings.interval,
        "n_particles": state.configuration.n_particles,
        "kinetic_temperature": found.kinetic_temperature,
        "verdict": found.verdict.value,
    }
    return Findings(thermal_tables(samples, found, selection.values), attributes)


def show(found: Findings) -> None:
    """Print averages, derivatives and the verdict."""
    averaged, derived, console = found.groups["averages"], found.groups["derivatives"], Console()
    columns = [averaged[name] for name in ("observable", "mean", "error", "tau", "n_effective", "halves", "replicas")]
    rows = [
        (name, with_error(mean, error), f"{tau:.2g}", f"{worth:.0f}", f"{halves:+.1f}", f"{replicas:.2f}")
        for name, mean, error, tau, worth, halves, replicas in zip(*columns, strict=True)
    ]
    headers = ("observable", "mean ± error", "tau", "N_eff", "halves", "replicas")
    console.print(table("averages", headers, rows, left=("observable",)))
    console.print("tau: autocorrelation time; halves: their difference in standard errors;")
    console.print("replicas: probability of a spread like theirs")
    columns = [derived[name] for name in ("observable", "parameter", "value", "error", "n_effective")]
    rates = [
        (name, path, with_error(value, error), f"{worth:.0f}")
        for name, path, value, error, worth in zip(*columns, strict=True)
    ]
    left = ("observable", "parameter")
    console.print(table("derivatives of the averages", (*left, "derivative ± error", "N_eff"), rates, left=left))
    console.print(f"kinetic temperature {with_error(*found.attributes['kinetic_temperature'])}", highlight=False)
    print(f"{verdict(found).value}: {verdict(found).sentence}")


def verdict(found: Findings) -> Equilibration:
    """Return whether this is equilibrium."""
    return Equilibration(found.attributes["verdict"])


STUDY = Study("thermal", Config, look_up, stages, findings, show, lambda found: check_equilibration(verdict(found)))
run = STUDY.run
