"""From series and averages to the arrays of a results file."""

from __future__ import annotations

import numpy as np

from mdsens.equilibrium.autocorrelation import block_errors, estimate
from mdsens.equilibrium.averages import contributions, influence
from mdsens.equilibrium.samples import Averages, Samples

_POINTS = 200  # of a running average


def thermal_tables(samples: Samples, found: Averages, parameter_values: np.ndarray) -> dict[str, dict[str, np.ndarray]]:
    """Return the groups of a results file: averages, derivatives, how they converge, and the series.

    Args:
        samples: The series.
        found: Their averages.
        parameter_values: Value of every parameter entry, shape (k,).
    """
    return {
        "averages": average_arrays(found),
        "derivatives": derivative_arrays(found, parameter_values),
        "convergence": convergence_arrays(samples),
        "series": series_arrays(samples),
    }


def average_arrays(found: Averages) -> dict[str, np.ndarray]:
    """Return one row per observable: name, mean, error, autocorrelation time, samples' worth, and the two checks."""
    return {
        "observable": np.array(found.observables),
        "mean": found.mean,
        "error": found.error,
        "tau": found.tau,
        "n_effective": found.n_effective,
        "halves": found.halves,
        "replicas": found.replicas,
    }


def derivative_arrays(found: Averages, parameter_values: np.ndarray) -> dict[str, np.ndarray]:
    """Return one row per derivative, observable by observable.

    Args:
        found: The averages.
        parameter_values: Value of every parameter entry, shape (k,).
    """
    n_observables, n_paths = len(found.observables), len(found.paths)
    return {
        "observable": np.repeat(found.observables, n_paths),
        "parameter": np.tile(found.paths, n_observables),
        "parameter_value": np.tile(parameter_values, n_observables),
        "value": found.slope.ravel(),
        "error": found.slope_error.ravel(),
        "tau": found.slope_tau.ravel(),
        "n_effective": found.slope_n_effective.ravel(),
        "explicit": found.explicit.ravel(),
    }


def convergence_arrays(samples: Samples) -> dict[str, np.ndarray]:
    """Return how averages and derivatives settle, and how their errors grow with the length of blocks.

    Args:
        samples: The series of r replicas.

    Returns:
        ``observable`` and ``parameter`` (empty for an average itself), (q,); ``time`` (t,); the average up to that time
        over all replicas, ``running`` (q, t), and its standard error ``band`` (q, t), the final one times
        (end/time)^(1/2); ``replicas`` (q, r, t), that of every replica; ``block_time`` (b,), ``block_error`` and
        ``block_spread`` (q, b); ``error`` (q,), the standard error, and ``correlated`` (q,), twice the autocorrelation
        time.
    """
    n_samples = samples.values.shape[1]
    ends = np.unique(np.linspace(0, n_samples, min(_POINTS, n_samples) + 1).astype(int))[1:]
    values, derivatives = contributions(samples), influence(samples)
    rows = []
    for a, observable in enumerate(samples.observables):
        rows.append((observable, "", values[:, :, a]))
        rows += [(observable, path, derivatives[:, :, a, k]) for k, path in enumerate(samples.paths)]
    series = np.stack([row[2] for row in rows])
    estimates = [estimate(each) for each in series]
    error = np.array([found.error for found in estimates])
    replicas = np.cumsum(series, axis=2)[:, :, ends - 1] / ends
    blocks = [block_errors(each) for each in series]
    return {
        "observable": np.array([row[0] for row in rows]),
        "parameter": np.array([row[1] for row in rows]),
        "time": ends * samples.interval,
        "running": replicas.mean(axis=1),
        "band": error[:, None] * np.sqrt(n_samples / ends),
        "replicas": replicas,
        "block_time": blocks[0][0] * samples.interval,
        "block_error": np.stack([errors for _, errors, _ in blocks]),
        "block_spread": np.stack([spreads for _, _, spreads in blocks]),
        "error": error,
        "correlated": 2.0 * samples.interval * np.array([found.tau for found in estimates]),
    }


def series_arrays(samples: Samples) -> dict[str, np.ndarray]:
    """Return the series themselves, with the names of their columns, for other averages and for reweighting."""
    names = {"observable": np.array(samples.observables), "parameter": np.array(samples.paths)}
    return names | samples.arrays
