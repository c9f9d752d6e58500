"""What a sensitivity is: numbers together with how good they are."""

from __future__ import annotations

import dataclasses

import numpy as np

from mdsens.energy.parameters import Parameters
from mdsens.energy.paths import Selection
from mdsens.response.null_space import ZeroModes
from mdsens.types import replaced


def relative(error: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Return errors over the sizes of what they belong to; NaN where that is zero within its error."""
    known = size > error
    return np.where(known, error / np.where(known, size, 1.0), np.nan)


@dataclasses.dataclass(frozen=True)
class Certificate:
    r"""How good a sensitivity is.

    Attributes:
        max_force: Largest force of the state, units of energy per length.
        residual: Relative residual |H y - b|/|b| of every linear solve after projection, shape (k,).
        error: Estimated absolute error of every column (or derivative), shape (k,): the norm of the first-order change
            of the answer under the remaining step :math:`-H^+ F` and the rounding of positions (of parameters and box,
            too, for an observable), with what the linear solve left, plus the rounding of what was summed.
        relative_error: ``error`` over the norm of the answer, shape (k,); NaN where the answer is zero within its
            error: such an answer has no relative error.
        bound: Blondel et al.'s Theorem 1 at this state, an upper bound of the same error with locally estimated
            constants, shape (k,); looser than ``error`` by orders of magnitude.
        smallest_eigenvalue: Smallest non-zero eigenvalue of the Hessian on the backbone, units of energy per length
            squared.
        largest_eigenvalue: Upper bound of its largest eigenvalue (largest row sum).
        zero_modes: What was projected out.
        one_sided: Whether a backbone contact is within a relative 1e-9 of touching, so that the derivative is
            one-sided, or within the remaining step of opening or closing, so that the present contacts need not be
            those of the minimum; the number given is for the present contacts.
        at_any_point: True when the state was not required to be stationary: the number is then not a derivative of a
            relaxed state.
        method: The linear solver, in words.
        stress_error: At constant pressure, the largest deviation of the stress from the pressure along a free strain,
            units of energy per volume; else NaN.
        smallest_stiffness: At constant pressure, the smallest eigenvalue of the box's stiffness over the volume, units
            of energy per volume; else NaN.
    """

    max_force: float
    residual: np.ndarray
    error: np.ndarray
    relative_error: np.ndarray
    bound: np.ndarray
    smallest_eigenvalue: float
    largest_eigenvalue: float
    zero_modes: ZeroModes
    one_sided: bool
    at_any_point: bool
    method: str
    stress_error: float = float("nan")
    smallest_stiffness: float = float("nan")


@dataclasses.dataclass(frozen=True)
class BoxResponse:
    """What the box of a state at constant pressure does for k parameter entries, and what particles do besides.

    Attributes:
        displacements: What particles move beyond following the box, shape (k, n, d): mean over the backbone zero,
            rattlers zero.
        components: Components of the free strains, shape (k, s).
        strains: Strain of the box, shape (k, d, d): dB = strain B, besides what the parameter itself does to the box.
        rates: Derivative of the box matrix, the parameter's own part included, shape (k, d, d).
        volumes: dV/dp, shape (k,).
    """

    displacements: np.ndarray
    components: np.ndarray
    strains: np.ndarray
    rates: np.ndarray
    volumes: np.ndarray

    @property
    def shape_strains(self) -> np.ndarray:
        """The strains without their change of volume, shape (k, d, d)."""
        d = self.strains.shape[-1]
        return np.asarray(self.strains - np.trace(self.strains, axis1=1, axis2=2)[:, None, None] * np.eye(d) / d)

    @property
    def mean_displacements(self) -> np.ndarray:
        """Mean length of the displacements beyond following the box, shape (k,)."""
        return np.asarray(np.linalg.norm(self.displacements, axis=-1).mean(axis=1))


@dataclasses.dataclass(frozen=True)
class PositionSensitivity:
    """dx/dp of a relaxed state for k parameter entries.

    Attributes:
        paths: Name of every parameter entry, such as ``soft_sphere.sigma[A]``; at constant pressure the last one is
            ``pressure``.
        parameter_values: Their values, shape (k,).
        units: Their units in words: "length", "energy/length^2", "none".
        values: dx/dp, shape (k, n, d); at fixed box its mean over the backbone is zero, rattler rows are zero; where
            the box relaxes, real positions about the origin, which follow it.
        certificate: How good it is, per entry; errors are of ``values``.
        box: What the box does; None at fixed box.
    """

    paths: tuple[str, ...]
    parameter_values: np.ndarray
    units: tuple[str, ...]
    values: np.ndarray
    certificate: Certificate
    box: BoxResponse | None = None

    def whole(self, selection: Selection) -> Parameters:
        """Return the directions of its entries with what the box does along them, leading axis k."""
        if self.box is None:
            return selection.tangents
        return replaced(selection.tangents, {"box": replaced(selection.tangents.box, {"matrix": self.box.rates})})


@dataclasses.dataclass(frozen=True)
class ObservableSensitivity:
    """Total derivative dO/dp of a scalar observable of a relaxed state for k parameter entries.

    Attributes:
        name: Name of the observable.
        value: The observable itself.
        paths: Name of every parameter entry; at constant pressure the last one is ``pressure``.
        parameter_values: Their values, shape (k,).
        units: Their units.
        values: dO/dp, shape (k,).
        way: "forward" or "adjoint", whichever was cheaper.
        certificate: How good it is, per entry.
    """

    name: str
    value: float
    paths: tuple[str, ...]
    parameter_values: np.ndarray
    units: tuple[str, ...]
    values: np.ndarray
    way: str
    certificate: Certificate
