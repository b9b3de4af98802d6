"""What a metric compares: the k best labels of each row, looked up among its true labels."""

from numbers import Integral
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from sklearn.utils import check_scalar, gen_batches

from sklearn_slide._sparse import check_indices

BLOCK_SIZE = 2**20  # dense scores that are searched at a time for the best labels


class Comparison(NamedTuple):
    """The k best labels of each row, and the true labels as pairs sorted by row and label."""

    top: np.ndarray  # (n_samples, k), int64; -1 = no label
    hits: np.ndarray  # (n_samples, k), bool
    true_rows: np.ndarray  # (n_pairs,), int64
    true_labels: np.ndarray  # (n_pairs,), int64
    n_true: np.ndarray  # (n_samples,), int64: the number of true labels
    n_labels: int


def compare(y_true, y_pred, k, *, class_labels=True):
    """Check what a metric is given and look every predicted label up."""
    check_scalar(k, "k", Integral, min_val=1)
    y_true, y_pred = as_array(y_true, "y_true"), as_array(y_pred, "y_pred")
    if len(y_pred.shape) != 2 or y_pred.shape[1] < k:
        raise ValueError(
            f"y_pred must have shape (n_samples, m) with m >= k; got shape {y_pred.shape} and k={k}. Predict "
            "more labels or lower k"
        )
    if y_pred.shape[0] != y_true.shape[0] or y_true.shape[0] == 0:
        raise ValueError(
            "y_true and y_pred must have the same number of rows, at least 1; "
            f"got {y_true.shape[0]} in y_true and {y_pred.shape[0]} in y_pred"
        )
    if class_labels and not sp.issparse(y_true) and y_true.size == len(y_true):
        true_rows = np.arange(len(y_true))
        true_labels, top, n_labels = _encode_classes(y_true.ravel(), y_pred, k)
    else:
        true_rows, true_labels, (_, n_labels) = true_pairs(y_true, "y_true")
        top = top_labels(y_pred, n_labels, k)
    ids = np.sort(top, axis=1)
    twice = np.any((ids[:, 1:] == ids[:, :-1]) & (ids[:, 1:] >= 0), axis=1)
    if np.any(twice):
        row = np.argmax(twice)
        raise ValueError(
            f"y_pred must not hold a label twice among the first k={k} of a row; got {y_pred[row, :k]} in "
            f"row {row}. Integers are read as label ids: pass scores, or a 0/1 indicator, as floats"
        )
    # one key for each true pair, row * n_labels + label: sorted, as the pairs are
    keys = true_rows * n_labels + true_labels
    wanted = np.arange(len(top))[:, np.newaxis] * n_labels + top
    place = np.searchsorted(keys, wanted)
    hits = (top >= 0) & (np.append(keys, -1)[place] == wanted)
    return Comparison(top, hits, true_rows, true_labels, np.bincount(true_rows, minlength=len(top)), n_labels)


def as_array(y, name):
    """Return sparse input as it is and anything else as an ndarray of at least one dimension."""
    check_indices(y, name)
    try:
        array = y if sp.issparse(y) else np.asarray(y)
    except ValueError:  # rows of different lengths
        array = np.empty(())
    if array.shape == ():
        raise ValueError(
            f"{name} must be an array or sparse matrix; got {type(y).__name__}. Turn lists of labels into an "
            "indicator with sklearn.preprocessing.MultiLabelBinarizer(sparse_output=True)"
        )
    return array


def as_columns(labels, y, classes):
    """Turn labels that an indicator y's columns are named by, in the order of classes, into their numbers."""
    shape = getattr(y, "shape", ())
    if classes is None or len(shape) != 2 or shape[1] != len(classes):
        return labels
    classes = np.asarray(classes)
    if classes.ndim != 1 or np.array_equal(classes, np.arange(len(classes))):
        return labels
    order = np.argsort(classes)
    return order[np.searchsorted(classes, labels, sorter=order)]


def true_pairs(y, name):
    """Return the ones of a 0/1 indicator as rows and labels, int64, sorted and each once; and its shape."""
    if len(y.shape) != 2:
        raise ValueError(
            f"{name} must be a 2-D indicator here; got shape {y.shape}. Turn class labels into one with "
            "sklearn.preprocessing.LabelBinarizer(sparse_output=True)"
        )
    entries = y.tocoo() if sp.issparse(y) else None
    values = y if entries is None else entries.data
    if not np.all((values == 0) | (values == 1)):
        raise ValueError(
            f"{name} must be an indicator with no values but 0 and 1; got others, dtype {y.dtype}"
        )
    if entries is None:
        return *np.nonzero(y), y.shape
    n_labels = max(y.shape[1], 1)
    keys = (entries.row.astype(np.int64) * n_labels + entries.col)[values != 0]
    if np.any(keys[1:] <= keys[:-1]):
        keys = np.unique(keys)
    return *np.divmod(keys, n_labels), y.shape


