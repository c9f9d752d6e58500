"""How right the sensitivities are: against a dense reference, re-relaxed differences, and their own certificates."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import jax.numpy as jnp
import numpy as np

from mdsens.energy.paths import Selection, select
from mdsens.errors import NumericalError
from mdsens.relaxation import Relaxation, relax
from mdsens.response import LinearResponse, linear_response
from mdsens.results import Verdict
from mdsens.sensitivity import PositionSensitivity, position_sensitivity, pull_back
from mdsens.verification import compare_with_differences, dense_reference
from workflows.problem import Problem
from workflows.rows import Row

MADE_AT = tuple(10.0**-k for k in range(5, 12))


@dataclasses.dataclass(frozen=True)
class Answer:
    """One jammed packing with everything needed to judge its sensitivity."""

    problem: Problem
    relaxation: Relaxation
    response: LinearResponse
    selection: Selection
    sensitivity: PositionSensitivity
    reference: np.ndarray


def answers(problems: Sequence[Problem], path: str, done: Callable[[], None]) -> tuple[list[Answer], int, int]:
    """Relax every problem; return the answered ones and how many were refused as unjammed or failed otherwise."""
    found, unjammed, failed = [], 0, 0
    for problem in problems:
        relaxation = relax(problem.potential, problem.configuration, problem.settings)
        unjammed += relaxation.verdict is Verdict.UNJAMMED
        failed += relaxation.verdict not in (Verdict.UNJAMMED, Verdict.CONVERGED)
        if relaxation.verdict is Verdict.CONVERGED:
            response, selection = linear_response(relaxation), select(relaxation.state, [path])
            reference = dense_reference(response.state, response.network, selection.tangents)[0]
            sensitivity = position_sensitivity(response, selection)
            found.append(Answer(problem, relaxation, response, selection, sensitivity, reference))
        else:
            _must_refuse(relaxation)
        done()
    return found, unjammed, failed


def _must_refuse(relaxation: Relaxation) -> None:
    try:
        linear_response(relaxation)
    except NumericalError:
        return
    raise AssertionError(f"a state that is {relaxation.verdict.value} was answered")


def accuracy_rows(label: str, found: Sequence[Answer], unjammed: int, failed: int) -> list[Row]:
    """Return the rows on correctness of one packing fraction: worst cases over all jammed packings."""
    total = len(found) + unjammed + failed
    rattling = sum(answer.response.zero_modes.rattlers > 0 for answer in found)
    note = (
        f"{len(found)} of {total} jammed ({rattling} with rattlers), {unjammed} unjammed and refused, {failed} failed"
    )
    differences = [_difference(answer) for answer in found]
    cotangents = [_adjoint_errors(answer, seed) for seed, answer in enumerate(found)]
    return [
        Row(f"{label}: starts neither answered nor unjammed", failed, 0, "at most"),
        Row(
            f"{label}: error against the pseudo-inverse, worst",
            max(map(_reference_error, found)),
            1e-9,
            "at most",
            note,
        ),
        Row(f"{label}: against re-relaxed differences, worst", max(differences), 1e-5, "at most"),
        Row(
            f"{label}: adjoint - forward, worst",
            max(c[0] for c in cotangents),
            1e-10,
            "at most",
            "random and one-hot cotangents",
        ),
        Row(
            f"{label}: adjoint of a translation, worst",
            max(c[1] for c in cotangents),
            1e-10,
            "at most",
            "relative to the cotangent",
        ),
    ]


def _reference_error(answer: Answer) -> float:
    return float(np.linalg.norm(answer.sensitivity.values[0] - answer.reference) / np.linalg.norm(answer.reference))


def _difference(answer: Answer) -> float:
    found = compare_with_differences(answer.response, answer.relaxation, answer.sensitivity, answer.selection)[0]
    return found.relative_difference if found.same_network else float("inf")


def _adjoint_errors(answer: Answer, seed: int) -> tuple[float, float]:
    """Return the worst adjoint-forward mismatch over cotangents, and the answer to a translation-only cotangent."""
    value = answer.sensitivity.values[0]
    generator = np.random.default_rng(seed)
    one_hot = np.zeros(value.shape)
    one_hot[generator.integers(len(value)), 0] = 1.0
    mismatch = 0.0
    for cotangent in (generator.standard_normal(value.shape), one_hot):
        adjoint = answer.selection.contract(pull_back(answer.response, cotangent))[0]
        scale = np.linalg.norm(cotangent) * np.linalg.norm(value)
        mismatch = max(mismatch, abs(adjoint - float(np.vdot(cotangent, value))) / scale)
    translation = np.broadcast_to(generator.standard_normal(value.shape[1]), value.shape)
    drift = abs(answer.selection.contract(pull_back(answer.response, translation))[0])
    return float(mismatch), float(drift / np.linalg.norm(translation))


def certificate_row(found: Sequence[Answer], done: Callable[[], None]) -> tuple[Row, dict[str, np.ndarray]]:
    """Stop FIRE at forces from 1e-5 to 1e-11 and compare the certificate's estimate with the true error.

    A state counts when its backbone network is already that of the relaxed state ("settled"). Honest means
    true error <= 2 x estimate <= 20 x true error.
    """
    cases = []
    for answer in found:
        for force in MADE_AT:
            settings = dataclasses.replace(answer.problem.settings, max_force=force, newton=False)
            stopped = relax(answer.problem.potential, answer.problem.configuration, settings)
            if stopped.network.same_as(answer.relaxation.network) and _same_basin(stopped, answer.relaxation):
                response = linear_response(stopped, at_any_point=True)
                estimate = position_sensitivity(response, answer.selection)
                true = float(np.linalg.norm(estimate.values[0] - answer.reference))
                cases.append((force, true, float(estimate.certificate.error[0]), float(estimate.certificate.bound[0])))
        done()
    force, true, estimate, bound = np.array(cases).T
    honest = (true <= 2 * estimate) & (2 * estimate <= 20 * true)
    violated = int(np.sum(true > bound))
    note = f"{honest.sum()} of {len(cases)} settled states, max force 1e-5 to 1e-11; bound violated in {violated}"
    arrays = {"max_force": force, "true_error": true, "estimate": estimate, "bound": bound}
    return Row("certificate: honest estimates", float(honest.mean()), 0.95, "at least", note), arrays


def _same_basin(stopped: Relaxation, relaxed: Relaxation) -> bool:
    box = relaxed.state.configuration.box
    moved = np.asarray(box.displacement(jnp.asarray(stopped.state.position - relaxed.state.position)))
    held = relaxed.network.backbone
    moved = moved[held] - moved[held].mean(axis=0)
    return bool(np.abs(moved).max() < 1e-2)
