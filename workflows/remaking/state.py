"""What a results file of one relaxed state should hold: everything computed again at the positions it stores."""

from __future__ import annotations

import dataclasses
import importlib
import re
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from mdsens import io
from mdsens.config import load_text
from mdsens.errors import UserError
from mdsens.observables import is_known
from mdsens.relaxation import Relaxation
from mdsens.results import Verdict
from mdsens.types import PeriodicBox
from mdsens.verification.checks import Check, same
from mdsens.verification.own_errors import SOFTEST, own_errors, without_direction
from mdsens.verification.stored import judged, rest_checks
from workflows.problem import Problem, stored_problem
from workflows.sensitivity import differentiate
from workflows.state import Answer, StateSections, Workflow, deformed_problem, nothing_asked, pressure_settings

WORKFLOWS = ("sensitivity", "observables", "validity", "spectrum")  # each by the section that only it has
_WAY = r"relaxation/(energy|max_force|newton)|pressure/(volumes|stress_errors)|particles/path/position/value"
_RESIDUALS = r"relaxation@max_force|observables/max_force/value|pressure@stress_error"
_ESTIMATES = r".*@certificate_(error|relative_error|bound)|analyses/independence/(error|noise)"
_UNVERIFIED = {
    _WAY: "the way to the state",
    r"particles/.*/(step|time)": "steps of the minimiser",
    r"relaxation@seconds": "times",
    rf"{_RESIDUALS}|.*@certificate_(max_force|residual|stress_error)": "residuals, which are rounding",
    _ESTIMATES: "estimates of errors, made of residuals",
}


@dataclasses.dataclass(frozen=True)
class StoredState:
    """The state in a file as it is, and what made the file.

    Attributes:
        stored: The file.
        workflow: The workflow that made it; empty for a file saved from Python.
        config: Its configuration; None for a file saved from Python.
        found: The state, judged at the stored positions.
        checks: That it is at rest, the end of its way, and what its configuration says.
    """

    stored: io.StoredRun
    workflow: str
    config: Any
    found: Relaxation
    checks: list[Check]


def stored_state(stored: io.StoredRun) -> StoredState:
    """Judge the state in a file.

    Raises:
        UserError: When law, parameters or configuration cannot be made from the file.
    """
    workflow, config = configuration_of(stored)
    problem, options = stored_problem(stored), None if config is None else config.pressure
    if options is None:
        found = judged(stored, problem.potential, problem.settings)
    else:
        box = pressure_settings(options, problem.settings)
        found = judged(stored, problem.potential, problem.settings, pressure=options.value, box=box)
    checks = rest_checks(stored, found)
    if config is not None:
        checks += against_configuration(stored, problem, config)
    return StoredState(stored, workflow, config, dataclasses.replace(found, verdict=stored.verdict), checks)


def expected(state: StoredState) -> tuple[Answer, io.Expectation]:
    """Return what the file's workflow finds at the state, and what the file should hold."""
    stored, found = state.stored, state.found
    answer = answered(stored, found, state.workflow, state.config)
    run = answer.run(found, stored.provenance)
    unverified = _UNVERIFIED | without_direction(run) | (unknown(stored) if state.config is None else {})
    return answer, io.Expectation(io.run_leaves(run), unverified, errors=own_errors(run), either_sign=(SOFTEST,))


def configuration_of(stored: io.StoredRun) -> tuple[str, Any]:
    """Return the workflow that made a file and its configuration; no name and None for a file saved from Python."""
    text = stored.provenance.resolved
    if not text:
        return "", None
    name = next((name for name in WORKFLOWS if re.search(rf"^\[{name}\]", text, re.MULTILINE)), "relax")
    schema = importlib.import_module(f"workflows.{name}").WORKFLOW.schema
    return name, load_text(text, schema=schema, source="the configuration in the file")


def against_configuration(stored: io.StoredRun, problem: Problem, config: StateSections) -> list[Check]:
    """Compare law, parameters, species, settings and box with what the configuration makes."""
    try:
        start = deformed_problem(config)
    except UserError as error:
        return [
            Check(
                f"parameters against the configuration, which cannot be built again: {error}", 0.0, 0.0, "not verified"
            )
        ]
    rule = start.settings.rule(len(stored.position))
    laws = problem.potential, start.potential
    ours, theirs = (jax.tree.leaves(law) for law in laws)
    species = np.asarray(start.configuration.species)
    agree = {
        "law": bool(eqx.tree_equal(*(jax.tree.map(jnp.zeros_like, law) for law in laws))),
        "parameters": len(ours) == len(theirs) and all(map(np.array_equal, ours, theirs)),
        "species": start.configuration.species_names == stored.species_names
        and np.array_equal(species, stored.species),
        "settings": problem.settings == dataclasses.replace(start.settings, minimizer=rule),
    }
    if config.pressure is None:
        agree["box"] = _same_box(start.configuration.box, stored.box_matrix)
    return [same(f"{what} against the configuration", holds) for what, holds in agree.items()]


def _same_box(box: Any, matrix: np.ndarray | None) -> bool:
    if not isinstance(box, PeriodicBox):
        return matrix is None
    return matrix is not None and np.array_equal(np.asarray(box.matrix), matrix)


def answered(stored: io.StoredRun, found: Relaxation, workflow: str, config: Any) -> Answer:
    """Let the workflow that made the file answer again; for one saved from Python, the same derivatives."""
    if workflow:
        asked: Workflow = importlib.import_module(f"workflows.{workflow}").WORKFLOW
        return asked.again(found, config)
    wanted: dict[tuple[str, ...], list[str]] = {}  # names of observables by the parameters that they were asked in
    for name, record in stored.observables.items():
        if is_known(name):
            wanted.setdefault(record.paths, []).append(name)
    if stored.positions.paths:
        wanted.setdefault(stored.positions.paths, [])
    if not wanted or found.verdict is not Verdict.CONVERGED:
        return nothing_asked(found, stored.analyses)
    answers = {paths: differentiate(found, paths, names) for paths, names in wanted.items()}
    again = dict(stored.observables)
    again |= {record.name: record for one in answers.values() for record in one.observables}
    whole = answers.get(stored.positions.paths) if stored.positions.paths else None
    positions = io.no_sensitivity(found) if whole is None else whole.positions
    return Answer(positions, tuple(again.values()), stored.analyses)


def unknown(stored: io.StoredRun) -> dict[str, str]:
    """Return why parts of a file saved from Python cannot be computed again."""
    own = [re.escape(name) for name in stored.observables if not is_known(name)]
    rules = {rf"sensitivity/({'|'.join(own)})([/@].*)?": "observables of the author's own"} if own else {}
    given = {r"analyses/.+": "analyses of the author's own", r"relaxation/settings@.*|.*@way": "chosen in Python"}
    return rules | given
