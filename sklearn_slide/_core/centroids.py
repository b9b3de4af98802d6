"""Samples -> the sums of the hidden vectors of each label's samples."""

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from sklearn_slide._core.compilation import njit
from sklearn_slide._core.layers import Batch, hidden_vectors
from sklearn_slide._core.parallel import blocks, run_over_range

# So many numbers of hidden vectors are held at once, 64 MB.
_BLOCK_SIZE = 2**24


class Members(NamedTuple):
    """The samples of each label, in a block of samples."""

    indptr: np.ndarray  # int64 (n_labels + 1,)
    indices: np.ndarray  # int32 (nnz,), from the first of the block on, ascending
    weights: np.ndarray  # float32 (nnz,)


@njit
def add_members(members, h, first, last, sums):
    """Add the weighted vectors h, float32 (n_block, n_units), of the labels first to last to their sums.

    sums float32 (n_labels, n_units).
    """
    for y in range(first, last):
        for p in range(members.indptr[y], members.indptr[y + 1]):
            i, weight = members.indices[p], members.weights[p]
            for u in range(sums.shape[1]):
                sums[y, u] += weight * h[i, u]


def rows_at_once(n_units):
    """Return how many hidden vectors of so many units are held at once."""
    return max(1, _BLOCK_SIZE // n_units)


def sum_hidden_vectors(samples, network, n_jobs):
    """Sum the hidden vectors of each label's Samples by weight, Y' H: float32 (n_labels, n_units).

    Each sum is added up in the order of the samples, whatever the number of threads.
    """
    n_labels, n_units = network.n_labels, network.n_units
    batch, y = Batch(samples.x, network), samples.y
    sums = np.zeros((n_labels, n_units), dtype=np.float32)
    for start, stop in blocks(0, samples.x.n_rows, rows_at_once(n_units)):
        h = hidden_vectors(batch, start, stop, n_jobs)
        entries = slice(y.indptr[start], y.indptr[stop])
        weights = np.repeat(samples.weights[start:stop], np.diff(y.indptr[start : stop + 1]))
        parts = weights, y.indices[entries], y.indptr[start : stop + 1] - y.indptr[start]
        columns = sp.csr_array(parts, shape=(stop - start, n_labels)).tocsc()
        indptr, indices = columns.indptr.astype(np.int64), columns.indices.astype(np.int32, copy=False)
        members = Members(indptr, indices, columns.data)

        def add(first, last, members=members, h=h):
            add_members(members, h, first, last, sums)

        run_over_range(add, 0, n_labels, n_jobs, work=n_units * (1 + len(indices) / n_labels))
    return sums
