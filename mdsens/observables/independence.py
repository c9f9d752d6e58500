r"""Can observables be tuned independently? The singular values of their relative derivatives.

With every derivative scaled to a relative one, :math:`G_{ij} = (p_j/O_i)\,dO_i/dp_j`, the singular value decomposition
:math:`G = U S V^T` names the independent responses: a combination of parameters (a row of :math:`V^T`) moves a
combination of observables (a column of U) by its singular value. As many observables as there are singular values above
the errors of G can be tuned independently, to first order.

References:
    M. Zu, A. Desai, C. P. Goodrich, Fully independent response in disordered solids, arXiv:2412.05031 (2025).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from mdsens.errors import UserError
from mdsens.sensitivity.certified import ObservableSensitivity

_SMALL = 1e-9  # of the largest response: an observable or parameter below it is zero and cannot be its own scale


@dataclasses.dataclass(frozen=True)
class Independence:
    """How independently m observables respond to k parameters.

    Attributes:
        observables: Their names, length m.
        parameters: Their names, length k.
        jacobian: dO/dp, shape (m, k).
        error: Estimated absolute error of every derivative, shape (m, k).
        values: The observables, shape (m,).
        parameter_values: The parameters, shape (k,).
        relative: G, shape (m, k).
        singular_values: S, descending, shape (r,), r = min(m, k).
        noise: Frobenius norm of the errors of G: a singular value below it may be zero.
        observable_directions: U, shape (m, r).
        parameter_directions: V^T, shape (r, k).
        independent: The part of every observable's response that no combination of the others shares, between 0 (slaved
            to them) and 1, shape (m,).
    """

    observables: tuple[str, ...]
    parameters: tuple[str, ...]
    jacobian: np.ndarray
    error: np.ndarray
    values: np.ndarray
    parameter_values: np.ndarray
    relative: np.ndarray
    singular_values: np.ndarray
    noise: float
    observable_directions: np.ndarray
    parameter_directions: np.ndarray
    independent: np.ndarray

    @property
    def rank(self) -> int:
        """How many observables can be tuned independently: singular values above ten times the noise."""
        return int(np.sum(self.singular_values > 10 * self.noise))


def independence(found: Sequence[ObservableSensitivity]) -> Independence:
    """Analyse the derivatives of several observables in the same parameters.

    Args:
        found: The derivatives, at least one.

    Raises:
        UserError: When there is none, or they are in different parameters.
    """
    if not found:
        raise UserError("independence is that of at least one observable.")
    paths = found[0].paths
    if any(record.paths != paths for record in found):
        raise UserError("the observables were differentiated in different parameters.")
    jacobian = np.stack([record.values for record in found])
    error = np.stack([record.certificate.error for record in found])
    values = np.array([record.value for record in found])
    parameter_values = found[0].parameter_values
    by_parameter = np.where(parameter_values != 0, np.abs(parameter_values), 1.0)
    scaled = jacobian * by_parameter
    largest = np.abs(scaled).max(axis=1, initial=0.0)
    size = np.abs(values)
    size = np.where(size > _SMALL * largest, size, np.where(largest > 0, largest, 1.0))
    relative = scaled / size[:, None]
    left, singular, right = np.linalg.svd(relative, full_matrices=False)
    return Independence(
        observables=tuple(record.name for record in found),
        parameters=paths,
        jacobian=jacobian,
        error=error,
        values=values,
        parameter_values=parameter_values,
        relative=relative,
        singular_values=singular,
        noise=float(np.linalg.norm(error * by_parameter / size[:, None])),
        observable_directions=left,
        parameter_directions=right,
        independent=np.array([_own_part(relative, k) for k in range(len(relative))]),
    )


def _own_part(relative: np.ndarray, k: int) -> float:
    """Return the norm of what the other rows cannot make of row k, over its own."""
    row, others = relative[k], np.delete(relative, k, axis=0)
    size = float(np.linalg.norm(row))
    if size == 0:
        return 0.0
    unit = others / np.maximum(np.linalg.norm(others, axis=1, keepdims=True), np.finfo(float).tiny)
    _, singular, right = np.linalg.svd(unit, full_matrices=False)
    basis = right[singular > 1e-12 * singular.max(initial=0.0)]
    return float(np.linalg.norm(row - (row @ basis.T) @ basis)) / size
