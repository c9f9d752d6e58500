"""The sections of workflows that look at one relaxed state, at fixed box or at constant pressure, and that state."""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from mdsens import io
from mdsens.config import Section, load
from mdsens.energy import State
from mdsens.energy.strain import strained
from mdsens.errors import NumericalError, UserError
from mdsens.machine.progress import box_progress, relaxation_progress
from mdsens.pressure import relax_at_pressure
from mdsens.relaxation import PressureSettings, Relaxation, RelaxationSettings, relax
from mdsens.results import Verdict, check
from mdsens.sensitivity import ObservableSensitivity, PositionSensitivity
from workflows.output import announce, draw, prepare_output
from workflows.problem import Problem, ProblemSections, build_problem

Component = Literal["xx", "yy", "zz", "xy", "xz", "yz"]


class PressureOptions(Section):
    """The ``[pressure]`` section: box and positions are relaxed together at this pressure."""

    value: float = Field(description="the pressure, units of epsilon/sigma^d")
    box: Literal["isotropic", "orthorhombic", "triclinic"] = Field(
        "isotropic", description="what is free: the size; the lengths of the edges; these and the shears"
    )
    fixed: tuple[Component, ...] = Field((), description='components of the box that keep their value, such as "xx"')
    stress_error: float = Field(
        1e-12, gt=0, le=1e-2, description="largest deviation of the stress from the pressure at the end"
    )
    max_box_steps: int = Field(500, ge=1, le=100_000, description="largest number of steps of the box")


class DeformationOptions(Section):
    """The ``[deformation]`` section: a homogeneous deformation of the start, box and positions together."""

    gradient: tuple[tuple[float, ...], ...] = Field(
        description="rows of the displacement gradient: [[0, 0.01], [0, 0]] is a simple shear along x"
    )


class StateSections(ProblemSections):
    """The sections of a single state."""

    deformation: DeformationOptions | None = None
    pressure: PressureOptions | None = None


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a workflow finds out about a relaxed state, beside the state.

    Attributes:
        positions: dx/dp; without entries where none was asked for.
        observables: dO/dp of every observable.
        analyses: Further arrays by group and name.
    """

    positions: PositionSensitivity
    observables: tuple[ObservableSensitivity, ...] = ()
    analyses: io.Groups = dataclasses.field(default_factory=dict)

    def run(self, relaxation: Relaxation, provenance: io.Provenance) -> io.Run:
        """Return what a results file of it holds."""
        return io.Run(relaxation, self.positions, self.observables, provenance, self.analyses)


def nothing_asked(relaxation: Relaxation, analyses: io.Groups | None = None) -> Answer:
    """Return the answer without derivatives, and further arrays."""
    return Answer(io.no_sensitivity(relaxation), analyses=analyses or {})


@dataclasses.dataclass(frozen=True)
class Workflow:
    """A question asked of one relaxed state: relax, ask, save, print, draw.

    The state is saved before anything is asked of it, so that a refusal loses nothing.

    Attributes:
        name: Its name, under which the provenance has the seconds that the answer took.
        schema: The whole configuration.
        answer: What it finds out about a converged state.
        look_up: Refuses wrong names before anything long runs, at the start.
        known: What is known of a state of any verdict.
        show: Prints the answer.
    """

    name: str
    schema: type[Any]  # of StateSections, with the section ``output``
    answer: Callable[[Relaxation, Any], Answer]
    look_up: Callable[[State, Any], object] = lambda state, config: None
    known: Callable[[Relaxation], Answer] = nothing_asked
    show: Callable[[Path, Answer], None] = lambda path, answer: None

    def run(self, arguments: argparse.Namespace) -> int:
        """Run it as the command line asks.

        Raises:
            UserError: For a wrong configuration.
            NumericalError: When the state did not relax, or a derivative is refused.
        """
        loaded = load(arguments.config, schema=self.schema, overrides=arguments.overrides)
        config, folder = loaded.config, prepare_output(arguments.output)
        problem = deformed_problem(config)
        self.look_up(problem.start, config)
        found = relaxed(problem, config)
        path, stages = folder / f"{config.output.name}.h5", {"relaxation": found.seconds}

        def save(answer: Answer) -> None:
            provenance = io.collect(loaded.text, loaded.resolved, config.seed, stages)
            io.write_run(path, answer.run(found, provenance), overwrite=True)

        save(answer := self.known(found))
        if found.verdict is Verdict.CONVERGED:
            begun = time.perf_counter()
            answer = self.answer(found, config)
            stages[self.name] = time.perf_counter() - begun
            save(answer)
            self.show(path, answer)
        announce(path, draw(path, folder, config.output))
        check(found.verdict, reason=found.reason)
        return 0

    def again(self, found: Relaxation, config: Any) -> Answer:
        """Return the answer once more, as far as it was given: a refusal leaves what is known without it."""
        try:
            return self.answer(found, config) if found.verdict is Verdict.CONVERGED else self.known(found)
        except NumericalError:
            return self.known(found)


def deformed_problem(sections: StateSections) -> Problem:
    """Build the system and the law, and deform the start as the configuration says.

    Raises:
        UserError: When the deformation has another dimension than the system, or turns the box inside out.
    """
    problem = build_problem(sections)
    if sections.deformation is None:
        return problem
    d, gradient = problem.configuration.dimension, sections.deformation.gradient
    if len(gradient) != d or any(len(row) != d for row in gradient):
        raise UserError(f"deformation.gradient must have {d} rows of {d} numbers for a system in {d} dimensions.")
    if np.linalg.det(np.eye(d) + np.array(gradient)) <= 0:
        raise UserError("deformation.gradient turns the box inside out: its determinant with 1 must be positive.")
    return dataclasses.replace(problem, configuration=strained(problem.start, np.array(gradient)).configuration)


def relaxed(problem: Problem, sections: StateSections) -> Relaxation:
    """Relax at fixed box, or at constant pressure where the configuration has one, with progress."""
    law = (problem.potential, problem.configuration)
    if sections.pressure is None:
        with relaxation_progress() as progress:
            return relax(*law, problem.settings, progress=progress)
    settings = pressure_settings(sections.pressure, problem.settings)
    with box_progress() as progress:
        return relax_at_pressure(*law, sections.pressure.value, settings, progress=progress)


def pressure_settings(options: PressureOptions, relaxation: RelaxationSettings) -> PressureSettings:
    """Return the engine's settings for a ``[pressure]`` section."""
    return PressureSettings(
        box=options.box,
        fixed=options.fixed,
        stress_error=options.stress_error,
        max_box_steps=options.max_box_steps,
        relaxation=relaxation,
    )
