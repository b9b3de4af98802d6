"""Weights that lead from a feature straight to labels, past the hidden layers.

A rare feature tells its few labels well, but shares the hidden units with all others. Here it has a
weight of its own for each label that it was seen with: a sparse linear model, trained along with the
network, whose output it is added to (wide and deep learning; Cheng et al., 2016, arXiv:1606.07792).
"""

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from sklearn_slide._numba import njit
from sklearn_slide._optimizers import ADAGRAD


class Direct(NamedTuple):
    """The direct weights, listed by feature."""

    indptr: np.ndarray  # int64 (n_features + 1,)
    labels: np.ndarray  # int32 (n_pairs,), ascending for each feature
    weights: np.ndarray  # float32 (n_pairs,)
    gain: np.float32  # how far these weights step, against those of the output layer


# About so many products are added up at a time to find the pairs.
_BLOCK_WORK = 20_000_000


def no_pairs(n_features):
    """Return the Direct of a network without direct weights."""
    return Direct(
        np.zeros(n_features + 1, dtype=np.int64),
        np.zeros(0, dtype=np.int32),
        np.zeros(0, dtype=np.float32),
        np.float32(0),
    )


def count_products(samples):
    """Count the pairs of a feature and a label of one sample, over all samples: a bound of the pairs."""
    return int(np.dot(np.diff(samples.x.indptr), np.diff(samples.y.indptr)))


def find_pairs(samples, n_features, n_labels, limit, gain):
    """Pair each feature with the labels that it was seen with, unless these are more than limit.

    Return a Direct whose weights are the sums of the feature over the samples of the label, X' Y.
    """
    n_samples = len(samples.x.indptr) - 1
    x = sp.csr_array((samples.x.data, samples.x.indices, samples.x.indptr), shape=(n_samples, n_features))
    entries = np.ones(len(samples.y.indices), dtype=np.float32)
    y = sp.csr_array((entries, samples.y.indices, samples.y.indptr), shape=(n_samples, n_labels))
    by_feature = x.T.tocsr()
    n_labels_of = np.diff(samples.y.indptr)
    work = np.cumsum((by_feature != 0) @ n_labels_of.astype(np.float64))
    counts, labels, sums = [], [], []
    start = 0
    while start < n_features:
        done = work[start - 1] if start else 0.0
        stop = max(start + 1, int(np.searchsorted(work, done + _BLOCK_WORK)))
        block = by_feature[start:stop] @ y
        block.sort_indices()
        found = np.diff(block.indptr)
        kept = found <= limit
        counts.append(np.where(kept, found, 0))
        in_kept = np.repeat(kept, found)
        labels.append(block.indices[in_kept].astype(np.int32))
        sums.append(block.data[in_kept].astype(np.float32))
        start = stop
    indptr = np.concatenate([[0], np.cumsum(np.concatenate(counts))]).astype(np.int64)
    return Direct(indptr, np.concatenate(labels), np.concatenate(sums), np.float32(gain))


@njit
def first_at_least(labels, start, stop, y):
    """Return the first position in labels[start:stop], int32 ascending, that holds y or more, else stop."""
    while start < stop:
        middle = (start + stop) // 2
        if labels[middle] < y:
            start = middle + 1
        else:
            stop = middle
    return start


@njit
def add_all_direct(x, i, direct, scores):
    """Add the direct weights' part to the scores of sample i; scores float32 (n_labels,)."""
    for p in range(x.indptr[i], x.indptr[i + 1]):
        j, value = x.indices[p], x.data[p]
        for q in range(direct.indptr[j], direct.indptr[j + 1]):
            scores[direct.labels[q]] += value * direct.weights[q]


@njit
def add_direct(x, i, direct, first, scores):
    """Do the same for a block of labels from first on; scores float32 (n_block,)."""
    n_block = scores.shape[0]
    for p in range(x.indptr[i], x.indptr[i + 1]):
        j, value = x.indices[p], x.data[p]
        start, stop = direct.indptr[j], direct.indptr[j + 1]
        start = first_at_least(direct.labels, start, stop, first)
        stop = first_at_least(direct.labels, start, stop, first + n_block)
        for q in range(start, stop):
            scores[direct.labels[q] - first] += value * direct.weights[q]


@njit
def update_direct(x, i, network, active, n_active, residuals, solver, factors, scores):
    """Step the direct weights of sample i against their gradients, and set the scores to 0 again.

    A pair of label y with residual r and of feature j: w -= rate * gain * r * x_ij / sqrt(s), with s the
    accumulator of the label's row in the output layer, or 1 for Adam. active int32 and residuals float32
    (n_active,), factors and scores float32 (n_labels,), factors zero before and after.
    """
    direct, steps = network.direct, network.output.weights.steps
    rate = solver.learning_rate * direct.gain
    for a in range(n_active):
        y, r = active[a], residuals[a]
        factors[y] = rate * r / np.sqrt(steps[y]) if solver.kind == ADAGRAD else rate * r
    for p in range(x.indptr[i], x.indptr[i + 1]):
        j, value = x.indices[p], x.data[p]
        for q in range(direct.indptr[j], direct.indptr[j + 1]):
            y = direct.labels[q]
            direct.weights[q] -= factors[y] * value
            scores[y] = 0.0
    for a in range(n_active):
        factors[active[a]] = 0.0
