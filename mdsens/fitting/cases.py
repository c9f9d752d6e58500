"""Fits with a known answer: a target made with true parameters, a perturbed start, and how every method does."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from mdsens.fitting.descent import descend
from mdsens.fitting.forces import match_forces
from mdsens.fitting.gauss_newton import fit_positions
from mdsens.fitting.outcomes import Fit, FitSettings, Iteration, Outcome
from mdsens.fitting.target import Target, parameter_errors
from mdsens.relaxation import Relaxation
from mdsens.results import check

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
    start: Target,
    settings: FitSettings,
    *,
    seed: int,
    perturbation: float,
    force_perturbation: float,
    descent_relaxations: int,
    progress: Callable[[int, Iteration], Any] | None = None,
) -> Case:
    """Make a target, perturb its parameters, and fit it in every way.

    Args:
        start: Where the relaxation of the target starts, with the true parameters.
        settings: How to fit.
        seed: Seed of the perturbation.
        perturbation: Largest relative perturbation of every entry.
        force_perturbation: The same for the start by force matching.
        descent_relaxations: Relaxations of gradient descent; 0 for none.
        progress: Called after every relaxation of Gauss-Newton.

    Raises:
        NumericalError: When the target does not relax.
    """
    truth = start.relaxed(start.parameters, start.configuration)
    check(truth.verdict, what=f"target of seed {seed}", reason=truth.reason)
    exact = dataclasses.replace(start, configuration=truth.state.configuration)
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
    pressure = None if parameters.pressure is None else float(parameters.pressure)
    return dataclasses.replace(target, potential=parameters.potential, pressure=pressure)
