"""Which parameters give the structure that is wanted: least squares on exact Jacobians of relaxed positions."""

from mdsens.fitting.cases import Case, perturbed, run_case
from mdsens.fitting.descent import descend
from mdsens.fitting.forces import match_forces
from mdsens.fitting.gauss_newton import fit_positions
from mdsens.fitting.identify import Identified, identify
from mdsens.fitting.outcomes import Fit, FitSettings, Iteration, Outcome
from mdsens.fitting.tables import case_record, case_records, case_tables
from mdsens.fitting.target import Target, parameter_errors

__all__ = [
    "Case",
    "Fit",
    "FitSettings",
    "Identified",
    "Iteration",
    "Outcome",
    "Target",
    "case_record",
    "case_records",
    "case_tables",
    "descend",
    "fit_positions",
    "identify",
    "match_forces",
    "parameter_errors",
    "perturbed",
    "run_case",
]
