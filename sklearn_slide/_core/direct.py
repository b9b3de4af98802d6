"""Weights that lead from a feature straight to labels, past the hidden layers.

A rare feature tells its few labels well, but shares the hidden units with all others. Here it has a
weight of its own for each label that it was seen with: a sparse linear model, trained along with the
network, whose output it is added to (wide and deep learning; Cheng et al., 2016, arXiv:1606.07792).
"""

from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp

from sklearn_slide._core.compilation import inner, prefetch
from sklearn_slide._core.matrices import Quantized, row_scale, stored
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


def add_pairs(one, other, n_labels):
    """Return the Direct whose weights are the sums of those of two; one of them may be None."""
    if one is None or other is None:
        return other if one is None else one
    both = sum(
        sp.csr_array((direct.weights, direct.labels, direct.indptr), shape=(len(direct.indptr) - 1, n_labels))
        for direct in (one, other)
    )
    both.sort_indices()
    return one._replace(
        indptr=both.indptr.astype(np.int64),
        labels=both.indices.astype(np.int32, copy=False),
        weights=both.data,
    )


def take_pairs(direct, kept):
    """Return the Direct of those pairs alone for which kept, bool (n_pairs,), is true."""
    # where the kept ones lie, not a running count of all: eight bytes for each of the fewer
    indptr = np.searchsorted(np.flatnonzero(kept), direct.indptr)
    weights = direct.weights
    if isinstance(weights, Quantized):
        weights = weights._replace(values=weights.values[kept])
    else:
        weights = weights[kept]
    return direct._replace(indptr=indptr, labels=direct.labels[kept], weights=weights)


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
    pairs = matches.pairs
    # unsigned, for Numba asks of each signed index whether it counts from the end
    n, one, two, three, four = np.uint64(0), np.uint64(1), np.uint64(2), np.uint64(3), np.uint64(4)
    for p in range(x.indptr[i], x.indptr[i + 1]):
        first, value = n, x.data[p]
        q, stop = np.uint64(direct.indptr[x.indices[p]]), np.uint64(direct.indptr[x.indices[p] + 1])
        # without a branch: most labels are not active, and a processor that guesses wrong loses ten steps;
        # four at a time, whose flags are read side by side before any place depends on them
        while q + four <= stop:
            f0, f1 = flags[np.uint64(listed[q])], flags[np.uint64(listed[q + one])]
            f2, f3 = flags[np.uint64(listed[q + two])], flags[np.uint64(listed[q + three])]
            n1 = n + np.uint64(f0)
            n2 = n1 + np.uint64(f1)
            n3 = n2 + np.uint64(f2)
            pairs[n], pairs[n1], pairs[n2], pairs[n3] = q, q + one, q + two, q + three
            n = n3 + np.uint64(f3)
            q += four
        while q < stop:
            pairs[n] = q
            n += np.uint64(flags[np.uint64(listed[q])])
            q += one
        m = first
        while m < n:
            q = np.uint64(pairs[m])
            matches.actives[m], matches.values[m] = slots[np.uint64(listed[q])], value
            prefetch(weights, q)
            m += one
    for m in range(np.int64(n)):
        logits[np.uint64(matches.actives[m])] += matches.values[m] * weights[np.uint64(pairs[m])]
    for a in range(n_active):
        flags[labels[a]] = 0
    return np.int64(n)


@inner
def update_direct(direct, state, nonzero, n_nonzero, n_active, rate, matches, n_matches):
    """Step the direct weights that were matched against their gradients.

    A pair of label y with residual r and of feature j: w -= rate * gain * r * x_ij / sqrt(s), with s the
    accumulator of the label's row in the output layer, whose solver's state is given, or 1 for Adam. nonzero
    Nonzero, whose slots are below n_active.
    """
    if direct is None:
        return
    factors, rate = matches.factors, rate * direct.gain
    for a in range(n_active):
        factors[a] = np.float32(0.0)
    for b in range(n_nonzero):
        factors[nonzero.slots[b]] = direct_factor(state, nonzero.labels[b], rate * nonzero.residuals[b])
    for m in range(n_matches):
        factor = factors[np.uint64(matches.actives[m])]
        direct.weights[np.uint64(matches.pairs[m])] -= factor * matches.values[m]
