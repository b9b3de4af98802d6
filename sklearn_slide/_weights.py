"""The weights of samples, classes and labels that a user gives -> the weights that training works with."""

import numpy as np
from sklearn.utils.validation import _check_sample_weight


def keep_weighted(X, y, sample_weight):
    """Return the rows of validated X and y whose weight is not zero, and their weights, float32.

    Raise ValueError if a weight is negative or not finite, or all of them are zero.
    """
    weights = _check_sample_weight(sample_weight, X, dtype=np.float32, ensure_non_negative=True)
    kept = np.flatnonzero(weights)
    if not len(kept):
        raise ValueError("All weights in sample_weight are zero: give at least one sample a larger weight.")
    if len(kept) == len(weights):
        return X, y, weights
    return X[kept], y[kept], weights[kept]
