r"""Gauss-Newton with Levenberg-Marquardt damping on the exact Jacobian of relaxed positions.

The residual is the displacement :math:`r(q) = x^*(q) - x_T` of the relaxed positions from the target, in the logarithms
q of the parameters. Every step minimises :math:`|r + J s|^2 + \mu |s|^2` within the bounds and a trust region, without
a component along directions that J does not determine, and the next relaxation starts from the linear prediction
:math:`x + J s`.

References:
    J. J. More, in Numerical Analysis, Lecture Notes in Mathematics 630, 105 (1978), doi:10.1007/BFb0067700.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.optimize import lsq_linear

from mdsens.contacts import contact_network
from mdsens.energy import PairPotential
from mdsens.errors import NumericalError
from mdsens.fitting.deviation import stepped
from mdsens.fitting.identify import Identified
from mdsens.fitting.outcomes import Fit, FitSettings, Iteration, Outcome
from mdsens.fitting.target import Candidate, Linearised, Target, linearised, linearised_at_target, relaxed_at
from mdsens.results import Verdict
from mdsens.types import Configuration

_FIRST_DAMPING, _MOST_DAMPING, _LEAST_DAMPING = 1e-3, 1e4, 1e-6
_SLOW = 0.5  # a relaxed state that keeps less of what its model promised lies beside the target's minimum
_SHORTEST = 1e-14  # a step of the logarithms below it changes nothing


def fit_positions(
    target: Target, settings: FitSettings | None = None, *, progress: Callable[[int, Iteration], Any] | None = None
) -> Fit:
    """Find the parameters whose relaxed positions are the target's.

    The first relaxation starts from the target's positions under the starting parameters. Where a relaxation leaves the
    basin of the target, or a step lowers the residual by less than half of what was promised or not at all (it is then
    rejected), the next step is taken at the target's own positions, to first order and without a relaxation; if that
    is rejected, too, it is damped.

    Args:
        target: Relaxed positions, the law, and the starting parameters.
        settings: How to fit.
        progress: Called with the number of relaxations and the latest one.

    Returns:
        The best parameters with the history; ``outcome`` says whether they reproduce the target and, if not, why.

    Raises:
        UserError: When particles coincide or the box is too small for the interaction range.
        NumericalError: When a derivative of the law is not finite.
    """
    settings = settings or FitSettings()
    search = _Search(target, settings, progress)
    candidate, step, damping, at_target = relaxed_at(target, search.start, target.configuration), 0.0, 0.0, False
    while True:
        accepted = search.improves(candidate)
        search.record(candidate, step, damping, accepted=accepted, at_target=at_target)
        if accepted:
            damping = damping / 10 if damping > _LEAST_DAMPING else 0.0
        elif len(search.iterations) > 1 and search.model()[1] is at_target:  # this model has nothing better to offer
            damping = max(10 * damping, _FIRST_DAMPING)
        if (
            search.identified.is_nothing
            or search.best.residual <= settings.residual
            or len(search.iterations) >= settings.max_relaxations
        ):
            break
        here, at_target = search.model()
        change = bounded_step(here, search.identified, search.limits(), damping)
        step = float(np.abs(change).max())
        if damping > _MOST_DAMPING or step < _SHORTEST:
            break
        base = search.best.logarithms
        candidate = relaxed_at(target, base + change, search.predicted(here, change, at_target=at_target))
    return search.result()


def bounded_step(
    here: Linearised, identified: Identified, limits: tuple[np.ndarray, np.ndarray], damping: float
) -> np.ndarray:
    r"""Return the step s of the logarithms that minimises :math:`|r + J s|^2 + \mu|s|^2` within limits, shape (k,).

    Args:
        here: Displacement r and Jacobian J.
        identified: Directions that J does not determine; the step has no component along them unless a limit forces it.
        limits: Lower and upper limit of every entry of the step, lower < 0 < upper or equal to it.
        damping: :math:`\mu` in units of the largest singular value squared.
    """
    size = identified.singular_values[0]
    k = here.jacobian.shape[1]
    matrix = np.vstack([here.jacobian, size * identified.free.T, size * np.sqrt(damping) * np.eye(k)])
    wanted = np.concatenate([-here.displacement, np.zeros(len(matrix) - len(here.displacement))])
    return np.asarray(lsq_linear(matrix, wanted, bounds=limits, tol=1e-14).x)


class _Search:
    """The state of a fit: its iterations, the best candidate, and the linear model there."""

    def __init__(self, target: Target, settings: FitSettings, progress: Callable[[int, Iteration], Any] | None) -> None:
        self.target, self.settings, self._progress = target, settings, progress
        self.start = np.log(np.abs(target.selection.values))
        self.iterations: list[Iteration] = []
        self.first = target.configuration
        self.best: Candidate
        self.last: Candidate
        self.identified: Identified
        self._model: tuple[Linearised, bool]

    def improves(self, candidate: Candidate) -> bool:
        """Make a candidate the best one if it is, with its linear model; return whether it is."""
        self.last = candidate
        first = not self.iterations
        if not first and not _rank(candidate) < _rank(self.best):
            if not self._model[1]:  # away from the minimum of the target this model misleads
                self._set_model(at_target=True)
            return False
        if first:
            self.first = candidate.relaxation.state.configuration
        slow = not first and not self._model[1] and self._disappoints(candidate)
        self.best = candidate
        self._set_model(at_target=slow or candidate.strayed or not candidate.relaxed)
        return True

    def _disappoints(self, candidate: Candidate) -> bool:
        """Return whether the residual fell by less than half of what the linear model promised."""
        here, gone = self._model[0], candidate.logarithms - self.best.logarithms
        promised = self.best.residual - float(np.linalg.norm(here.displacement + here.jacobian @ gone))
        return self.best.residual - candidate.residual < _SLOW * promised

    def _set_model(self, *, at_target: bool) -> None:
        try:
            if at_target:
                here = linearised_at_target(self.target, self.best.logarithms)
            else:
                here = linearised(self.target, self.best)
        except NumericalError:  # without a rigid backbone: go on with the model there is, or end with none
            if self.iterations:
                return
            size = self.target.n_rows
            nothing = np.zeros((size, len(self.start)))
            here = Linearised(np.zeros(size), nothing, nothing)
        if not np.isfinite(here.jacobian).all():
            raise NumericalError("the Jacobian of the relaxed positions is not finite: the law has a kink or a pole.")
        self._model = here, at_target
        self.identified = self.target.identified(here.slope, self.settings.rank)

    def model(self) -> tuple[Linearised, bool]:
        """Return the linear model to step from, and whether it holds at the target's positions."""
        return self._model

    def limits(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the smallest and largest step of every logarithm: trust region and bounds together."""
        low, high = np.log(self.settings.bounds)
        gone, most = self.best.logarithms - self.start, self.settings.largest_step
        tiny = np.finfo(float).eps  # an interval must not be empty
        return np.maximum(low - gone, -most) - tiny, np.minimum(high - gone, most) + tiny

    def predicted(self, here: Linearised, change: np.ndarray, *, at_target: bool) -> Configuration:
        """Return the configuration that the linear model predicts after a step."""
        target, shape = self.target.configuration, self.target.position.shape
        way = here.jacobian @ change + (here.displacement if at_target else 0.0)
        moved, edges = way[: np.prod(shape)].reshape(shape), way[np.prod(shape) :]
        strain = edges.reshape(2 * shape[1:]) / self.target.edge if len(edges) else None
        return stepped(target, target if at_target else self.best.relaxation.state.configuration, moved, strain)

    def record(self, candidate: Candidate, step: float, damping: float, *, accepted: bool, at_target: bool) -> None:
        """Keep one relaxation and report it."""
        found = iteration(self.target, candidate, step, damping, accepted=accepted, at_target=at_target)
        self.iterations.append(found)
        if self._progress is not None:
            self._progress(len(self.iterations), found)

    def result(self) -> Fit:
        """Return the best candidate as the result."""
        here, best = self._model[0], self.best
        remaining = np.linalg.lstsq(here.slope, -here.displacement, rcond=self.settings.rank)[0]
        low, high = np.log(self.settings.bounds)
        gone = best.logarithms - self.start
        at_bound = bool(np.any((gone <= low + 1e-9) | (gone >= high - 1e-9)))
        return Fit(
            paths=self.target.selection.paths,
            values=self.target.values_at(best.logarithms),
            residual=best.residual,
            configuration=best.relaxation.state.configuration,
            start=self.first,
            backbone=best.relaxation.network.backbone,
            outcome=Outcome.UNDETERMINED
            if best.relaxed and self.identified.is_nothing
            else outcome(self.target, best, self.last, self.settings, len(self.iterations), at_bound=at_bound),
            iterations=tuple(self.iterations),
            identified=self.identified,
            error=np.abs(remaining),
        )


def _rank(candidate: Candidate) -> tuple[bool, bool, float]:
    """Order candidates: relaxed ones first, those in the target's basin before others, then by residual."""
    return not candidate.relaxed, candidate.strayed, candidate.residual


def iteration(
    target: Target, candidate: Candidate, step: float, damping: float, *, accepted: bool, at_target: bool
) -> Iteration:
    """Return the record of one relaxation."""
    relaxed = candidate.relaxed
    return Iteration(
        values=target.values_at(candidate.logarithms),
        loss=0.5 * candidate.residual**2 if relaxed else float("nan"),
        residual=candidate.residual if relaxed else float("nan"),
        farthest=candidate.farthest,
        step=step,
        damping=damping,
        max_force=candidate.relaxation.max_force,
        verdict=candidate.relaxation.verdict.value,
        strayed=candidate.strayed,
        accepted=accepted,
        at_target=at_target,
    )


def outcome(
    target: Target, best: Candidate, last: Candidate, settings: FitSettings, n_relaxations: int, *, at_bound: bool
) -> Outcome:
    """Say how a fit ended."""
    if best.residual <= settings.residual:
        return Outcome.CONVERGED
    if Verdict.UNJAMMED in (best.relaxation.verdict, last.relaxation.verdict):
        return Outcome.UNJAMMED
    if not (best.relaxed and last.relaxed):
        return Outcome.NOT_RELAXED
    if best.strayed or last.strayed:
        return Outcome.OTHER_BASIN
    if at_bound:
        return Outcome.AT_BOUND
    if _contacts_differ(target, best):
        return Outcome.OTHER_CONTACTS
    return Outcome.MAX_RELAXATIONS if n_relaxations >= settings.max_relaxations else Outcome.STAGNATED


def _contacts_differ(target: Target, candidate: Candidate) -> bool:
    """Return whether a packing's contacts are not those at the target's positions under the same parameters."""
    potential = target.potential
    if not (isinstance(potential, PairPotential) and potential.contact):
        return False  # particles within a cutoff are no contacts
    there = contact_network(target.listed(target.parameters_at(candidate.logarithms)))
    return not there.same_as(candidate.relaxation.network)
