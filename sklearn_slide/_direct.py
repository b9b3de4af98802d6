"""Weights that lead from a feature straight to labels, past the hidden layers.

A rare feature tells its few labels well, but shares the hidden units with all others. Here it has a
weight of its own for each label that it was seen with: a sparse linear model, trained along with the
network, whose output it is added to (wide and deep learning; Cheng et al., 2016, arXiv:1606.07792).
"""

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from sklearn_slide._numba import njit
from sklearn_slide._optimizers import ADAGRAD, NO_SCALES


class Direct(NamedTuple):
    """The direct weights, listed by feature."""

    indptr: np.ndarray  # int64 (n_features + 1,)
    labels: np.ndarray  # int32 (n_pairs,), ascending for each feature
    weights: np.ndarray  # float32 (n_pairs,), or int8 for predictions alone
    gain: np.float32  # how far these weights step, against those of the output layer
    scales: np.ndarray = NO_SCALES  # float32 (n_features,) with int8 weights, (0,) with float32


# About so many products are added up at a time to find the pairs.
_BLOCK_WORK = 5_000_000


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

    Return a Direct whose weights are the weighted sums of the feature over the samples of the label, X' Y.
    """
    n_samples = len(samples.x.indptr) - 1
    x = sp.csr_array((samples.x.data, samples.x.indices, samples.x.indptr), shape=(n_samples, n_features))
    n_labels_of = np.diff(samples.y.indptr)
    entries = np.repeat(samples.weights, n_labels_of)
    y = sp.csr_array((entries, samples.y.indices, samples.y.indptr), shape=(n_samples, n_labels))
    by_feature = x.T.tocsr()
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


def add_new_labels(direct, places, fresh, n_labels):
    """Return the pairs of direct, whose label y is now places[y], and those of fresh with a new label.

    places int32 (number of old labels,), ascending positions among the n_labels labels of fresh.
    """
    is_new = np.ones(n_labels, dtype=bool)
    is_new[places] = False
    added = is_new[fresh.labels]
    numbers = np.arange(len(direct.indptr) - 1)
    features = np.concatenate(
        [np.repeat(numbers, np.diff(direct.indptr)), np.repeat(numbers, np.diff(fresh.indptr))[added]]
    )
    labels = np.concatenate([places[direct.labels], fresh.labels[added]])
    order = np.lexsort((labels, features))
    counts = np.bincount(features, minlength=len(numbers))
    return Direct(
        np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        labels[order],
        np.concatenate([direct.weights, fresh.weights[added]])[order],
        direct.gain,
    )


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
def add_direct(x, i, direct, first, scores):
    """Add the direct weights' part to the scores of sample i; scores float32, of the labels from first on."""
    n_block = scores.shape[0]
    for p in range(x.indptr[i], x.indptr[i + 1]):
        j, value = x.indices[p], x.data[p]
        if direct.scales.shape[0]:
            value *= direct.scales[j]
        start, stop = direct.indptr[j], direct.indptr[j + 1]
        start = first_at_least(direct.labels, start, stop, first)
        stop = first_at_least(direct.labels, start, stop, first + n_block)
        for q in range(start, stop):
            scores[direct.labels[q] - first] += value * np.float32(direct.weights[q])


class Matches(NamedTuple):
    """The direct weights of one sample that lead to its active labels, and a hash table that finds them."""

    slots: np.ndarray  # int32 (a power of two,): a slot of the active set under its label's key, or -1
    candidates: np.ndarray  # int64, room for the pairs of one feature
    pairs: np.ndarray  # int64 (capacity,), positions in the Direct
    actives: np.ndarray  # int32 (capacity,), the slots of their labels in the active set
    values: np.ndarray  # float32 (capacity,), the values of their features
    factors: np.ndarray  # float32 (capacity of the active set,)


def make_matches(x, direct, n_labels, capacity):
    """Allocate Matches for any of the samples x, Rows, with up to capacity active labels of n_labels."""
    if not len(direct.labels):
        capacity = n_pairs = 0
    else:
        n_samples, n_features = len(x.indptr) - 1, len(direct.indptr) - 1
        present = sp.csr_array((np.ones(len(x.indices)), x.indices, x.indptr), shape=(n_samples, n_features))
        most_features = int(np.diff(x.indptr).max(initial=0))
        n_pairs = min(int((present @ np.diff(direct.indptr)).max(initial=0)), most_features * capacity)
    # of sixteen keys one is taken, or each label has its own
    n_keys = min(16 * capacity, n_labels)
    return Matches(
        slots=np.full(2 ** int(np.ceil(np.log2(max(n_keys, 1)))), -1, dtype=np.int32),
        candidates=np.zeros(np.diff(direct.indptr).max(initial=0) + 1, dtype=np.int64),
        pairs=np.zeros(n_pairs, dtype=np.int64),
        actives=np.zeros(n_pairs, dtype=np.int32),
        values=np.zeros(n_pairs, dtype=np.float32),
        factors=np.zeros(capacity, dtype=np.float32),
    )


@njit
def enter_labels(labels, n, slots):
    """Enter labels[:n], int32 and distinct, into the empty hash table slots, by linear probing."""
    mask = slots.shape[0] - 1
    for a in range(n):
        key = labels[a] & mask
        while slots[key] >= 0:
            key = (key + 1) & mask
        slots[key] = a


@njit
def clear_labels(labels, n, slots):
    """Empty the hash table that labels[:n], int32, were entered into."""
    mask = slots.shape[0] - 1
    for a in range(n):
        key = labels[a] & mask
        while slots[key] >= 0:
            slots[key] = -1
            key = (key + 1) & mask


@njit
def match_direct(x, i, direct, labels, n_active, matches, logits):
    """Add the direct weights' part to the logits of the active labels, list the weights, return their number.

    x Rows, i the sample, labels int32 and logits float32 (n_active,).
    """
    slots, mask, candidates, n = matches.slots, matches.slots.shape[0] - 1, matches.candidates, 0
    enter_labels(labels, n_active, slots)
    for p in range(x.indptr[i], x.indptr[i + 1]):
        j, value = x.indices[p], x.data[p]
        # without a branch: most keys are not taken, and a processor that guesses wrong loses ten steps
        n_candidates = 0
        for q in range(direct.indptr[j], direct.indptr[j + 1]):
            candidates[n_candidates] = q
            n_candidates += np.int64(slots[direct.labels[q] & mask] >= 0)
        for q in candidates[:n_candidates]:
            key = direct.labels[q] & mask
            while slots[key] >= 0 and labels[slots[key]] != direct.labels[q]:
                key = (key + 1) & mask
            a = slots[key]
            if a >= 0:
                logits[a] += value * direct.weights[q]
                matches.pairs[n], matches.actives[n], matches.values[n] = q, a, value
                n += 1
    clear_labels(labels, n_active, slots)
    return n


@njit
def update_direct(network, labels, n_active, residuals, solver, matches, n_matches):
    """Step the direct weights that were matched against their gradients.

    A pair of label y with residual r and of feature j: w -= rate * gain * r * x_ij / sqrt(s), with s the
    accumulator of the label's row in the output layer, or 1 for Adam. labels int32 and residuals float32
    (n_active,).
    """
    direct, steps, factors = network.direct, network.output.weights.steps, matches.factors
    rate = solver.learning_rate * direct.gain
    for a in range(n_active):
        factors[a] = rate * residuals[a]
        if solver.kind == ADAGRAD:
            factors[a] /= np.sqrt(steps[labels[a]])
    for m in range(n_matches):
        direct.weights[matches.pairs[m]] -= factors[matches.actives[m]] * matches.values[m]
