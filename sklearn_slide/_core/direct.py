"""Weights that lead from a feature straight to labels, past the hidden layers.

A rare feature tells its few labels well, but shares the hidden units with all others. Here it has a
weight of its own for each label that it was seen with: a sparse linear model, trained along with the
network, whose output it is added to (wide and deep learning; Cheng et al., 2016, arXiv:1606.07792).
"""

from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp

from sklearn_slide._core.compilation import inner, njit
from sklearn_slide._core.matrices import row_scale, stored
from sklearn_slide._core.optimizers import direct_factor


class Direct(NamedTuple):
    """The direct weights, listed by feature."""

    indptr: np.ndarray  # int64 (n_features + 1,)
    labels: np.ndarray  # int32 (n_pairs,), ascending for each feature
    weights: Any  # float32 (n_pairs,), or Quantized with a scale for each feature
    gain: np.float32  # how far these weights step, against those of the output layer


@inner
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
def find_places(direct, features, labels, places):
    """Fill places, int64, with where pairs stand in the lists, or -1 - p for a pair that belongs before p.

    features and labels are int32, of the length of places.
    """
    for m in range(places.shape[0]):
        start, stop = direct.indptr[features[m]], direct.indptr[features[m] + 1]
        q = first_at_least(direct.labels, start, stop, labels[m])
        places[m] = q if q < stop and direct.labels[q] == labels[m] else -1 - q


@inner
def add_direct(x, i, direct, first, scores):
    """Add the direct weights' part to the scores of sample i; scores float32, of the labels from first on."""
    if direct is None:
        return
    n_block, weights = scores.shape[0], stored(direct.weights)
    for p in range(x.indptr[i], x.indptr[i + 1]):
        j = x.indices[p]
        value = x.data[p] * row_scale(direct.weights, j)
        start, stop = direct.indptr[j], direct.indptr[j + 1]
        start = first_at_least(direct.labels, start, stop, first)
        stop = first_at_least(direct.labels, start, stop, first + n_block)
        for q in range(start, stop):
            scores[direct.labels[q] - first] += value * np.float32(weights[q])


@inner
def add_direct_of(x, i, direct, y, z):
    """Return the score z, float32, of label y for sample i with the direct weights' part added."""
    if direct is None:
        return z
    weights = stored(direct.weights)
    for p in range(x.indptr[i], x.indptr[i + 1]):
        j = x.indices[p]
        stop = direct.indptr[j + 1]
        q = first_at_least(direct.labels, direct.indptr[j], stop, y)
        if q < stop and direct.labels[q] == y:
            z += x.data[p] * row_scale(direct.weights, j) * np.float32(weights[q])
    return z


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
    if direct is None:
        return None
    counts = np.diff(direct.indptr)
    present = sp.csr_array((np.ones(len(x.indices)), x.indices, x.indptr), shape=(x.n_rows, len(counts)))
    most_features = int(np.diff(x.indptr).max(initial=0))
    n_pairs = min(int((present @ counts).max(initial=0)), most_features * capacity)
    # of sixteen keys one is taken, or each label has its own
    n_keys = min(16 * capacity, n_labels)
    return Matches(
        slots=np.full(2 ** int(np.ceil(np.log2(max(n_keys, 1)))), -1, dtype=np.int32),
        candidates=np.zeros(counts.max(initial=0) + 1, dtype=np.int64),
        pairs=np.zeros(n_pairs, dtype=np.int64),
        actives=np.zeros(n_pairs, dtype=np.int32),
        values=np.zeros(n_pairs, dtype=np.float32),
        factors=np.zeros(capacity, dtype=np.float32),
    )


@inner
def enter_labels(labels, n, slots):
    """Enter labels[:n], int32 and distinct, into the empty hash table slots, by linear probing."""
    mask = slots.shape[0] - 1
    for a in range(n):
        key = labels[a] & mask
        while slots[key] >= 0:
            key = (key + 1) & mask
        slots[key] = a


@inner
def clear_labels(labels, n, slots):
    """Empty the hash table that labels[:n], int32, were entered into."""
    mask = slots.shape[0] - 1
    for a in range(n):
        key = labels[a] & mask
        while slots[key] >= 0:
            slots[key] = -1
            key = (key + 1) & mask


@inner
def match_direct(x, i, direct, labels, n_active, matches, logits):
    """Add the direct weights' part to the logits of the active labels, list the weights, return their number.

    x Rows, i the sample, labels int32 and logits float32 (n_active,).
    """
    if direct is None:
        return 0
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


@inner
def update_direct(direct, state, labels, n_active, residuals, rate, matches, n_matches):
    """Step the direct weights that were matched against their gradients.

    A pair of label y with residual r and of feature j: w -= rate * gain * r * x_ij / sqrt(s), with s the
    accumulator of the label's row in the output layer, whose solver's state is given, or 1 for Adam. labels
    int32 and residuals float32 (n_active,).
    """
    if direct is None:
        return
    rate = rate * direct.gain
    for a in range(n_active):
        matches.factors[a] = direct_factor(state, labels[a], rate * residuals[a])
    for m in range(n_matches):
        direct.weights[matches.pairs[m]] -= matches.factors[matches.actives[m]] * matches.values[m]
