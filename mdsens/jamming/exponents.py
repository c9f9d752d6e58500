r"""Power laws through means over packings, and how far they are uncertain because the packings are few."""

from __future__ import annotations

import dataclasses

import numpy as np

from mdsens.errors import NumericalError, UserError
from mdsens.sweep import mean_and_error

FEWEST = 3  # points of a fit, and packings to resample
_ROUNDING = 1e-12  # relative: smaller differences are none
_SETTLED = 1e-9  # relative step of a fit that has arrived
_LONGEST = 0.5  # change of the exponent in a step
_MOST_STEPS = 50  # of a fit; a few do


@dataclasses.dataclass(frozen=True)
class PowerLaw:
    """A fitted law y = prefactor x^exponent.

    Attributes:
        exponent: Its exponent.
        exponent_error: Standard error of the exponent, from resampled packings.
        prefactor: Its prefactor.
        prefactor_error: Standard error of the prefactor.
        chi_squared: Weighted squares of the residuals over the number of points less two. Points of one ensemble are
            correlated, so that below 1 it proves nothing; far above 1 the means do not follow one power law.
    """

    exponent: float
    exponent_error: float
    prefactor: float
    prefactor_error: float
    chi_squared: float


def fit_power_law(x: np.ndarray, y: np.ndarray, n_resamples: int = 1000, seed: int = 0) -> PowerLaw:
    r"""Fit a power law to means over packings at common points.

    .. math:: \langle y\rangle_k = A\,\langle x\rangle_k^{\,b},
              \qquad s_k^2 = s_{y,k}^2 + \left(b\,\frac{\langle y\rangle_k}{\langle x\rangle_k}s_{x,k}\right)^2

    by least squares in y, weighted with the standard errors of both means (s_x through the slope). Squares of y and
    not of log y: errors of means are Gaussian, whatever sign single packings have. The errors of A and b are their
    standard deviation over resampled ensembles (bootstrap): packings are drawn whole, with replacement, because the
    points of one packing are correlated.

    Args:
        x: Abscissa of every packing at every point, shape (m, k); NaN where a packing gave no answer.
        y: Ordinate, shape (m, k), NaN at the same entries.
        n_resamples: Resampled ensembles, >= 2.
        seed: Of the resampling.

    Returns:
        The law with its errors.

    Raises:
        UserError: For shapes that differ, fewer than three points or packings, or fewer than two resamples.
        NumericalError: When a mean of x is not positive, or a mean has no error because fewer than two packings
            answered there or all are the same.

    References:
        B. Efron, R. J. Tibshirani, An Introduction to the Bootstrap (1993), chapter 6.
    """
    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    _refuse(x, y, n_resamples)
    (mean_x, error_x, _), (mean_y, error_y, _) = mean_and_error(x.T), mean_and_error(y.T)
    _check_means(mean_x, error_x, mean_y, error_y)
    start = _straight_line(mean_x, mean_y)
    weights = 1.0 / np.hypot(error_y, start[1] * mean_y / mean_x * error_x)
    best, squares = _fit(mean_x[None], mean_y[None], weights[None], start[None])
    drawn = np.random.default_rng(seed).integers(len(x), size=(n_resamples, len(x)))
    again_x, again_y = (mean_and_error(np.swapaxes(values[drawn], 1, 2))[0] for values in (x, y))
    answered = np.isfinite(again_x) & np.isfinite(again_y) & (again_x > 0)
    again_x, again_y = np.where(answered, again_x, mean_x), np.where(answered, again_y, mean_y)
    found, _ = _fit(again_x, again_y, weights * answered, np.repeat(best, n_resamples, axis=0))
    prefactor_error, exponent_error = np.std(found, axis=0, ddof=1)
    return PowerLaw(
        exponent=float(best[0, 1]),
        exponent_error=float(exponent_error),
        prefactor=float(best[0, 0]),
        prefactor_error=float(prefactor_error),
        chi_squared=float(squares[0]) / max(len(mean_x) - 2, 1),
    )


def _refuse(x: np.ndarray, y: np.ndarray, n_resamples: int) -> None:
    if x.shape != y.shape or x.ndim != 2:
        raise UserError(f"x has shape {x.shape} and y {y.shape}; both must be (packings, points).")
    for size, what in zip(x.shape, ("packings", "points"), strict=True):
        if size < FEWEST:
            raise UserError(f"a power law with its error needs at least {FEWEST} {what}; there are {size}.")
    if n_resamples < 2:
        raise UserError(f"n_resamples is {n_resamples}; it must be at least 2.")


def _check_means(mean_x: np.ndarray, error_x: np.ndarray, mean_y: np.ndarray, error_y: np.ndarray) -> None:
    if not np.all(np.isfinite(error_x) & np.isfinite(error_y)):
        raise NumericalError("no power law: at some point fewer than two packings gave an answer.")
    if np.any((error_x <= _ROUNDING * np.abs(mean_x)) & (error_y <= _ROUNDING * np.abs(mean_y))):
        raise NumericalError("no power law: at some point all packings are the same, so that nothing tells its error.")
    if not np.all(mean_x > 0):
        raise NumericalError(f"no power law: a mean abscissa is {mean_x.min():.3g}; all must be positive.")


def _straight_line(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return A and b of a straight line through the logarithms of the positive means, shape (2,)."""
    positive = y > 0
    if positive.sum() < 2:
        raise NumericalError("no power law: fewer than two means are positive; take more packings.")
    slope, intercept = np.polyfit(np.log(x[positive]), np.log(y[positive]), 1)
    return np.array([np.exp(intercept), slope])


def _fit(x: np.ndarray, y: np.ndarray, weights: np.ndarray, start: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return A and b of the weighted least squares of r data sets, shape (r, 2), and their sums of squares, shape (r,).

    Gauss-Newton steps, each data set's halved until its sum of squares does not grow. Logarithms are counted from the
    middle of the points, where A and b are least correlated.
    """
    middle = np.log(x).mean(axis=1, keepdims=True)
    logarithm = np.log(x) - middle

    def residual(p: np.ndarray) -> np.ndarray:
        return np.asarray(weights * (y - p[:, :1] * np.exp(p[:, 1:] * logarithm)))

    here = np.stack([start[:, 0] * np.exp(start[:, 1] * middle[:, 0]), start[:, 1]], axis=1)
    squares, length = np.sum(residual(here) ** 2, axis=1), np.ones(len(here))
    for _ in range(_MOST_STEPS):
        power = weights * np.exp(here[:, 1:] * logarithm)
        slopes = np.stack([power, here[:, :1] * power * logarithm], axis=2)
        step = (np.linalg.pinv(slopes) @ residual(here)[:, :, None])[:, :, 0]
        if np.all(np.abs(step) <= _SETTLED * np.abs(here)):
            break
        step *= np.minimum(1.0, _LONGEST / np.maximum(np.abs(step[:, 1:]), _LONGEST))
        there = here + length[:, None] * step
        reached = np.sum(residual(there) ** 2, axis=1)
        falls = reached <= squares
        here, squares = np.where(falls[:, None], there, here), np.where(falls, reached, squares)
        length = np.where(falls, np.minimum(1.0, 2.0 * length), 0.5 * length)
    return np.stack([here[:, 0] * np.exp(-here[:, 1] * middle[:, 0]), here[:, 1]], axis=1), squares
