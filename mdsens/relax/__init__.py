"""Minimisers at fixed box: a first-order one to the right basin, a Newton polish to machine precision."""

from mdsens.relax.again import rerelaxed
from mdsens.relax.conjugate_gradient import ConjugateGradient
from mdsens.relax.fire import Fire
from mdsens.relax.lbfgs import LBFGS
from mdsens.relax.minimizer import Minimizer
from mdsens.relax.records import History, Relaxation, RelaxationSettings
from mdsens.relax.relaxation import relax, taken_as_relaxed
from mdsens.relax.truncated_newton import TruncatedNewton

#: Every rule with its default settings, by the name that configurations use.
MINIMIZERS: dict[str, Minimizer] = {
    "fire": Fire(),
    "conjugate_gradient": ConjugateGradient(),
    "lbfgs": LBFGS(),
    "truncated_newton": TruncatedNewton(),
}

__all__ = [
    "LBFGS",
    "MINIMIZERS",
    "ConjugateGradient",
    "Fire",
    "History",
    "Minimizer",
    "Relaxation",
    "RelaxationSettings",
    "TruncatedNewton",
    "relax",
    "rerelaxed",
    "taken_as_relaxed",
]
