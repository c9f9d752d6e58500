"""Which parameters give the structure that is wanted: least squares on exact Jacobians of relaxed positions."""

from mdsens.fit.descent import descend
from mdsens.fit.forces import match_forces
from mdsens.fit.gauss_newton import fit_positions
from mdsens.fit.identify import Identified, identify
from mdsens.fit.records import Fit, FitSettings, Iteration, Outcome
from mdsens.fit.target import Target, parameter_errors

__all__ = [
    "Fit",
    "FitSettings",
    "Identified",
    "Iteration",
    "Outcome",
    "Target",
    "descend",
    "fit_positions",
    "identify",
    "match_forces",
    "parameter_errors",
]
