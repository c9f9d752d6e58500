"""Averages over ensembles."""

from __future__ import annotations

import numpy as np


def mean_and_error(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Average over the last axis, leaving NaN entries (refused members) out and counting them.

    Args:
        values: Samples, shape (..., k); NaN where a member gave no answer.

    Returns:
        Mean, standard error of the mean (sample standard deviation over sqrt(number used)), and the number used, each
        of shape (...); NaN where fewer than one (two for the error) samples are left.
    """
    used = np.isfinite(values)
    count = used.sum(axis=-1)
    total = np.where(used, values, 0.0).sum(axis=-1)
    mean = np.divide(total, count, out=np.full(count.shape, np.nan), where=count > 0)
    squares = np.where(used, (values - mean[..., None]) ** 2, 0.0).sum(axis=-1)
    variance = np.divide(squares, count - 1, out=np.full(count.shape, np.nan), where=count > 1)
    error = np.sqrt(np.divide(variance, count, out=np.full(count.shape, np.nan), where=count > 0))
    return mean, np.asarray(error), np.asarray(count)
