"""Data sets of scikit-learn, all of them inside the package or drawn at random."""

from __future__ import annotations

from typing import Any

import numpy as np

from mdsens.errors import UserError

DARKEST = 16.0  # grey levels of a pixel of the digits


def require_datasets() -> Any:
    """Import scikit-learn's data sets.

    Raises:
        UserError: When it is not installed; the message says how to install it.
    """
    try:
        from sklearn import datasets
    except ImportError:
        raise UserError("the paper's data sets are in scikit-learn: pip install 'mdsens[paper]'.") from None
    return datasets


def classification(n_samples: int, n_features: int, n_classes: int, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return random samples around class centres, shape (m, p), and their classes, shape (m,)."""
    samples, classes = require_datasets().make_classification(
        n_samples=n_samples,
        n_features=n_features,
        n_informative=max(4, n_features // 10),
        n_classes=n_classes,
        n_clusters_per_class=1,
        random_state=seed,
    )
    return np.asarray(samples), np.asarray(classes)


def digits(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the 1797 handwritten digits in random order: images in [0, 1], shape (m, 64), and classes, shape (m,)."""
    images, classes = require_datasets().load_digits(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(classes))
    return np.asarray(images)[order] / DARKEST, np.asarray(classes)[order]
