"""Which features get direct weights to which labels, and the sums that these start from."""

from itertools import pairwise
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from sklearn_slide._core.compilation import as_writable, njit
from sklearn_slide._core.direct import Direct
from sklearn_slide._core.parallel import count_threads, run_parts, thread_pool
from sklearn_slide._core.rows import Pattern

# Of so many samples or more, the share that has a feature tells how common it is. Of fewer, all the pairs of
# common features cost little.
_MANY = 1000
# About so many products are added up by a call of a kernel: some hundredths of a second.
_PART_WORK = 5_000_000


class Columns(NamedTuple):
    """CSC arrays of X: the samples and values of each feature."""

    indptr: np.ndarray  # int64 (n_features + 1,)
    indices: np.ndarray  # int32 (nnz,)
    data: np.ndarray  # float32 (nnz,), times the weights of the samples


class Search(NamedTuple):
    """Samples by feature, and the pairs that there are already."""

    columns: Columns
    y: Pattern  # the true labels
    known: Direct  # whose pairs are not found again
    limit: int  # of labels of a feature, known and new


@njit
def count_new_pairs(search, first, last, crowded, marks, counts):
    """Fill counts[first:last], int64, with the labels that features meet in samples and are not paired with.

    marks int32 (n_labels,) of -1. A feature with more labels than the limit becomes crowded, bool
    (n_features,); it counts none.
    """
    columns, y, known, limit = search
    for j in range(first, last):
        counts[j] = 0
        if crowded[j] or columns.indptr[j] == columns.indptr[j + 1]:
            continue
        room = limit - (known.indptr[j + 1] - known.indptr[j])
        for q in range(known.indptr[j], known.indptr[j + 1]):
            marks[known.labels[q]] = j
        n = np.int64(0)
        for p in range(columns.indptr[j], columns.indptr[j + 1]):
            i = columns.indices[p]
            for r in range(y.indptr[i], y.indptr[i + 1]):
                label = y.indices[r]
                n += np.int64(marks[label] != j)
                marks[label] = j
            if n > room:
                break
        if n > room:
            crowded[j] = True
        else:
            counts[j] = n


@njit
def list_new_pairs(search, first, last, pairs, places):
    """List the pairs of the features first to last: fill the labels of pairs, a Direct, and its weights.

    The labels of a feature come in the order in which its samples have them. The weight of a pair is the sum
    of the feature's values in the samples of the label. places are int64 (n_labels,) of -1.
    """
    columns, y, known, _ = search
    for j in range(first, last):
        start, stop = pairs.indptr[j], pairs.indptr[j + 1]
        if start == stop:
            continue
        taken = pairs.labels.shape[0] + j
        for q in range(known.indptr[j], known.indptr[j + 1]):
            places[known.labels[q]] = taken
        n = start
        for p in range(columns.indptr[j], columns.indptr[j + 1]):
            i = columns.indices[p]
            for r in range(y.indptr[i], y.indptr[i + 1]):
                label = y.indices[r]
                place = places[label]
                if place == taken:
                    continue
                if place < start or place >= n:
                    place, places[label], pairs.labels[n], pairs.weights[n] = n, n, label, np.float32(0.0)
                    n += 1
                pairs.weights[place] += columns.data[p]


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


def find_new_pairs(samples, known, limit, crowded, n_labels, n_jobs):
    """Return a Direct of the pairs of a feature and a label of Samples that a Direct has not.

    Its weights are the weighted sums of the feature over the samples of the label, X' Y. A feature that has
    more labels than the limit, known and new, becomes crowded, bool (n_features,), and gets none.
    """
    n_features = len(crowded)
    x, y, _, _, _ = as_writable(samples)
    columns = sp.csr_array(x[::-1], shape=(x.n_rows, n_features)).tocsc()
    weighted = columns.data * samples.weights[columns.indices]
    columns = Columns(columns.indptr.astype(np.int64), columns.indices.astype(np.int32, copy=False), weighted)
    search, counts = Search(columns, y, as_writable(known), limit), np.empty(n_features, dtype=np.int64)
    parts = _split_by_work(columns, y)

    def count(first, last):
        count_new_pairs(search, first, last, crowded, np.full(n_labels, -1, dtype=np.int32), counts)

    run_in_threads(count, parts, n_jobs)
    indptr = np.concatenate([[0], np.cumsum(counts)])
    labels, sums = np.empty(indptr[-1], dtype=np.int32), np.empty(indptr[-1], dtype=np.float32)
    pairs = Direct(indptr, labels, sums, known.gain)

    def fill(first, last):
        list_new_pairs(search, first, last, pairs, np.full(n_labels, -1, dtype=np.int64))

    if not len(labels):
        return pairs
    run_in_threads(fill, parts, n_jobs)
    # by SciPy: a sort inside a kernel takes a twentieth of the compilation of a first fit
    ordered = sp.csr_array((sums, labels, indptr), shape=(n_features, n_labels))
    ordered.sort_indices()
    labels = ordered.indices.astype(np.int32, copy=False)
    return pairs._replace(labels=labels, weights=ordered.data)


def run_in_threads(function, parts, n_jobs):
    """Call function(first, last) on parts of a range in threads."""
    n_jobs = count_threads(n_jobs)
    run_parts(function, parts, thread_pool(n_jobs) if n_jobs > 1 else None)


def _split_by_work(columns, y):
    """Split the features into ranges with about as many pairs of a sample and one of its labels."""
    work = np.cumsum(np.diff(y.indptr)[columns.indices])
    ends = np.concatenate([[0], work])[columns.indptr]  # after each feature
    n_features, n_parts = len(columns.indptr) - 1, 1 + int(ends[-1] // _PART_WORK)
    inner = np.searchsorted(ends, ends[-1] * np.arange(1, n_parts) / n_parts)
    bounds = np.unique(np.concatenate([[0], inner, [n_features]]))
    return [(int(first), int(last)) for first, last in pairwise(bounds)]


def common_features(counts, n_samples):
    """Tell which features most of n_samples have, by their counts, (n_features,); of a few samples none.

    Direct weights help where a feature is rare, and its labels few. One of most samples would have them to
    nearly all labels, and be no more than another hidden unit, at the price of all others.
    """
    return (2 * counts > n_samples) & (n_samples >= _MANY)
