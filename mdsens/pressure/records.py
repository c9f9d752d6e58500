"""What a derivative at constant pressure is: numbers together with how good they are."""

from __future__ import annotations

import dataclasses

import numpy as np

from mdsens.response.null_space import ZeroModes


@dataclasses.dataclass(frozen=True)
class JointCertificate:
    """How good a derivative at constant pressure is.

    Attributes:
        max_force: Largest force of the state, units of energy per length.
        stress_error: Largest deviation of the stress from the pressure along a free strain, units of energy per volume.
        residual: Relative residual of every linear solve at fixed box, shape (k,).
        error: Estimated absolute error of every derivative, shape (k,): the first-order change of the answer under the
            remaining Newton step of positions and box, plus what the linear solve left, plus rounding.
        relative_error: ``error`` over the norm of the answer, shape (k,).
        smallest_eigenvalue: Smallest non-zero eigenvalue of the Hessian at fixed box.
        smallest_stiffness: Smallest eigenvalue of the box's stiffness over the volume, units of energy per volume.
        zero_modes: What was projected out.
        one_sided: Whether a contact just touches, so that the derivative is one-sided.
        method: The linear solver, in words.
    """

    max_force: float
    stress_error: float
    residual: np.ndarray
    error: np.ndarray
    relative_error: np.ndarray
    smallest_eigenvalue: float
    smallest_stiffness: float
    zero_modes: ZeroModes
    one_sided: bool
    method: str


@dataclasses.dataclass(frozen=True)
class JointSensitivity:
    """d(x, box)/dp of a state at constant pressure for k parameter entries.

    Attributes:
        paths: Name of every parameter entry; the last one is ``pressure``.
        parameter_values: Their values, shape (k,).
        units: Their units.
        displacements: What particles move beyond following the box, shape (k, n, d): mean over the backbone zero,
            rattlers zero.
        strains: Strain of the box, shape (k, d, d): dB = strain B, besides what the parameter itself does to the box.
        positions: Derivative of the real positions about the origin, displacement + strain x, shape (k, n, d).
        volumes: dV/dp, shape (k,).
        certificate: How good it is, per entry; errors are of ``positions``.
    """

    paths: tuple[str, ...]
    parameter_values: np.ndarray
    units: tuple[str, ...]
    displacements: np.ndarray
    strains: np.ndarray
    positions: np.ndarray
    volumes: np.ndarray
    certificate: JointCertificate


@dataclasses.dataclass(frozen=True)
class PressureObservable:
    """Total derivative of an observable at constant pressure for k parameter entries, the pressure last.

    Attributes:
        name: Its name.
        value: Its value.
        paths: Name of every parameter entry.
        values: dO/dp, shape (k,).
        residual: Relative residual of the adjoint solve.
    """

    name: str
    value: float
    paths: tuple[str, ...]
    values: np.ndarray
    residual: float
