"""The outer level of bi-level problems: descent along implicit gradients, and differences to check them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
import scipy.optimize
from jaxtyping import Array

ValueAndGradient = Callable[[Array], tuple[Array, Array]]


@dataclasses.dataclass(frozen=True)
class Descent:
    """The way of an outer optimiser.

    Attributes:
        point: The accepted points, the start first, shape (k, *).
        value: The outer loss there, shape (k,).
        n_gradients: Gradients taken.
    """

    point: np.ndarray
    value: np.ndarray
    n_gradients: int


def descend(
    value_and_gradient: ValueAndGradient,
    start: np.ndarray,
    n_iterations: int,
    bounds: Sequence[tuple[float, float]] | None = None,
) -> Descent:
    """Minimise an outer loss with SciPy's L-BFGS-B.

    Args:
        value_and_gradient: Outer loss and its gradient at a point like ``start``.
        start: Where to begin, any shape.
        n_iterations: Most iterations.
        bounds: Lower and upper bound of every entry of the flattened point; None for none.

    Returns:
        The way there.
    """
    calls, points = 0, [np.asarray(start)]
    values: list[float] = []

    def flat(point: np.ndarray) -> tuple[float, np.ndarray]:
        nonlocal calls
        calls += 1
        value, gradient = value_and_gradient(jnp.asarray(point.reshape(start.shape)))
        if not values:
            values.append(float(value))
        return float(value), np.asarray(gradient, dtype=float).ravel()

    def record(intermediate_result: scipy.optimize.OptimizeResult) -> None:
        points.append(intermediate_result.x.reshape(start.shape).copy())
        values.append(float(intermediate_result.fun))

    options: Any = {"maxiter": n_iterations, "maxcor": 20, "ftol": 1e-15, "gtol": 1e-9}
    scipy.optimize.minimize(
        flat, start.ravel(), jac=True, method="L-BFGS-B", bounds=bounds, callback=record, options=options
    )
    return Descent(np.stack(points), np.array(values), calls)


def difference(value: Callable[[Array], Array], point: Array, direction: Array, step: float) -> float:
    """Return the central difference of a scalar function along a direction, by re-solving at both ends."""
    return float((value(point + step * direction) - value(point - step * direction)) / (2 * step))
