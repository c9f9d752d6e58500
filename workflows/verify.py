"""``mdsens verify FILE.h5 | CONFIG.toml``: compare sensitivities with re-relaxed differences and scale identities."""

from __future__ import annotations

import argparse

import numpy as np

from mdsens import io
from mdsens.config import load, load_text
from mdsens.errors import UserError
from mdsens.paths import select
from mdsens.pressure import joint_sensitivity, pressure_response
from mdsens.response import linear_response
from mdsens.results import check
from mdsens.sensitivity import PositionSensitivity, position_sensitivity
from mdsens.verification import (
    compare_at_pressure,
    compare_with_differences,
    largest_force,
    scale_identities,
    scale_identities_at_pressure,
)
from workflows.problem import Problem, stored_problem
from workflows.sensitivity import Config
from workflows.state import deformed_problem, relaxed

DIFFERENCE_TOLERANCE = 1e-5
IDENTITY_TOLERANCE = 1e-9
STORED_TOLERANCE = 1e-9


def run(arguments: argparse.Namespace) -> int:
    """Print h, the relative difference and the identities; return 1 when something disagrees."""
    if arguments.file.suffix == ".toml":
        config = load(arguments.file, schema=Config, overrides=arguments.overrides).config
        problem, stored, paths = deformed_problem(config), None, config.sensitivity.parameters
    else:
        stored = io.read_run(arguments.file)
        check(stored.verdict, what=str(arguments.file))
        if not stored.positions.paths:
            raise UserError(f"{arguments.file} holds no sensitivities: make it with mdsens sensitivity.")
        config = load_text(stored.provenance.resolved, schema=Config, overrides=arguments.overrides)
        problem, paths = stored_problem(stored, config), config.sensitivity.parameters
    found = relaxed(problem, config)
    check(found.verdict)
    selection = select(found.relaxation.state, paths)
    if found.pressure is None:
        response = linear_response(found.relaxation)
        positions = position_sensitivity(response, selection)
        differences = compare_with_differences(response, found.relaxation, positions, selection)
        identities = scale_identities(response)
    else:
        joint = joint_sensitivity(pressure_response(found.pressure), selection)
        positions, identities = joint.as_positions, scale_identities_at_pressure(found.pressure)
        differences = compare_at_pressure(found.pressure, found.settings, joint, selection)
    agree = True
    if stored is not None:
        agree &= _stored_lines(stored, problem, positions, found.relaxation.force_unit)
    for difference in differences:
        label = f"d x/d {difference.path} against re-relaxed differences, h = {difference.step:.1e}"
        agree &= _line(label, difference.relative_difference, DIFFERENCE_TOLERANCE)
        if not difference.same_network:
            agree &= _line(f"d x/d {difference.path}: the backbone network changes within h", float("inf"), 0.0)
    for identity in identities:
        agree &= _line(identity.statement, identity.violation, IDENTITY_TOLERANCE)
    print("verified" if agree else "NOT verified")
    return 0 if agree else 1


def _stored_lines(stored: io.StoredRun, problem: Problem, positions: PositionSensitivity, force_unit: float) -> bool:
    """Check that the stored state is the relaxed one and that its derivatives are those found now."""
    force = largest_force(problem.potential, problem.params, problem.configuration) / force_unit
    agree = _line("largest force at the stored positions, epsilon/sigma", force, problem.settings.max_force)
    size = max(float(np.linalg.norm(positions.values)), float(np.linalg.norm(stored.positions.values)))
    distance = float(np.linalg.norm(positions.values - stored.positions.values)) / (size or 1.0)
    return agree & _line("stored values against recomputed ones", distance, STORED_TOLERANCE)


def _line(label: str, value: float, tolerance: float) -> bool:
    agrees = bool(value <= tolerance)
    print(f"{'ok  ' if agrees else 'FAIL'}  {label}: {value:.1e} (at most {tolerance:.0e})")
    return agrees
