r"""From time series to averages and their derivatives, with standard errors that know the autocorrelation time.

.. math:: \frac{d\langle A\rangle}{dp} = \Big\langle\frac{\partial A}{\partial p}\Big\rangle
          - \beta\,\mathrm{Cov}\Big(A, \frac{\partial U}{\partial p}\Big)
"""

from __future__ import annotations

import numpy as np
from scipy.stats import chi2, norm

from mdsens.equilibrium.autocorrelation import Estimate, estimate
from mdsens.equilibrium.samples import Averages, Equilibration, Samples

SHORTEST = 50  # autocorrelation times that a replica must last
_UNEQUAL = 2.0  # mean square of the weights from which on fewer than half of the samples count
_LEVEL = 1e-3  # probability with which a run in equilibrium is found not to be


def averages(samples: Samples) -> Averages:
    """Average all observables and differentiate the averages.

    The error of a derivative is that of the mean of its influence series (``influence``), to first order in the
    fluctuations of <A> and <dU/dp>.

    Args:
        samples: The series.

    Returns:
        Averages, derivatives, errors, and whether the run has reached equilibrium and is long enough.
    """
    each = np.moveaxis(contributions(samples), 2, 0)
    means = [estimate(series) for series in each]
    slopes = [estimate(series) for row in np.moveaxis(influence(samples), (2, 3), (0, 1)) for series in row]
    halves = np.array([_halves(series, found) for series, found in zip(each, means, strict=True)])
    replicas = np.array([_replicas(series) for series in each])
    kinetic = estimate(samples.kinetic_temperature)
    shape = (len(samples.observables), len(samples.paths))
    return Averages(
        observables=samples.observables,
        paths=samples.paths,
        mean=_column(means, "mean"),
        error=_column(means, "error"),
        tau=_column(means, "tau") * samples.interval,
        n_effective=_column(means, "n_effective"),
        slope=_column(slopes, "mean").reshape(shape),
        slope_error=_column(slopes, "error").reshape(shape),
        slope_tau=_column(slopes, "tau").reshape(shape) * samples.interval,
        slope_n_effective=_column(slopes, "n_effective").reshape(shape),
        explicit=_mean(samples.slopes, samples.weights),
        halves=halves,
        replicas=replicas,
        kinetic_temperature=np.array([kinetic.mean, kinetic.error]),
        verdict=_judged(samples, means, halves, replicas),
    )


def contributions(samples: Samples) -> np.ndarray:
    r"""Return the series whose mean is the average, shape (r, s, o): the values themselves where all weights are one.

    .. math:: \bar A = \sum_t w_t A_t, \qquad \bar A + w_t (A_t - \bar A)

    with weights of mean one per sample: the first order of the weighted mean in its fluctuations.
    """
    return _weighted(samples.values, samples.weights)


def influence(samples: Samples) -> np.ndarray:
    r"""Return the series whose mean is the derivative of the average, shape (r, s, o, k).

    .. math:: I_t = \frac{\partial A_t}{\partial p} - \beta\,(A_t - \bar A)(G_t - \bar G), \qquad
              G = \frac{\partial U}{\partial p}

    weighted like the averages. The fluctuations of both means enter the error of the mean of I in second order only.
    They lower the covariance by its part 1/N_eff, to be compared with a standard error that is larger by the root of
    N_eff.
    """
    weights = samples.weights
    away = samples.values - _mean(samples.values, weights)
    pushed = samples.energy_slopes - _mean(samples.energy_slopes, weights)
    return _weighted(samples.slopes - away[..., None] * pushed[:, :, None, :] / samples.temperature, weights)


def _weighted(series: np.ndarray, weights: np.ndarray) -> np.ndarray:
    mean = _mean(series, weights)
    return np.asarray(mean + _shaped(weights, series) * (series - mean))


def _mean(series: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return np.asarray((_shaped(weights, series) * series).mean(axis=(0, 1)))


def _shaped(weights: np.ndarray, series: np.ndarray) -> np.ndarray:
    return weights.reshape(weights.shape + (1,) * (series.ndim - 2))


def _column(estimates: list[Estimate], name: str) -> np.ndarray:
    return np.array([getattr(found, name) for found in estimates])


def _halves(series: np.ndarray, found: Estimate) -> float:
    """Return the difference of the two halves' means over its standard error, twice that of the whole."""
    middle = series.shape[1] // 2
    difference = series[:, :middle].mean() - series[:, -middle:].mean()
    return float(difference / (2.0 * found.error)) if 0 < found.error < np.inf else 0.0


def _replicas(series: np.ndarray) -> float:
    """Return the probability of replica means spread this much, from chi squared with r - 1 degrees of freedom.

    The error of a replica's mean comes from fluctuations about that mean, which the spread of the means does not enter.
    """
    r, s = series.shape
    means = series.mean(axis=1, keepdims=True)
    within = estimate(series - means)
    if r == 1 or not 0 < within.error < np.inf:
        return 1.0
    variance = r * within.error**2 * (1.0 + 2.0 * within.tau / s)  # of one mean; its own fluctuation was taken out
    return float(chi2.sf(np.sum((means - means.mean()) ** 2) / variance, r - 1))


def _judged(samples: Samples, means: list[Estimate], halves: np.ndarray, replicas: np.ndarray) -> Equilibration:
    level = _LEVEL / (2 * len(means))  # so many tests are made
    if np.mean(samples.weights**2) > _UNEQUAL:
        return Equilibration.UNEQUAL
    if 2.0 * norm.sf(np.abs(halves).max()) < level:
        return Equilibration.DRIFTING
    if replicas.min() < level:
        return Equilibration.DISAGREEING
    if not all(samples.values.shape[1] >= SHORTEST * found.tau for found in means):
        return Equilibration.TOO_SHORT
    return Equilibration.EQUILIBRATED
