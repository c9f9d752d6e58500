"""Gradient descent on the same loss, for comparison: Adam on the exact adjoint gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from mdsens.fitting.deviation import Deviation, HalfSquare
from mdsens.fitting.gauss_newton import iteration
from mdsens.fitting.outcomes import FitSettings, Iteration
from mdsens.fitting.target import Candidate, Target, relaxed_at
from mdsens.response import linear_response
from mdsens.sensitivity import gradient

_FIRST, _SECOND, _FLOOR = 0.9, 0.999, 1e-12  # decay of the moments; the floor is far below any gradient of interest


def descend(
    target: Target, settings: FitSettings | None = None, *, progress: Callable[[int, Iteration], Any] | None = None
) -> tuple[Iteration, ...]:
    r"""Minimise half the squared displacement from the target by Adam in the logarithms of the parameters.

    The gradient :math:`p\,dL/dp`, :math:`L = \frac12 |x^*(p) - x_T|^2`, comes from one adjoint solve. Every relaxation
    starts where the one before ended, the first one at the target. Steps are ``learning_rate`` long at first.

    Args:
        target: As for ``fit_positions``.
        settings: ``learning_rate``, ``max_relaxations``, ``residual`` and ``bounds`` are used.
        progress: Called with the number of relaxations and the latest one.

    Returns:
        One record per relaxation; fewer than asked for when the residual was reached or a state was not relaxed.

    References:
        D. P. Kingma, J. Ba, Adam: a method for stochastic optimization, ICLR 2015, arXiv:1412.6980, algorithm 1.
    """
    settings = settings or FitSettings()
    start = np.log(np.abs(target.selection.values))
    low, high = start + np.log(settings.bounds[0]), start + np.log(settings.bounds[1])
    logarithms, here, step = start, target.configuration, 0.0
    first, second, records = np.zeros(len(start)), np.zeros(len(start)), []
    for k in range(1, settings.max_relaxations + 1):
        candidate = relaxed_at(target, logarithms, here)
        records.append(iteration(target, candidate, step, 0.0, accepted=True, at_target=False))
        if progress is not None:
            progress(k, records[-1])
        if not candidate.relaxed or candidate.residual <= settings.residual:
            break
        slope = _gradient(target, candidate)
        first, second = _FIRST * first + (1 - _FIRST) * slope, _SECOND * second + (1 - _SECOND) * slope**2
        direction = (first / (1 - _FIRST**k)) / (np.sqrt(second / (1 - _SECOND**k)) + _FLOOR)
        new = np.clip(logarithms - settings.learning_rate * direction, low, high)
        step = float(np.abs(new - logarithms).max())
        logarithms, here = new, candidate.relaxation.state.configuration
    return tuple(records)


def _gradient(target: Target, candidate: Candidate) -> np.ndarray:
    """Return the derivative of the loss in the parameters' logarithms, shape (k,)."""
    loss = HalfSquare(Deviation(target.configuration, candidate.relaxation.network.backbone))
    by_parameter = gradient(linear_response(candidate.relaxation), loss)
    return target.selection.contract(by_parameter) * target.values_at(candidate.logarithms)
