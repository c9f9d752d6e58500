"""Minimisers at fixed box: a first-order one to the right basin, a Newton polish to machine precision."""

from mdsens.relaxation.conjugate_gradient import ConjugateGradient
from mdsens.relaxation.fire import Fire
from mdsens.relaxation.freedom import free_strains
from mdsens.relaxation.judging import taken_as_relaxed
from mdsens.relaxation.lbfgs import LBFGS
from mdsens.relaxation.minimizer import Minimizer
from mdsens.relaxation.minimum import relax
from mdsens.relaxation.relaxed import BoxRelaxation, History, Relaxation
from mdsens.relaxation.settings import PressureSettings, RelaxationSettings
from mdsens.relaxation.truncated_newton import TruncatedNewton

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
    "BoxRelaxation",
    "ConjugateGradient",
    "Fire",
    "History",
    "Minimizer",
    "PressureSettings",
    "Relaxation",
    "RelaxationSettings",
    "TruncatedNewton",
    "free_strains",
    "relax",
    "taken_as_relaxed",
]
