"""Which parameters give the structure that is wanted: least squares on exact Jacobians of relaxed positions."""

from mdsens.fit.cases import Case, case_arrays, history_arrays, perturbed, run_case, structure_arrays
from mdsens.fit.descent import descend
from mdsens.fit.forces import match_forces
from mdsens.fit.gauss_newton import fit_positions
from mdsens.fit.identify import Identified, identify
from mdsens.fit.records import Fit, FitSettings, Iteration, Outcome
from mdsens.fit.target import Target, parameter_errors

__all__ = [
    "Case",
    "Fit",
    "FitSettings",
    "Identified",
    "Iteration",
    "Outcome",
    "Target",
    "case_arrays",
    "descend",
    "fit_positions",
    "history_arrays",
    "identify",
    "match_forces",
    "parameter_errors",
    "perturbed",
    "run_case",
    "structure_arrays",
]
