"""X, targets and weights -> the CSR arrays that training and predictions work with."""

import numpy as np
import scipy.sparse as sp
from sklearn.utils.extmath import row_norms

from sklearn_slide._core.compilation import as_writable
from sklearn_slide._core.rows import Pattern, Rows, Samples
from sklearn_slide._core.sgd import MAX_PASSES

# Products of a few such values with weights, and the squares of these, stay finite in float32.
_LARGEST_VALUE = 1e15


def as_rows(X):
    """Turn validated float32 samples, dense or CSR, into Rows; values and narrow indices are not copied."""
    X = sp.csr_array(X)  # wraps the arrays of a CSR matrix
    if not X.has_canonical_format:
        X = X.copy()
        X.sum_duplicates()
    return Rows(X.indptr.astype(np.int64, copy=False), X.indices.astype(np.int32, copy=False), X.data)


def is_clean(X, n_features):
    """Tell whether X is what validation would return: CSR of finite float32 with n_features columns."""
    return (
        sp.issparse(X)
        and X.format == "csr"
        and X.dtype == np.float32
        and X.ndim == 2
        and X.shape[0] > 0
        and X.shape[1] == n_features
        and bool(np.isfinite(X.data).all())
    )


def choose_scale(x):
    """Return the power of two that brings the median length of the samples x, Rows, nearest to 1.

    Multiplied by it, values lose no digit. Samples of length 0 do not count; 10,000 of the others are enough.
    """
    filled = np.flatnonzero(np.diff(x.indptr))
    shape = (x.n_rows, x.indices.max(initial=0) + 1)
    some = sp.csr_array((x.data, x.indices, x.indptr), shape=shape)[filled[:: len(filled) // 10_000 + 1]]
    lengths = row_norms(some.astype(np.float64))
    lengths = lengths[lengths > 0]
    return float(2.0 ** -np.rint(np.log2(np.median(lengths)))) if len(lengths) else 1.0


def scale_rows(x, scale):
    """Multiply Rows by a scale; a scale of 1 copies nothing. Refuse values too large to compute with."""
    largest = max(x.data.max(initial=0.0), -x.data.min(initial=0.0)) * scale
    if largest > _LARGEST_VALUE:
        raise ValueError(
            f"X holds a value {largest:.1e} times as large as a usual sample of the first fit is long; at "
            f"most {_LARGEST_VALUE:.0e} is allowed. Scale the rows of X, for instance by "
            "sklearn.preprocessing.normalize."
        )
    return x if scale == 1 else x._replace(data=np.ldexp(x.data, int(np.log2(scale))))


def make_samples(x, y, weights=None, label_weights=None):
    """Put Rows, a Pattern of true labels and weights, float32 (n_samples,) or None for 1, together.

    An epoch passes over a sample of weight w ceil(w) times, at most MAX_PASSES times. label_weights are
    float32 (n_labels,), or None for 1. Read-only arrays are claimed to be writable: training reads them only.
    """
    passes = np.arange(x.n_rows, dtype=np.int32)
    if weights is None:
        weights = np.ones(x.n_rows, dtype=np.float32)
    else:
        passes = np.repeat(passes, np.minimum(np.ceil(weights), MAX_PASSES).astype(np.int32))
    return as_writable(Samples(x, y, weights, passes, label_weights))


def rows_by_feature(samples, n_features):
    """List, for each feature, the Samples with a label that have it: Pattern (n_features, n_samples).

    A feature that no sample with a label has lists those without.
    """
    x, labelled = samples.x, np.diff(samples.y.indptr) > 0
    columns = sp.csr_array((x.data, x.indices, x.indptr), shape=(x.n_rows, n_features)).tocsc()
    indptr, rows = columns.indptr.astype(np.int64), columns.indices.astype(np.int32, copy=False)
    if not labelled.all():
        kept = labelled[rows]
        n_labelled = np.diff(np.concatenate([[0], np.cumsum(kept)])[indptr])
        kept |= np.repeat(n_labelled == 0, np.diff(indptr))
        indptr, rows = np.concatenate([[0], np.cumsum(kept)])[indptr], rows[kept]
    return Pattern(indptr, rows)


def labels_with_entries(samples, n_labels):
    """Tell for each label whether it is true for one of the Samples that is not all 0: bool (n_labels,)."""
    n_entries = np.concatenate([[0], np.cumsum(samples.x.data != 0)])[samples.x.indptr]
    counts = np.repeat(np.diff(n_entries), np.diff(samples.y.indptr))
    return np.bincount(samples.y.indices, counts, minlength=n_labels) > 0


def mean_label_weight(samples):
    """Return the mean of what the true labels of Samples count for in the loss."""
    weights, labels = samples.label_weights, samples.y.indices
    return 1.0 if weights is None or not len(labels) else float(weights[labels].mean())


def place_features(x, places):
    """Return the Rows x with the numbers of features turned into places, and without those that have none.

    places int32 (n_features,), -1 for none, or None if each feature has its own.
    """
    if places is None:
        return x
    found = places[x.indices]
    kept = found >= 0
    return Rows(np.concatenate([[0], np.cumsum(kept)])[x.indptr], found[kept], x.data[kept])
