"""What a file of ``mdsens fit`` should hold."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from mdsens import io
from mdsens.energy.parameters import Parameters
from mdsens.fitting import FitSettings, Outcome, Target, case_records, perturbed
from mdsens.fitting.cases import RIGHT
from mdsens.fitting.tables import structure_of
from mdsens.fitting.target import compared, linearised
from mdsens.relaxation import PressureSettings, Relaxation
from mdsens.results import Verdict
from mdsens.sweep import Record, stored_members
from mdsens.types import replaced
from mdsens.verification.checks import Check, same
from workflows.fit import STUDY, Config

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
    exact = placed(member.target(), record)
    begun = perturbed(exact, member.fit.perturbation, member.seed)
    logarithms = np.log(np.abs(np.asarray(record["fitted"])))
    target = exact.judged(exact.parameters, exact.configuration)
    found, outcome = judged(exact, begun.parameters_at(logarithms), record), Outcome(str(record["outcome"]))
    now = {
        "seed": np.array(member.seed),
        "true": exact.selection.values,
        "start": begun.selection.values,
        "sentence": outcome.sentence,
        "n_relaxations": np.array(len(record["gauss_newton.verdict"])),
        "succeeded": np.array(outcome is Outcome.CONVERGED and float(record["worst_error"]) <= RIGHT),
        **structure_of(exact.configuration),
    }
    if found is not None and found.verdict is Verdict.CONVERGED:
        jacobian = linearised(begun, compared(begun, logarithms, found)).jacobian
        known = begun.identified(jacobian, FitSettings().rank)
        now |= {"undetermined": "; ".join(known.words), "structure.backbone": found.network.backbone}
    ends = {f"target of seed {member.seed}": target, f"fitted structure of seed {member.seed}": found}
    checks = [check for label, end in ends.items() for check in at_rest(label, exact, end)]
    return {**record, **now}, checks


def placed(target: Target, record: Record, name: str = "target") -> Target:
    """Return the target at the positions of a record, and in its box where that was relaxed."""
    configuration = target.configuration
    if f"{name}_box" in record:
        box = replaced(configuration.box, {"matrix": jnp.asarray(record[f"{name}_box"])})
        configuration = replaced(configuration, {"box": box})
    position = jnp.asarray(record[f"{name}_position"])
    return dataclasses.replace(target, configuration=replaced(configuration, {"position": position}))


def judged(target: Target, parameters: Parameters, record: Record) -> Relaxation | None:
    """Judge the fitted structure of a record as it is; None for one that never relaxed."""
    if not np.isfinite(np.asarray(record["fitted_position"])).all():
        return None
    return target.judged(parameters, placed(target, record, "fitted").configuration)


def at_rest(label: str, target: Target, found: Relaxation | None) -> list[Check]:
    """Check that the largest force of a structure, and the stress of its box, are within the tolerances."""
    if found is None:
        return [Check(f"{label}: it never relaxed", 0.0, 0.0, "nothing to verify")]
    force, most = found.max_force / found.force_unit, found.settings.max_force
    checks = [Check(f"{label}: largest force, epsilon/sigma", force, most)]
    if found.box is not None and isinstance(target.settings, PressureSettings):
        strained = found.verdict is Verdict.STRAINED
        checks.append(same(f"{label}: stress against the pressure", not strained))
    return checks
