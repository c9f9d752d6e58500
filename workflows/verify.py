"""``mdsens verify FILE.h5 | CONFIG.toml``: is every number that can be computed again the one that is stored?

A state is not relaxed again: everything is computed at the stored positions. Its derivatives are compared with
differences of re-relaxed states and with scale identities besides, as are those of a configuration. Studies are made
again from their members and samples. What no computation at the stored state can say is named.
"""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Iterator
from pathlib import Path

from mdsens import io
from mdsens.config import load, load_text
from mdsens.errors import UserError
from mdsens.relaxation import Relaxation
from mdsens.results import Verdict, check
from mdsens.verification import Check, witnesses
from workflows.remaking.state import expected, stored_state
from workflows.sensitivity import Config, answer
from workflows.state import Answer, deformed_problem, relaxed
from workflows.study import members_of

STUDIES = {name: f"workflows.remaking.{name}" for name in ("ensemble", "thermal", "fit", "compress", "benchmark")}
STUDIES["paper"] = "workflows.paper"


def run(arguments: argparse.Namespace) -> int:
    """Print what agrees, what differs and what was not verified; return 1 when something differs."""
    path = arguments.file
    if path.suffix == ".toml":
        config = load(path, schema=Config, overrides=arguments.overrides).config
        found = relaxed(deformed_problem(config), config)
        check(found.verdict, reason=found.reason)
        agree = report(_witnessed(found, answer(found, config)))
    else:
        if arguments.overrides:
            raise UserError(f"{path} is compared with its own configuration: leave out {arguments.overrides[0][:40]}.")
        with io.fitting_together(path):
            agree = verify_run(path) if io.kind_of(path) == io.KIND else verify_study(path)
    print("verified" if agree else "NOT verified")
    return 0 if agree else 1


def verify_run(path: Path) -> bool:
    """Compare a results file of one relaxed state with what is found at its positions."""
    state = stored_state(io.read_run(path))
    if not report(state.checks):
        print("--    not verified (the state is not the one that was relaxed): everything else")
        return False
    found_out, expectation = expected(state)
    agree = compare(path, expectation)
    if state.found.verdict is Verdict.CONVERGED and found_out.positions.paths:
        agree &= report(_witnessed(state.found, found_out))
    return agree


def verify_study(path: Path) -> bool:
    """Compare the tables of a study with what its members, samples and structures say."""
    tables = io.read_tables(path)
    if tables.kind not in STUDIES:
        raise UserError(f"{path} holds {tables.kind!r} results, which nothing here knows how to verify.")
    workflow = importlib.import_module(STUDIES[tables.kind])
    config = None
    if hasattr(workflow, "Config"):
        config = load_text(tables.provenance.resolved, schema=workflow.Config, source=f"{path}: its configuration")
    expectation, checks = workflow.expected(tables, config, members_of(path))
    return report(checks) & compare(path, expectation)


def compare(path: Path, expectation: io.Expectation) -> bool:
    """Compare a file number by number; print differences, and what was not compared."""
    found = io.compare(io.file_leaves(path), expectation)
    for place, words in found.differences:
        print(f"FAIL  {place} {words}")
    if not found.differences:
        print(f"ok    {found.n_compared} arrays, numbers and texts are those computed again")
    for reason, places in found.unverified.items():
        print(f"--    not verified ({reason}): {', '.join(places)}")
    return not found.differences


def _witnessed(found: Relaxation, found_out: Answer) -> Iterator[Check]:
    return witnesses(found, found_out.positions, found_out.observables)


def report(checks: Iterator[Check] | list[Check]) -> bool:
    """Print checks; return whether all of them hold."""
    agree = True
    for each in checks:
        print(each.line)
        agree &= each.holds
    return agree
