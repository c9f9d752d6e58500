"""Verdicts: what became of a computation, one human sentence per outcome."""

from __future__ import annotations

import enum

from mdsens.errors import NumericalError


class Verdict(enum.Enum):
    """Outcome of a relaxation; the value is the name stored in files, ``sentence`` explains it."""

    CONVERGED = "converged"
    MAX_STEPS = "max_steps"
    STALLED = "stalled"
    RISING = "rising"
    NONFINITE = "nonfinite"
    OVERFLOW = "neighbor_overflow"
    SADDLE = "saddle"
    UNJAMMED = "unjammed"
    EVAPORATED = "evaporated"
    BOX_TOO_SMALL = "box_too_small"
    STRAINED = "strained"

    @property
    def sentence(self) -> str:
        """One sentence saying what happened and what to do about it."""
        return _SENTENCES[self]

    @property
    def stationary(self) -> bool:
        """Whether the forces vanish to the tolerance asked for (a saddle and an unjammed state are stationary, too)."""
        return self in (Verdict.CONVERGED, Verdict.SADDLE, Verdict.UNJAMMED)


_SENTENCES = {
    Verdict.CONVERGED: "The largest force is below the tolerance and the state is a minimum.",
    Verdict.MAX_STEPS: "The largest force exceeds the tolerance after the last step: raise max_steps or max_force.",
    Verdict.STALLED: (
        "Neither the energy nor the largest force falls any more although it exceeds the tolerance: look whether the "
        "energy has kinks, jumps or single precision, or raise max_force."
    ),
    Verdict.RISING: (
        "The energy rises above that of the start: the time step is too long for this energy, take conjugate gradients "
        "or a smaller dt_max."
    ),
    Verdict.NONFINITE: (
        "The energy or a force became infinite or NaN: look for overlapping particles, parameters out of range or, for "
        "a jax-md energy of listed neighbours, more of them than max_neighbors."
    ),
    Verdict.OVERFLOW: "The neighbour list overflowed more often than allowed: the particles are collapsing.",
    Verdict.SADDLE: "The forces vanish but the Hessian has a negative eigenvalue: perturb this saddle and relax again.",
    Verdict.EVAPORATED: (
        "The box grew without bound, for at this pressure the system has no minimum: raise it or start denser."
    ),
    Verdict.BOX_TOO_SMALL: (
        "The box shrank below twice the range of an energy that sees nearest images only: take more particles, a lower "
        "pressure, or write it as a pair law."
    ),
    Verdict.STRAINED: (
        "The stress differs from the pressure asked for after the last step of the box: raise max_box_steps, or look "
        "whether the structure keeps rearranging."
    ),
    Verdict.UNJAMMED: "The packing is unjammed: no rigid backbone carries pressure, relaxed positions are not unique.",
}


def check(verdict: Verdict, *, what: str = "relaxation", reason: str = "") -> None:
    """Raise unless the verdict is ``CONVERGED``.

    Args:
        verdict: The outcome to judge.
        what: The stage named in the message.
        reason: What is known of the cause, as a sentence: which particle it is, for instance.

    Raises:
        NumericalError: With the verdict's sentence and the reason.
    """
    if verdict is not Verdict.CONVERGED:
        raise NumericalError(f"{what}: {verdict.sentence} {reason}".rstrip())
