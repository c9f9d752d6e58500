"""What a fit is asked for and what it returns: settings, iterations, and an outcome that owns its sentence."""

from __future__ import annotations

import dataclasses
import enum

import numpy as np

from mdsens.errors import UserError
from mdsens.fitting.identify import Identified
from mdsens.types import Configuration


class Outcome(enum.Enum):
    """How a fit ended; the value is the name stored in files, ``sentence`` explains it."""

    CONVERGED = "converged"
    UNDETERMINED = "undetermined"
    OTHER_BASIN = "other_basin"
    OTHER_CONTACTS = "other_contacts"
    UNJAMMED = "unjammed"
    NOT_RELAXED = "not_relaxed"
    AT_BOUND = "at_bound"
    STAGNATED = "stagnated"
    MAX_RELAXATIONS = "max_relaxations"

    @property
    def sentence(self) -> str:
        """One sentence saying what stopped the fit and what to do about it."""
        return _SENTENCES[self]


_SENTENCES = {
    Outcome.CONVERGED: "The fitted parameters relax to the target.",
    Outcome.UNDETERMINED: (
        "The target determines none of the parameters: its positions stay where they are whatever these are. Give "
        "more: a pressure, at which its box is relaxed, or a structure without so much symmetry."
    ),
    Outcome.OTHER_BASIN: "The basin changed: a particle relaxed more than a tenth of the length unit off its target.",
    Outcome.OTHER_CONTACTS: (
        "The fitted structure lies beyond a change of contacts, in a neighbouring basin or on the way to it: its "
        "contacts are not those of the target."
    ),
    Outcome.UNJAMMED: "The structure unjammed on the way: start from larger lengths or a denser target.",
    Outcome.NOT_RELAXED: "A relaxation did not converge to a minimum: raise max_steps or max_force.",
    Outcome.AT_BOUND: "A parameter lies at its bound and the residual does not vanish: widen the bounds.",
    Outcome.STAGNATED: "No shorter step lowers the residual: the law cannot give this target from here.",
    Outcome.MAX_RELAXATIONS: "The relaxations were used up before the residual vanished: allow more of them.",
}


@dataclasses.dataclass(frozen=True)
class FitSettings:
    """How to fit.

    Attributes:
        residual: Norm of all displacements from the target at which a fit has succeeded, units of length, > 0.
        max_relaxations: Most relaxations, >= 1.
        largest_step: Trust region: the largest change of a parameter's logarithm in one step, > 0.
        bounds: Smallest and largest factor of every parameter over its start, 0 < low < 1 < high.
        rank: Singular values below this part of the largest belong to directions that the positions do not determine.
        learning_rate: Length of a step of gradient descent in a parameter's logarithm, > 0.

    Raises:
        UserError: When a value is out of its range.
    """

    residual: float = 1e-10
    max_relaxations: int = 10
    largest_step: float = 0.1
    bounds: tuple[float, float] = (0.5, 2.0)
    rank: float = 1e-8
    learning_rate: float = 1e-3

    def __post_init__(self) -> None:
        for name in ("residual", "max_relaxations", "largest_step", "rank", "learning_rate"):
            value = getattr(self, name)
            if not (np.isfinite(value) and value > 0):
                raise UserError(f"fit.{name} is {value}; it must be finite and greater than 0.")
        low, high = self.bounds
        if not 0 < low < 1 < high < float("inf"):
            raise UserError(
                f"fit.bounds are {low} and {high}; they are factors of the starting values: 0 < low < 1 < high."
            )


@dataclasses.dataclass(frozen=True)
class Iteration:
    """One relaxation of a fit.

    Attributes:
        values: The parameters, shape (k,), in their own units.
        loss: Half the squared norm of the displacements from the target, units of length squared; NaN without a state.
        residual: That norm, units of length.
        farthest: Largest displacement of a particle from its target, units of length.
        step: Largest change of a parameter's logarithm since the iterate from which the step was taken.
        damping: Levenberg-Marquardt damping of that step, relative to the largest singular value squared.
        max_force: Largest force of the relaxed state, units of energy per length.
        verdict: Verdict of the relaxation.
        strayed: Whether the relaxed state belongs to another basin than the target.
        accepted: Whether the next step goes on from here.
        at_target: Whether the step that led here was taken at the target's positions, for the iterate had strayed.
    """

    values: np.ndarray
    loss: float
    residual: float
    farthest: float
    step: float
    damping: float
    max_force: float
    verdict: str
    strayed: bool
    accepted: bool
    at_target: bool


@dataclasses.dataclass(frozen=True)
class Fit:
    """What a fit found.

    Attributes:
        paths: Names of the fitted entries.
        values: Their fitted values, shape (k,): those of the iterate with the smallest residual.
        residual: Norm of all displacements from the target there, units of length.
        configuration: Its relaxed positions and box.
        start: Relaxed configuration under the starting parameters.
        backbone: True for its particles that are held in place, shape (n,); displacements count over these.
        outcome: How the fit ended.
        iterations: One record per relaxation, in order.
        identified: What the positions determine, from the last Jacobian.
        error: Estimated error of every parameter's logarithm, shape (k,): the Gauss-Newton step that remains.
    """

    paths: tuple[str, ...]
    values: np.ndarray
    residual: float
    configuration: Configuration
    start: Configuration
    backbone: np.ndarray
    outcome: Outcome
    iterations: tuple[Iteration, ...]
    identified: Identified
    error: np.ndarray

    @property
    def position(self) -> np.ndarray:
        """Its relaxed positions, shape (n, d)."""
        return np.asarray(self.configuration.position)

    @property
    def n_relaxations(self) -> int:
        """Number of relaxations made."""
        return len(self.iterations)
