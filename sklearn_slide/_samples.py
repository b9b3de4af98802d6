"""X, targets and weights -> the CSR arrays that training and predictions work with."""

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from sklearn.utils.extmath import row_norms

from sklearn_slide._core.compilation import as_writable
from sklearn_slide._core.rows import Pattern, Rows, Samples
from sklearn_slide._core.sgd import MAX_PASSES

# Products of a few such values with weights, and the squares of these, stay finite in float32.
_LARGEST_VALUE = 1e15
# A column whose values are so many octaves larger or smaller than those of the median one is brought to it.
# Text features, counts and embeddings are nearer to each other; columns of a table in units of their own are
# not, and if one of them is so far off, all are brought to one size.
_OCTAVES_OFF = 4
# A column is judged by at least so many values, of about so many samples.
_LEAST_VALUES, _JUDGED_SAMPLES = 10, 1000


class InputScale(NamedTuple):
    """What X is multiplied by, powers of two: by them, values lose no digit."""

    factor: float = 1.0
    columns: np.ndarray | None = None  # int32 (n_features,), exponents for each column; None: all are 0


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


def choose_scale(x, n_features):
    """Return the InputScale that brings the median length of the samples x, Rows, nearest to 1.

    Columns of quite another size than the median one are brought near to that before. Samples of length 0 do
    not count; 10,000 of the others are enough.
    """
    filled = np.flatnonzero(np.diff(x.indptr))
    shape = (x.n_rows, n_features)
    some = sp.csr_array((x.data, x.indices, x.indptr), shape=shape)[filled[:: len(filled) // 10_000 + 1]]
    some = some.astype(np.float64)
    columns = _choose_columns(some[:: some.shape[0] // _JUDGED_SAMPLES + 1])
    if columns is not None:
        some.data = np.ldexp(some.data, columns[some.indices])
    lengths = row_norms(some)
    lengths = lengths[lengths > 0]
    factor = float(2.0 ** -np.rint(np.log2(np.median(lengths)))) if len(lengths) else 1.0
    return InputScale(factor, columns)


def _choose_columns(x):
    """Return exponents for the columns of x, a CSR array, or None if none is far from the median size.

    The size of a column is the median of its values that are not 0, without their signs, which one of them
    that is far off does not move. Of columns that are filled in most rows, all or none are changed; where
    those are the fewer, as an embedding beside words, they are made smaller only.
    """
    x = abs(x)
    x.eliminate_zeros()
    values = x.data[np.lexsort((x.data, x.indices))]
    n_filled = np.bincount(x.indices, minlength=x.shape[1])
    filled = np.flatnonzero(n_filled >= _LEAST_VALUES)
    if not len(filled):
        return None
    octaves = np.log2(values[(np.cumsum(n_filled) - n_filled + n_filled // 2)[filled]])
    off = octaves - np.median(octaves)
    columns = np.zeros(x.shape[1], dtype=np.int32)
    is_off, is_full = np.abs(off) > _OCTAVES_OFF, 2 * n_filled[filled] > x.shape[0]
    if (is_off & is_full).any():
        is_off |= is_full
    exponents = np.where(is_off, -np.rint(off), 0)
    if 2 * is_full.sum() < len(filled):
        exponents[is_full] = np.minimum(exponents[is_full], 0)
    columns[filled] = exponents
    return columns if columns.any() else None


def scale_rows(x, scale):
    """Multiply Rows by an InputScale; one of 1 copies nothing. Refuse values too large to compute with."""
    if scale.columns is not None:
        x = x._replace(data=np.ldexp(x.data, scale.columns[x.indices]))
    largest = max(x.data.max(initial=0.0), -x.data.min(initial=0.0)) * scale.factor
    if largest > _LARGEST_VALUE:
        raise ValueError(
            f"X holds a value {largest:.1e} times as large as a usual sample of the first fit is long; at "
            f"most {_LARGEST_VALUE:.0e} is allowed. Scale the rows of X, for instance by "
            "sklearn.preprocessing.normalize."
        )
    return x if scale.factor == 1 else x._replace(data=np.ldexp(x.data, int(np.log2(scale.factor))))


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


def mostly_filled(n_entries, n_rows, n_features):
    """Tell whether so many entries fill most of so many samples, as those of embeddings do."""
    return 2 * n_entries > n_rows * n_features


def is_dense(x, n_features):
    """Tell whether the samples x, Rows, are mostly filled."""
    return mostly_filled(len(x.indices), x.n_rows, n_features)


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
