"""Weights that lead from a feature straight to labels, past the hidden layers.

A rare feature tells its few labels well, but shares the hidden units with all others. Here it has a
weight of its own for each label that it was seen with: a sparse linear model, trained along with the
network, whose output it is added to (wide and deep learning; Cheng et al., 2016, arXiv:1606.07792).
"""

from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp

from sklearn_slide._core.compilation import inner, njit, prefetch
from sklearn_slide._core.matrices import row_scale, stored
from sklearn_slide._core.optimizers import direct_factor


class Direct(NamedTuple):
    """The direct weights, listed by feature."""

    indptr: np.ndarray  # int64 (n_features + 1,)
    labels: np.ndarray  # int32 (n_pairs,), ascending for each feature
    weights: Any  # float32 (n_pairs,), or Quantized with a scale for each feature
    gain: np.float32  # how far these weights step, against those of the output layer


class Columns(NamedTuple):
    """CSC arrays of X: the samples and values of each feature."""

    indptr: np.ndarray  # int64 (n_features + 1,)
    indices: np.ndarray  # int32 (nnz,)
    data: np.ndarray  # float32 (nnz,)


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
    """The direct weights of one sample that lead to its active labels, and what finds them."""

    flags: np.ndarray  # uint8 (n_labels,): 1 for an active label; all zero between samples
    slots: np.ndarray  # int32 (n_labels,), the slot in the active set of a label that is flagged
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
    return Matches(
        flags=np.zeros(n_labels, dtype=np.uint8),
        slots=np.zeros(n_labels, dtype=np.int32),
        # a pair is written down before its flag is read
        pairs=np.zeros(n_pairs + 1, dtype=np.int64),
        actives=np.zeros(n_pairs, dtype=np.int32),
        values=np.zeros(n_pairs, dtype=np.float32),
        factors=np.zeros(capacity, dtype=np.float32),
    )


@inner
def prefetch_range(values, start, stop):
    """Ask the memory for values[start:stop], 1-D, of four bytes each."""
    for q in range(start, stop, 16):  # a line of memory has 64 bytes
        prefetch(values, q)


@inner
def match_direct(x, i, direct, labels, n_active, matches, logits):
    """Add the direct weights' part to the logits of the active labels, list the weights, return their number.

    x Rows, i the sample, labels int32 and logits float32 (n_active,).
    """
    if direct is None:
        return 0
    flags, slots, listed, weights = matches.flags, matches.slots, direct.labels, direct.weights
    for p in range(x.indptr[i], x.indptr[i + 1]):
        start, stop = direct.indptr[x.indices[p]], direct.indptr[x.indices[p] + 1]
        prefetch_range(listed, start, stop)
    for a in range(n_active):
        flags[labels[a]], slots[labels[a]] = 1, a
    # unsigned, for Numba asks of each signed index whether it counts from the end
    n, one = np.uint64(0), np.uint64(1)
    for p in range(x.indptr[i], x.indptr[i + 1]):
        first, value = n, x.data[p]
        q, stop = np.uint64(direct.indptr[x.indices[p]]), np.uint64(direct.indptr[x.indices[p] + 1])
        # without a branch: most labels are not active, and a processor that guesses wrong loses ten steps
        while q < stop:
            matches.pairs[n] = q
            n += np.uint64(flags[np.uint64(listed[q])])
            q += one
        m = first
        while m < n:
            q = np.uint64(matches.pairs[m])
            matches.actives[m], matches.values[m] = slots[np.uint64(listed[q])], value
            prefetch(weights, q)
            m += one
    for m in range(np.int64(n)):
        logits[np.uint64(matches.actives[m])] += matches.values[m] * weights[np.uint64(matches.pairs[m])]
    for a in range(n_active):
        flags[labels[a]] = 0
    return np.int64(n)


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


@njit
def count_new_pairs(columns, y, direct, limit, crowded, marks, counts):
    """Fill counts, int64 (n_features,), with the labels that features meet in samples and have no weight for.

    columns is the Columns of X, y the Pattern of true labels, marks int32 (n_labels,) of -1. A feature with
    more labels than the limit, old and new, becomes crowded, bool (n_features,); it counts none.
    """
    for j in range(counts.shape[0]):
        counts[j] = 0
        if crowded[j] or columns.indptr[j] == columns.indptr[j + 1]:
            continue
        for q in range(direct.indptr[j], direct.indptr[j + 1]):
            marks[direct.labels[q]] = j
        for p in range(columns.indptr[j], columns.indptr[j + 1]):
            i = columns.indices[p]
            for r in range(y.indptr[i], y.indptr[i + 1]):
                label = y.indices[r]
                counts[j] += marks[label] != j
                marks[label] = j
        if direct.indptr[j + 1] - direct.indptr[j] + counts[j] > limit:
            crowded[j], counts[j] = True, 0


@njit
def list_new_pairs(columns, y, weights, direct, pairs, places):
    """List the pairs that were counted: fill the labels of pairs, a Direct, and add sums to its weights.

    The sum of a pair is that of the feature's values in the samples of the label, by the weights of samples,
    float32. places are int64 (n_labels,) of -1.
    """
    for j in range(pairs.indptr.shape[0] - 1):
        first, n = pairs.indptr[j], pairs.indptr[j]
        if first == pairs.indptr[j + 1]:
            continue
        known = pairs.labels.shape[0] + j
        for q in range(direct.indptr[j], direct.indptr[j + 1]):
            places[direct.labels[q]] = known
        for p in range(columns.indptr[j], columns.indptr[j + 1]):
            i = columns.indices[p]
            for r in range(y.indptr[i], y.indptr[i + 1]):
                label = y.indices[r]
                place = places[label]
                if place == known:
                    continue
                if place < first or place >= n:
                    place, n = n, n + 1
                    places[label], pairs.labels[place] = place, label
                pairs.weights[place] += weights[i] * columns.data[p]


@njit
def merge_pairs(one, two, labels, weights):
    """Fill labels and weights, those of a Direct, with the pairs of two Directs that share none."""
    n = 0
    for j in range(one.indptr.shape[0] - 1):
        p = one.indptr[j]
        for q in range(two.indptr[j], two.indptr[j + 1]):
            while p < one.indptr[j + 1] and one.labels[p] < two.labels[q]:
                labels[n], weights[n] = one.labels[p], one.weights[p]
                n, p = n + 1, p + 1
            labels[n], weights[n] = two.labels[q], two.weights[q]
            n += 1
        for r in range(p, one.indptr[j + 1]):
            labels[n], weights[n] = one.labels[r], one.weights[r]
            n += 1
