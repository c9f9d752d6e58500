"""Minimisers at fixed box: a first-order one to the right basin, a Newton polish to machine precision."""

from mdsens.relax.conjugate_gradient import ConjugateGradient
from mdsens.relax.fire import Fire
from mdsens.relax.lbfgs import LBFGS
from mdsens.relax.minimizer import Minimizer
from mdsens.relax.relaxation import History, Relaxation, RelaxationSettings, relax
from mdsens.relax.truncated_newton import TruncatedNewton

__all__ = [
    "LBFGS",
    "ConjugateGradient",
    "Fire",
    "History",
    "Minimizer",
    "Relaxation",
    "RelaxationSettings",
    "TruncatedNewton",
    "relax",
]
