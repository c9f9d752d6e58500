"""What a file of ``mdsens fit`` should hold."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from mdsens import io
from mdsens.energy.paths import select
from mdsens.fitting import FitSettings, Outcome, Target, case_records, identify, perturbed
from mdsens.fitting.cases import RIGHT, with_values
from mdsens.fitting.tables import structure_of
from mdsens.relaxation import Relaxation
from mdsens.response import linear_response
from mdsens.results import Verdict
from mdsens.sensitivity import position_sensitivity
from mdsens.sweep import Record, stored_members
from mdsens.verification.checks import Check
from workflows.fit import STUDY, Config
from workflows.problem import Problem, build_problem

_COPIED = {
    r"(gauss_newton|descent)/.*|cases/outcome|structure/start": "only with the members: the way of the fit",
    r"cases/(residual|worst_error|descent_residual|estimated_error|force_start_.*)": (
        "only with the members: residuals, and what is as small"
    ),
}


def expected(stored: io.Tables, config: Config, folder: Path) -> tuple[io.Expectation, list[Check]]:
    """Return what the file should hold, and checks that targets and fitted structures are at rest."""
    members = STUDY.stages(config)["cases"].members
    records = stored_members(list(members), folder) or case_records(stored.groups)
    cases = [made_again(record, member) for record, member in zip(records, members.values(), strict=True)]
    leaves = STUDY.leaves(config, {"cases": [record for record, _ in cases]})
    return io.Expectation(leaves, {}, _COPIED), [check for _, checks in cases for check in checks]


def made_again(record: Record, member: Config) -> tuple[Record, list[Check]]:
    """Return the record of a case with what its structures tell computed again, and checks that these are at rest."""
    problem, exact = build_problem(member), member.target()
    begun = perturbed(exact, member.fit.perturbation, member.seed)
    fitted = dataclasses.replace(problem, potential=with_values(begun, np.asarray(record["fitted"])).potential)
    target, found = judged(problem, record["target_position"]), judged(fitted, record["fitted_position"])
    outcome = Outcome(str(record["outcome"]))
    now = {
        "seed": np.array(member.seed),
        "true": exact.selection.values,
        "start": begun.selection.values,
        "sentence": outcome.sentence,
        "n_relaxations": np.array(len(record["gauss_newton.verdict"])),
        "succeeded": np.array(outcome is Outcome.CONVERGED and float(record["worst_error"]) <= RIGHT),
        **structure_of(problem.configuration),
    }
    if found is not None and found.verdict is Verdict.CONVERGED:
        now |= {"undetermined": undetermined(found, begun), "structure.backbone": found.network.backbone}
    checks = [
        at_rest(f"target of seed {member.seed}", problem, target),
        at_rest(f"fitted structure of seed {member.seed}", fitted, found),
    ]
    return {**record, **now}, checks


def judged(problem: Problem, position: np.ndarray | str) -> Relaxation | None:
    """Judge a structure as it is; None for one that never relaxed."""
    return problem.judged_at(np.asarray(position)) if np.isfinite(np.asarray(position)).all() else None


def at_rest(label: str, problem: Problem, found: Relaxation | None) -> Check:
    """Check that the largest force of a structure is within the tolerance."""
    if found is None:
        return Check(f"{label}: it never relaxed", 0.0, 0.0, "nothing to verify")
    allowed = problem.settings.allowing_rounding(problem.potential).max_force
    return Check(f"{label}: largest force, epsilon/sigma", found.max_force / found.force_unit, allowed)


def undetermined(found: Relaxation, target: Target) -> str:
    """Return in words what the positions of a fitted structure do not determine."""
    selection = select(found.state, target.selection.paths)
    rates = position_sensitivity(linear_response(found), selection).values
    jacobian = (rates * selection.values[:, None, None]).reshape(len(rates), -1).T
    return "; ".join(identify(jacobian, selection.paths, rank=FitSettings().rank).words)
