"""What a relaxation is asked for: how far down, by which minimiser, and at constant pressure how the box goes."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Sequence
from typing import get_args

import numpy as np

from mdsens.energy import Potential
from mdsens.errors import UserError
from mdsens.given import is_number, shown
from mdsens.hessian import LinearSolver
from mdsens.neighbors import SMALL
from mdsens.relaxation.conjugate_gradient import ConjugateGradient
from mdsens.relaxation.fire import Fire
from mdsens.relaxation.freedom import BoxKind
from mdsens.relaxation.lbfgs import LBFGS
from mdsens.relaxation.minimizer import Minimizer
from mdsens.relaxation.truncated_newton import TruncatedNewton

_ROUNDING = 1e-14  # of the stiffness: a force that was zero when it was summed before


@dataclasses.dataclass(frozen=True)
class RelaxationSettings:
    """How to relax.

    Attributes:
        max_force: Largest force of the relaxed state, units of epsilon/sigma, > 0; where forces are not known that
            well, their rounding (``mdsens.relaxation.masses.force_rounding``).
        max_steps: Most steps of the minimiser, >= 1.
        skin: Extra reach of the neighbour list in units of the largest interaction range, > 0.
        minimizer: The rule that leads into a basin: ``Fire``, ``ConjugateGradient``, ``LBFGS`` or ``TruncatedNewton``;
            None for FIRE up to 300 particles and conjugate gradients beyond, where they take fewer forces.
        newton: Whether Newton steps finish the relaxation; off, the minimiser goes all the way.
        linear_solver: What solves with the Hessian, in Newton steps and in the response: "direct" (a factor), "krylov"
            (conjugate gradients), or "auto", a factor as far as memory goes (``mdsens.hessian.factorise``).

    Raises:
        UserError: When a value is out of its range.
    """

    max_force: float = 1e-12
    max_steps: int = 5_000_000
    skin: float = 0.4
    minimizer: Minimizer | None = None
    newton: bool = True
    linear_solver: LinearSolver = "auto"

    def rule(self, n_particles: int) -> Minimizer:
        """Return the minimiser for a system of this size."""
        return self.minimizer or (Fire() if n_particles <= SMALL else ConjugateGradient())

    def allowing_rounding(self, potential: Potential) -> RelaxationSettings:
        """Return settings whose tolerance forces still meet that are summed in another order."""
        return dataclasses.replace(self, max_force=self.max_force + _ROUNDING * float(potential.stiffness))

    def __post_init__(self) -> None:
        for name, low in (("max_force", 0.0), ("max_steps", 0), ("skin", 0.0)):
            value = getattr(self, name)
            if not (is_number(value) and np.isfinite(value) and value > low):
                raise UserError(f"relaxation.{name} is {shown(value)}; it must be finite and greater than {low}.")
        if self.max_steps != int(self.max_steps):
            raise UserError(f"relaxation.max_steps is {self.max_steps}; it must be a whole number.")
        object.__setattr__(self, "max_steps", int(self.max_steps))
        if self.linear_solver not in get_args(LinearSolver):
            known = ", ".join(get_args(LinearSolver))
            raise UserError(f"relaxation.linear_solver is {shown(self.linear_solver)}; it must be one of {known}.")
        if not isinstance(self.newton, bool | np.bool_):
            raise UserError(f"relaxation.newton is {shown(self.newton)}; it must be true or false.")
        if self.minimizer is not None and not isinstance(self.minimizer, Minimizer):
            raise UserError(_no_rule(self.minimizer))


_RULES = (Fire, ConjugateGradient, LBFGS, TruncatedNewton)


def _no_rule(given: object) -> str:
    """Return a sentence that says which rule to give in place of a name, a class or something else."""
    names = {rule.__name__.lower(): f"{rule.__name__}()" for rule in _RULES}
    word = given.__name__ if isinstance(given, type) else given if isinstance(given, str) else ""
    near = difflib.get_close_matches(word.lower().translate(_NO_DASHES), names, n=1, cutoff=0.5)
    remedy = f"RelaxationSettings(minimizer={names[near[0]]})" if near else "one of " + ", ".join(names.values())
    return f"relaxation.minimizer is {shown(given)}; it must be a rule of mdsens.relaxation, not its name: {remedy}."


_NO_DASHES = str.maketrans("", "", "-_ ")


@dataclasses.dataclass(frozen=True)
class PressureSettings:
    """How to relax at constant pressure.

    Attributes:
        box: Which deformations are free: "isotropic", "orthorhombic" or "triclinic".
        fixed: Components of the box that keep their value, such as ``("xx",)``.
        stress_error: Largest deviation of the stress from the pressure, units of epsilon/sigma^d, > 0.
        max_box_steps: Most steps of the box, >= 1.
        max_strain: Largest strain component of a step, in (0, 0.2].
        relaxation: How positions are relaxed in every box.

    Raises:
        UserError: When a value is out of its range.
    """

    box: BoxKind = "isotropic"
    fixed: Sequence[str] = ()
    stress_error: float = 1e-12
    max_box_steps: int = 500
    max_strain: float = 0.02
    relaxation: RelaxationSettings = dataclasses.field(default_factory=RelaxationSettings)

    def __post_init__(self) -> None:
        if not (is_number(self.stress_error) and np.isfinite(self.stress_error) and self.stress_error > 0):
            raise UserError(f"stress_error is {shown(self.stress_error)}; it must be finite and greater than 0.")
        if not (is_number(self.max_box_steps) and self.max_box_steps >= 1):
            raise UserError(f"max_box_steps is {shown(self.max_box_steps)}; it must be at least 1.")
        if not (is_number(self.max_strain) and 0 < self.max_strain <= 0.2):
            raise UserError(f"max_strain is {shown(self.max_strain)}; it must be greater than 0 and at most 0.2.")
