"""The runner of studies: many members, each kept in a file of its own, and what is found from all of them."""

from __future__ import annotations

import argparse
import dataclasses
import functools
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mdsens import io
from mdsens.config import load
from mdsens.machine.progress import counting_progress, say
from mdsens.sweep import Record, note_manifest, run_members
from workflows.output import announce, draw, prepare_output

Done = Callable[[], None]
Records = Mapping[str, Sequence[Record]]


@dataclasses.dataclass(frozen=True)
class Stage:
    """Members of one kind.

    Attributes:
        title: What the progress says.
        members: What each of them is made from, by its key: all that decides its record, as text.
        work: Makes the record of one; may call what it is given after every piece of the work.
        n_pieces: Pieces that one member counts in the progress.
    """

    title: str
    members: Mapping[str, Any]
    work: Callable[[Any, Done], Record]
    n_pieces: int = 1

    def records(self, folder: Path, provenance: io.Provenance, *, redo: bool) -> list[Record]:
        """Make every record that has no file yet, with progress, and return all of them in order."""
        keys, left = list(self.members), [self.n_pieces] * len(self.members)
        with counting_progress(self.title, len(keys) * self.n_pieces) as advance:

            def piece(k: int) -> None:
                left[k] -= 1
                advance()

            def rest(k: int) -> None:
                for _ in range(left[k]):
                    advance()

            def work(k: int) -> Record:
                return self.work(self.members[keys[k]], functools.partial(piece, k))

            return run_members(keys, work, folder, provenance, redo=redo, done=rest, say=say)


@dataclasses.dataclass(frozen=True)
class Findings:
    """What a study finds out, as its results file holds it.

    Attributes:
        groups: Arrays by group and name.
        attributes: What figures and readers need to know beside them.
    """

    groups: Mapping[str, Mapping[str, Any]]
    attributes: Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Study:
    """A question asked of many members: make (or read) them, put them together, save, print, draw.

    Attributes:
        name: Its name, which is the kind of its results.
        schema: The whole configuration.
        look_up: Refuses what cannot work before anything long runs.
        stages: The members, stage by stage, by the name under which the provenance has the seconds they took.
        findings: Puts the records of all stages together.
        show: Prints what was found.
        refuse: Raises where what was found, though saved, is no result.
    """

    name: str
    schema: type[Any]  # of ProblemSections, with the section ``output``
    look_up: Callable[[Any], object]
    stages: Callable[[Any], Mapping[str, Stage]]
    findings: Callable[[Any, Records], Findings]
    show: Callable[[Findings], None]
    refuse: Callable[[Findings], None]

    def run(self, arguments: argparse.Namespace) -> int:
        """Run (or resume) it as the command line asks.

        Raises:
            UserError: For a wrong configuration.
            NumericalError: When what was found is no result.
        """
        loaded = load(arguments.config, schema=self.schema, overrides=arguments.overrides)
        config = loaded.config
        self.look_up(config)
        path = prepare_output(arguments.output) / f"{config.output.name}.h5"
        members, seconds = members_of(path), dict[str, float]()
        provenance = io.collect(loaded.text, loaded.resolved, config.seed, seconds)
        note_manifest(members, loaded.resolved, say)
        records = {}
        for name, stage in self.stages(config).items():
            begun = time.perf_counter()
            records[name] = stage.records(members, provenance, redo=arguments.redo)
            seconds[name] = time.perf_counter() - begun
        found = self.findings(config, records)
        provenance = dataclasses.replace(provenance, seconds=seconds)
        io.write_tables(path, self.name, found.groups, found.attributes, provenance, overwrite=True)
        self.show(found)
        announce(path, draw(path, path.parent, config.output))
        self.refuse(found)
        return 0

    def leaves(self, config: Any, records: Records) -> dict[str, Any]:
        """Return every array and attribute that its results file has, from the records of all stages."""
        found = self.findings(config, records)
        return io.tables_leaves(self.name, found.groups, found.attributes)


def members_of(path: Path) -> Path:
    """Return the folder of the members of a study's results file."""
    return path.with_name(f"{path.stem}.members")