def _encode_classes(y_true, y_pred, k):
    """Return ids of the true classes, (n_samples,), of the k best, (n_samples, k), and the number of ids."""
    if sp.issparse(y_pred) or any(y.dtype.kind == "f" and np.any(y % 1 != 0) for y in (y_true, y_pred)):
        raise ValueError(
            "y_true and y_pred must both hold class labels where y_true is 1-D; got scores or "
            "continuous values. For scores, make y_true an indicator with "
            "sklearn.preprocessing.LabelBinarizer(sparse_output=True)"
        )
    top = y_pred[:, :k]
    parts = [y_true, top.ravel()]
    if y_true.dtype.kind != top.dtype.kind:
        # as objects, strings and numbers refuse to be sorted; concatenated as they are, 1 would become '1'
        parts = [part.astype(object) for part in parts]
    try:
        classes, ids = np.unique(np.concatenate(parts), return_inverse=True)
    except TypeError as error:
        raise ValueError(
            f"y_true and y_pred must hold class labels of one kind; got {y_true.dtype} and {y_pred.dtype}"
        ) from error
    top_ids = ids[len(y_true) :].reshape(top.shape)
    if top.dtype.kind in "if" and not np.any(y_true == -1):
        top_ids = np.where(top == -1, -1, top_ids)
    return ids[: len(y_true)], top_ids, len(classes)


def top_labels(y_pred, n_labels, k):
    """Return the k best labels of each row, int64, of label ids, dense scores or sparse scores."""
    if not sp.issparse(y_pred) and y_pred.dtype.kind in "iu":
        top = y_pred[:, :k].astype(np.int64)
        if top.min() < -1 or top.max() >= n_labels:
            raise ValueError(
                f"y_pred must hold label ids below n_labels={n_labels}, or -1 for no label; got ids "
                f"from {top.min()} to {top.max()}. Integers are read as label ids: pass scores as floats"
            )
        return top
    if y_pred.dtype.kind not in ("biuf" if sp.issparse(y_pred) else "f"):
        raise ValueError(
            f"y_pred must hold integers (label ids) or floats (scores); got dtype {y_pred.dtype}. For names "
            "of columns give their positions in the classes_ of the estimator; top_k_scorer looks them up"
        )
    if y_pred.shape[1] != n_labels:
        raise ValueError(
            f"y_pred of scores must have one column for each of the n_labels={n_labels} labels; got shape "
            f"{y_pred.shape} and dtype {y_pred.dtype}. Label ids must be dense and of an integer dtype"
        )
    scores = sp.csr_array(y_pred) if sp.issparse(y_pred) else y_pred
    if np.any(np.isnan(scores.data if sp.issparse(scores) else scores)):
        raise ValueError("y_pred must hold scores that can be ranked; got NaN among them")
    return _top_of_sparse(scores, k) if sp.issparse(scores) else _top_of_dense(scores, k)


def _top_of_sparse(scores, k):
    """Return the k best stored labels of each row of a CSR array, filled up with -1."""
    if not scores.has_canonical_format:
        scores = scores.copy()  # the index arrays may be the caller's
        scores.sum_duplicates()
    counts = np.diff(scores.indptr)
    rows = np.repeat(np.arange(len(counts)), counts)
    order, rank = rank_in_rows(rows, scores.data.astype(float), counts)
    kept = rank < k
    top = np.full((len(counts), k), -1, dtype=np.int64)
    top[rows[kept], rank[kept]] = scores.indices[order[kept]]
    return top


def _top_of_dense(scores, k):
    """Return the k best labels of each row of an ndarray, block by block of rows."""
    n_samples, n_labels = scores.shape
    top = np.empty((n_samples, k), dtype=np.int64)
    for batch in gen_batches(n_samples, max(1, BLOCK_SIZE // n_labels)):
        block = scores[batch]
        kth = np.partition(block, -k, axis=1)[:, [-k]]
        above, level = block > kth, block == kth
        # of the labels that tie with the k-th best score, the lowest take the places that are left
        places = k - above.sum(axis=1, keepdims=True)
        labels = np.nonzero(above | (level & (level.cumsum(axis=1) <= places)))[1].reshape(-1, k)
        order = np.argsort(-np.take_along_axis(block, labels, axis=1), axis=1, kind="stable")
        top[batch] = np.take_along_axis(labels, order, axis=1)
    return top


def rank_in_rows(rows, values, counts):
    """Return the order by row, then by falling value, ties as they stand, and each place's rank in its row.

    `rows` and `values` have shape (n,), rows rising; `counts`, (n_rows,), is how often each row comes.
    """
    order = np.lexsort((-values, rows))
    return order, np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)


def mean_of_rows(values, sample_weight):
    """Return the weighted mean over the rows whose value is not NaN, or NaN if they have no weight."""
    weights = np.ones(len(values)) if sample_weight is None else np.asarray(sample_weight, dtype=float)
    if (
        weights.shape != values.shape
        or not np.all((weights >= 0) & (weights < np.inf))
        or not np.any(weights)
    ):
        raise ValueError(
            f"sample_weight must be {len(values)} finite numbers >= 0, one for each row and not all 0; got "
            f"shape {weights.shape} and {np.array2string(weights, threshold=10)}"
        )
    kept = ~np.isnan(values)
    total = weights[kept].sum()
    return float(values[kept] @ weights[kept] / total) if total > 0 else np.nan
