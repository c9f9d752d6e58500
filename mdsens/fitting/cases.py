"""Fits with a known answer: a target made with true parameters, a perturbed start, and how every method does."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mdsens.energy import Potential
from mdsens.fitting.descent import descend
from mdsens.fitting.forces import match_forces
from mdsens.fitting.gauss_newton import fit_positions
from mdsens.fitting.identify import Identified
from mdsens.fitting.outcomes import Fit, FitSettings, Iteration, Outcome
from mdsens.fitting.target import Target, parameter_errors
from mdsens.relaxation import Relaxation, RelaxationSettings, relax
from mdsens.results import check
from mdsens.types import Box, Configuration

RIGHT = 1e-8  # relative error of every parameter, energy scale fixed, at which a fit counts as right


@dataclasses.dataclass(frozen=True)
class Case:
    """One fit with a known answer.

    Attributes:
        seed: Seed of the start and of the perturbation.
        target: What was fitted, from where.
        truth: The relaxed state that made the target.
        true: The true parameters, shape (k,).
        fit: Gauss-Newton from the perturbed parameters.
        descent: Gradient descent from the same start; empty when it was not asked for.
        matched: Parameters by force matching, from a perturbation of its own, shape (k,).
        from_matched: Gauss-Newton from those.
    """

    seed: int
    target: Target
    truth: Relaxation
    true: np.ndarray
    fit: Fit
    descent: tuple[Iteration, ...]
    matched: np.ndarray
    from_matched: Fit

    @property
    def succeeded(self) -> bool:
        """Whether the fit converged to a jammed state with every parameter right to 1e-8, energy scale fixed."""
        return _is_right(self.fit, self.true)

    @property
    def matched_succeeded(self) -> bool:
        """Whether the fit that started from matched forces did."""
        return _is_right(self.from_matched, self.true)


def _is_right(fit: Fit, true: np.ndarray) -> bool:
    worst = parameter_errors(fit.values, true, fit.identified).max()
    return fit.outcome is Outcome.CONVERGED and bool(worst <= RIGHT)


def run_case(
    potential: Potential,
    configuration: Configuration,
    relaxation: RelaxationSettings,
    settings: FitSettings,
    *,
    seed: int,
    patterns: Sequence[str] | None,
    perturbation: float,
    force_perturbation: float,
    descent_relaxations: int,
    progress: Callable[[int, Iteration], Any] | None = None,
) -> Case:
    """Make a target, perturb its parameters, and fit it in every way.

    Args:
        potential: The potential with the true parameters.
        configuration: Where the relaxation of the target starts.
        relaxation: How to relax.
        settings: How to fit.
        seed: Seed of the perturbation.
        patterns: The entries to fit; every one of the potential's when None.
        perturbation: Largest relative perturbation of every entry.
        force_perturbation: The same for the start by force matching.
        descent_relaxations: Relaxations of gradient descent; 0 for none.
        progress: Called after every relaxation of Gauss-Newton.

    Raises:
        NumericalError: When the target does not relax.
    """
    truth = relax(potential, configuration, relaxation)
    check(truth.verdict, what=f"target of seed {seed}", reason=truth.reason)
    start = Target(configuration, potential, None if patterns is None else tuple(patterns), relaxation)
    exact = start.at(truth.state.position)
    target, far = (perturbed(exact, size, seed) for size in (perturbation, force_perturbation))
    fit = fit_positions(target, settings, progress=progress)
    longer = dataclasses.replace(settings, max_relaxations=max(descent_relaxations, 1))
    matched = match_forces(far, settings)
    return Case(
        seed=seed,
        target=target,
        truth=truth,
        true=exact.selection.values,
        fit=fit,
        descent=descend(target, longer) if descent_relaxations else (),
        matched=matched,
        from_matched=fit_positions(with_values(far, matched), settings),
    )


def perturbed(target: Target, size: float, seed: int) -> Target:
    """Return the target with every fitted parameter changed by a uniform random factor within 1 +- size."""
    factors = 1.0 + size * np.random.default_rng(seed).uniform(-1.0, 1.0, len(target.selection.paths))
    return with_values(target, target.selection.values * factors)


def with_values(target: Target, values: np.ndarray) -> Target:
    """Return the target with other starting values of the fitted parameters, shape (k,)."""
    parameters = target.parameters_at(np.log(np.abs(values)))
    return dataclasses.replace(target, potential=parameters.potential)


def case_arrays(cases: Sequence[Case]) -> dict[str, np.ndarray]:
    """Return what became of every case, one row each: the table of a study."""
    worst = [parameter_errors(case.fit.values, case.true, case.fit.identified).max() for case in cases]
    starts = [parameter_errors(case.matched, case.true, case.from_matched.identified).max() for case in cases]
    return {
        "seed": np.array([case.seed for case in cases]),
        "succeeded": np.array([case.succeeded for case in cases]),
        "n_relaxations": np.array([case.fit.n_relaxations for case in cases]),
        "residual": np.array([case.fit.residual for case in cases]),
        "worst_error": np.array(worst),
        "outcome": np.array([case.fit.outcome.value for case in cases]),
        "sentence": np.array([case.fit.outcome.sentence for case in cases]),
        "undetermined": np.array(["; ".join(case.fit.identified.words) for case in cases]),
        "true": np.stack([case.true for case in cases]),
        "start": np.stack([case.target.selection.values for case in cases]),
        "fitted": np.stack([case.fit.values for case in cases]),
        "estimated_error": np.stack([case.fit.error for case in cases]),
        "force_start_error": np.array(starts),
        "force_start_relaxations": np.array([case.from_matched.n_relaxations for case in cases]),
        "force_start_succeeded": np.array([case.matched_succeeded for case in cases]),
        "descent_residual": np.array([_smallest(case.descent) for case in cases]),
        "target_position": np.stack([case.target.position for case in cases]),
        "fitted_position": np.stack([case.fit.position for case in cases]),
    }


def history_arrays(
    histories: Sequence[Sequence[Iteration]], true: Sequence[np.ndarray], identified: Sequence[Identified]
) -> dict[str, np.ndarray]:
    """Return the iterations of several fits side by side, padded with NaN, shape (n_cases, most iterations, ...).

    Args:
        histories: Iterations of every fit.
        true: The true parameters of every fit, shape (k,) each.
        identified: What the positions determine, for every fit.
    """
    longest = max(len(history) for history in histories)
    numbers = ("loss", "residual", "farthest", "step", "damping", "max_force", "strayed", "accepted", "at_target")
    found = {name: np.full((len(histories), longest), np.nan) for name in numbers}
    shape = (len(histories), longest, len(true[0]))
    values, errors = np.full(shape, np.nan), np.full(shape, np.nan)
    verdicts = np.full(shape[:2], "", dtype=object)
    for row, (history, answer, known) in enumerate(zip(histories, true, identified, strict=True)):
        for k, step in enumerate(history):
            for name in numbers:
                found[name][row, k] = getattr(step, name)
            values[row, k], verdicts[row, k] = step.values, step.verdict
            errors[row, k] = parameter_errors(step.values, answer, known)
    return {**found, "values": values, "error": errors, "verdict": verdicts}


def structure_arrays(case: Case) -> dict[str, np.ndarray]:
    """Return the target, the structure before and the one after the fit of one case, for a picture."""
    return {
        "target": case.target.position,
        "fitted": case.fit.position,
        "start": case.fit.start_position,
        "backbone": case.fit.backbone,
        "species": np.asarray(case.target.configuration.species),
        "species_names": np.array(case.target.configuration.species_names),
        "box": box_array(case.target.configuration.box),
        "seed": np.array(case.seed),
    }


def box_array(box: Box) -> np.ndarray:
    """Return the lattice vectors as columns, shape (d, d); shape (d, 0) for a free system."""
    return np.asarray(getattr(box, "matrix", np.zeros((box.dimension, 0))))


def _smallest(history: Sequence[Iteration]) -> float:
    found = [step.residual for step in history if np.isfinite(step.residual)]
    return min(found, default=float("nan"))
