r"""The standard error of a mean over correlated samples.

With the autocovariance :math:`\Gamma(t)` of the samples, the mean of N of them has the variance

.. math:: \sigma^2 = \frac{C}{N}, \quad C = \Gamma(0) + 2\sum_{t=1}^{W}\Gamma(t) = 2\tau\,\Gamma(0),
          \quad N_\mathrm{eff} = \frac{N}{2\tau}

summed up to a window W that balances its truncation against its noise. Averages over blocks are the second witness:
their errors grow with the block's length up to a plateau at the same value.

C itself is known to a relative variance :math:`4 (W + \frac12 - \tau)/N` only, as that of
:math:`\nu = N/(2 (W + \frac12 - \tau))` degrees of freedom is. In short runs intervals of 1.96 errors would hold less
than 95 %; the error is widened by Student's factor, :math:`t_{\nu}(0.975)/1.96`, which is one for long runs.

References:
    U. Wolff, Monte Carlo errors with less errors, Comput. Phys. Commun. 156, 143 (2004),
    doi:10.1016/S0010-4655(03)00467-3, equations 31, 35, 42, 50-52; H. Flyvbjerg, H. G. Petersen, J. Chem. Phys. 91, 461
    (1989), doi:10.1063/1.457480.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy.stats import norm, t

# Assumed ratio of the exponential to the integrated autocorrelation time (Wolff's S). He takes 1.5; in a liquid under a
# weak thermostat a slow mode of small amplitude follows the fast ones, and 1.5 misses a sixth of the error.
_STRETCH = 3.0
_FEWEST_LAGS = 8  # looked at in any case where they add little noise: autocorrelations may swing below zero first
_FEWEST_BLOCKS = 16  # over all replicas: with fewer the error of the error exceeds a fifth
_UP_TO = 0.975  # quantile to which intervals are right
_ROUNDING = 1e-13  # relative spread of a series that is constant but for rounding


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A mean and how good it is.

    Attributes:
        mean: Mean over all samples.
        error: Its standard error, widened by Student's factor; infinite where the series ended before its
            autocorrelation did.
        tau: Integrated autocorrelation time, units of the interval between samples; 1/2 where they are independent.
        n_effective: Number of independent samples that would give this error without that factor.
    """

    mean: float
    error: float
    tau: float
    n_effective: float


def estimate(series: np.ndarray) -> Estimate:
    """Return the mean of one quantity and its standard error.

    Args:
        series: Samples of independent replicas, shape (r, s), evenly spaced in time.

    Notes:
        The replicas are taken to sample the same equilibrium; whether they do is for ``averages`` to check.
    """
    mean, n = float(series.mean()), series.size
    covariance = autocovariance(series)
    if covariance[0] <= (_ROUNDING * abs(mean)) ** 2:
        return Estimate(mean, 0.0, 0.5, float(n))
    sums = covariance[0] + 2.0 * np.concatenate([[0.0], np.cumsum(covariance[1:])])
    window = _window(sums / covariance[0], n)
    if window is None or sums[window] <= 0:
        return Estimate(mean, float("inf"), float("inf"), 0.0)
    # what the mean has taken from every covariance
    total = sums[window] * (1.0 + (2.0 * window + 1.0) / n)
    twice = float(total / covariance[0])
    error = float(np.sqrt(total / n)) * _students_factor(n / (2.0 * max(window + 0.5 - 0.5 * twice, 0.5)))
    return Estimate(mean, error=error, tau=0.5 * twice, n_effective=n / twice)


def _students_factor(freedom: float) -> float:
    """Return how much wider an interval is when its error has so many degrees of freedom only."""
    return float(t.ppf(_UP_TO, max(freedom, 1.0)) / norm.ppf(_UP_TO))


def autocovariance(series: np.ndarray) -> np.ndarray:
    """Return the autocovariance about the common mean, shape (s // 2 + 1,), averaged over replicas."""
    r, s = series.shape
    away = series - series.mean()
    spectrum = np.fft.rfft(away, 2 * s, axis=1)
    products = np.fft.irfft(np.abs(spectrum) ** 2, 2 * s, axis=1)[:, : s // 2 + 1].sum(axis=0)
    return np.asarray(products / (r * (s - np.arange(s // 2 + 1))))


def _window(twice_tau: np.ndarray, n: int) -> int | None:
    """Return the first W at which the truncation left out is below the noise taken in; None when there is none."""
    w = np.arange(1, len(twice_tau))
    above = np.maximum(twice_tau[1:], 1.0 + 1e-12)  # below one the window is closed at once
    decay = _STRETCH / np.log((above + 1.0) / (above - 1.0))
    balanced = np.exp(-w / decay) - decay / np.sqrt(w * n) < 0
    closed = np.flatnonzero(balanced & (w >= min(_FEWEST_LAGS, n // 100)))
    return int(w[closed[0]]) if len(closed) else None


def block_errors(series: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the standard error of the mean as block averages of growing length see it.

    Args:
        series: Samples of independent replicas, shape (r, s).

    Returns:
        Lengths of the blocks in samples (powers of two that leave at least 16 blocks), the errors, and the standard
        errors of these errors, each of shape (b,).
    """
    r, s = series.shape
    lengths = [length for length in 2 ** np.arange(max(s, 1).bit_length()) if r * (s // length) >= _FEWEST_BLOCKS]
    errors, spreads = [], []
    for length in lengths:
        blocks = series[:, : s // length * length].reshape(r, -1, length).mean(axis=2)
        error = np.sqrt(blocks.var(ddof=1) / blocks.size)
        errors.append(error)
        spreads.append(error / np.sqrt(2.0 * (blocks.size - 1)))
    return np.array(lengths, dtype=int), np.array(errors), np.array(spreads)
