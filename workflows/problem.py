"""From a validated configuration to the problem it describes: law, parameters, start."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self

import jax.numpy as jnp
import numpy as np
import pydantic

import potentials
import systems
from mdsens.config import RegistrySection, RelaxationOptions, Section
from mdsens.energy import Potential, State, summed
from mdsens.energy.paths import Selection, select
from mdsens.errors import UserError
from mdsens.io import StoredRun, restored_potential, restored_settings
from mdsens.machine.memory import free_memory
from mdsens.relaxation import MINIMIZERS, Relaxation, RelaxationSettings, taken_as_relaxed
from mdsens.types import Configuration, replaced
from systems.frozen import with_frozen

_MEMORY_PER_PARTICLE = 5_000  # bytes for relaxing discs; a response takes nearly twice as much, spheres more


class ProblemSections(Section):
    """The sections that say what is relaxed and how; every workflow's schema starts from them."""

    system: Annotated[Any, RegistrySection(systems.REGISTRY, "system")]
    potential: Annotated[Any, RegistrySection(potentials.REGISTRY, "potential", several=True)]
    relaxation: RelaxationOptions = RelaxationOptions()

    @pydantic.model_validator(mode="before")
    @classmethod
    def _name_output(cls, data: Any) -> Any:
        """Let an ``[output]`` section without a name keep the workflow's own."""
        output = data.get("output") if isinstance(data, Mapping) else None
        if not isinstance(output, Mapping) or "output" not in cls.model_fields:
            return data
        return {**data, "output": {"name": cls.model_fields["output"].default.name, **output}}

    @property
    def seed(self) -> int:
        """The system's seed; 0 when it has none."""
        return int(getattr(self.system, "seed", 0))

    def with_system(self, changes: Mapping[str, Any]) -> Self:
        """Return the configuration with other entries of its ``[system]`` section."""
        return self.model_copy(update={"system": self.system.model_copy(update=changes)})

    def seeded(self, n: int) -> list[Self]:
        """Return n configurations, the system's seed counting up; a single one may have a system without a seed."""
        return [self] if n == 1 else [self.with_system({"seed": self.seed + k}) for k in range(n)]

    def key(self, what: Mapping[str, Any]) -> str:
        """Return what identifies a member of a study, as JSON: all that makes its problem, and what is done with it.

        Args:
            what: Names and options of what is done.

        Returns:
            These with the sections of the problem; where system or law is read from a file, with a hash of the file.
        """
        given = {name for name in ("pressure", "deformation") if getattr(self, name, None) is not None}
        include = {"system", "potential", "relaxation", *given}
        sections = self.model_dump(mode="json", include=include, serialize_as_any=True)
        laws = self.potential if isinstance(self.potential, tuple) else (self.potential,)
        paths = [getattr(section, "path", None) for section in (self.system, *laws)]
        hashes = [hashlib.sha256(Path(path).read_bytes()).hexdigest() for path in paths if path is not None]
        content = {"content": hashes[0] if len(hashes) == 1 else hashes} if hashes else {}
        return json.dumps({**what, **sections, **content}, sort_keys=True)


@dataclasses.dataclass(frozen=True)
class Problem:
    """What to relax.

    Attributes:
        potential: What the particles feel.
        configuration: Where to start.
        settings: How to relax.
    """

    potential: Potential
    configuration: Configuration
    settings: RelaxationSettings

    @property
    def start(self) -> State:
        """The start as a state without pairs: enough to look names up."""
        return State.unlisted(self.configuration, self.potential)

    def judged_at(self, position: np.ndarray) -> Relaxation:
        """Judge the state at other positions as it is: nothing moves."""
        configuration = replaced(self.configuration, {"position": jnp.asarray(position)})
        return taken_as_relaxed(self.potential, configuration, self.settings.allowing_rounding(self.potential))


def build_problem(sections: ProblemSections) -> Problem:
    """Build the system and the law that a configuration names.

    Raises:
        UserError: When the machine has too little memory for so many particles.
    """
    refuse_too_large(getattr(sections.system, "n_particles", 0))
    begin = systems.REGISTRY[sections.system.kind].build(sections.system)
    potential = built_potential(sections.potential, begin)
    configuration = with_frozen(begin.configuration, sections.system.frozen)
    return Problem(potential, configuration, relaxation_settings(sections.relaxation))


def built_potential(section: Any, begin: systems.Start) -> Potential:
    """Build the law of a ``[potential]`` section, or the sum of those of several.

    Raises:
        ValueError: When the law does not fit the system.
    """
    n_species, topology = len(begin.configuration.species_names), begin.configuration.topology
    return summed(
        {
            getattr(term, "name", term.kind): potentials.REGISTRY[term.kind].build(
                term, begin.diameters, n_species, topology
            )
            for term in (section if isinstance(section, tuple) else (section,))
        }
    )


def single_entry(state: State, parameter: str, key: str) -> Selection:
    """Return the selection of one parameter entry.

    Args:
        state: Whose parameter it is.
        parameter: Its path.
        key: Where the configuration names it.

    Raises:
        UserError: When it is unknown, or stands for several entries.
    """
    selection = select(state, [parameter])
    if len(selection.paths) != 1:
        raise UserError(f"{key} is {parameter}; name a single entry, such as {selection.paths[0]}.")
    return selection


def refuse_too_large(n_particles: int) -> None:
    """Refuse a system for which the machine's free memory is too small, before anything is computed.

    Raises:
        UserError: With what it needs and what there is.
    """
    needed, free = _MEMORY_PER_PARTICLE * n_particles, free_memory()
    if needed > free:
        raise UserError(
            f"a system of {n_particles} particles needs at least {needed / 2**30:.0f} GiB of memory, and "
            f"{free / 2**30:.0f} GiB are free: take fewer particles or another machine."
        )


def stored_problem(stored: StoredRun) -> Problem:
    """Build the problem of a results file from the file alone: law, parameters, relaxed positions, settings.

    Raises:
        UserError: When the law is none of the library's own.
    """
    law = restored_potential(stored, potentials.LAWS)
    return Problem(law, stored.configuration, restored_settings(stored.settings))


def relaxation_settings(options: RelaxationOptions) -> RelaxationSettings:
    """Return the engine's settings for a ``[relaxation]`` section."""
    return RelaxationSettings(
        max_force=options.max_force,
        max_steps=options.max_steps,
        skin=options.skin,
        minimizer=MINIMIZERS.get(options.minimizer),
        linear_solver=options.linear_solver,
    )
