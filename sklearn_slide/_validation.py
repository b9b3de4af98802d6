"""What comes in and goes out: samples and targets <-> CSR arrays, memory, and attributes after a failure."""

import functools
import os
import warnings
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import scipy.sparse as sp
from sklearn.utils.extmath import row_norms
from sklearn.utils.multiclass import check_classification_targets

from sklearn_slide._sampling import Pattern, Rows

# Products of a few such values with weights, and the squares of these, stay finite in float32.
_LARGEST_VALUE = 1e15

# Where Linux tells a container the limit of its memory, in bytes: control groups of version 2 and 1.
_CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


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
    shape = (len(x.indptr) - 1, x.indices.max(initial=0) + 1)
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


def transpose_pattern(x, n_columns):
    """List, for each column of Rows, the rows that have an entry there: Pattern (n_columns, n_rows)."""
    n_rows = len(x.indptr) - 1
    columns = sp.csr_array((x.data, x.indices, x.indptr), shape=(n_rows, n_columns)).tocsc()
    return Pattern(columns.indptr.astype(np.int64), columns.indices.astype(np.int32, copy=False))


def is_multilabel(y):
    """Tell a multi-label indicator from class labels, which have one dimension or one dense column."""
    return sp.issparse(y) or (y.ndim == 2 and y.shape[1] != 1)


def encode_indicator(y):
    """Turn a sparse or dense 0/1 indicator into a Pattern, sorted and without duplicates."""
    values = y.data if sp.issparse(y) else y
    valid = np.isin(values, (0, 1))
    if not valid.all():
        raise ValueError(
            "y must be a binary indicator of labels, with no values but 0 and 1 (a multi-label target), or "
            "one class label for each sample (a 1-D array). Got a 2-D y that holds "
            f"{values[~valid].flat[0]!r}."
        )
    y = sp.csr_array(y, copy=True)
    y.eliminate_zeros()
    y.sum_duplicates()
    return Pattern(y.indptr.astype(np.int64), y.indices.astype(np.int32, copy=False))


def encode_classes(y, classes):
    """Turn 1-D class labels into a Pattern with one label a row, its position in the sorted classes."""
    unknown = np.setdiff1d(y, classes)
    if len(unknown):
        raise ValueError(
            f"y holds {unknown.tolist()[0]!r}, which is not among the classes {_shorten(classes)}. "
            "Pass classes, the known ones and the new ones, to partial_fit, or fit a new classifier."
        )
    positions = np.searchsorted(classes, y)
    return Pattern(np.arange(len(y) + 1, dtype=np.int64), positions.astype(np.int32))


def check_classes(y, multilabel, classes, known, partial):
    """Return the classes that y may hold: the known ones, or those that the first call gives.

    y is validated; classes is partial_fit's argument, known the fitted classes_ or None. With partial,
    classes or the columns of y may be more than the known ones.
    """
    if not multilabel:
        check_classification_targets(y)
    if classes is not None:
        classes = np.unique(classes)
    if known is not None:
        if classes is not None and not np.isin(known, classes).all():
            raise ValueError(
                f"classes={_shorten(classes)} is not the same as on the last call to partial_fit or fit, nor "
                f"all of them and more: {_shorten(known)}. Leave it out, or fit a new classifier."
            )
        found = known if classes is None else classes
        if partial and multilabel and classes is None and y.shape[1] > len(known):
            found = np.arange(y.shape[1])
    elif classes is not None:
        found = classes
    elif multilabel:
        found = np.arange(y.shape[1])
    elif partial:
        raise ValueError("classes must be passed on the first call to partial_fit if y holds class labels.")
    else:
        found = np.unique(y)
    if multilabel and y.shape[1] != len(found):
        raise ValueError(
            f"y has {y.shape[1]} columns, one for each label, but the classifier has {len(found)} labels. "
            "Give y the same number of columns as before, or more of them to partial_fit, or fit a new "
            "classifier."
        )
    return found


def _shorten(values):
    return np.array2string(np.asarray(values), threshold=10, separator=", ")


def writable(state):
    """Return a tuple of arrays, numbers and tuples with its read-only arrays, mapped from a file, copied."""
    if isinstance(state, np.ndarray):
        return np.require(state, requirements="W")
    if isinstance(state, tuple):
        parts = map(writable, state)
        return type(state)(*parts) if hasattr(state, "_fields") else tuple(parts)
    return state


def physical_memory():
    """Return the memory of the machine, or of its container, in bytes; infinity where nothing tells."""
    try:
        available = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        available = np.inf
    for path in _CGROUP_LIMITS:
        try:
            # the file of version 2 says "max" where there is no limit, that of version 1 a huge number
            available = min(available, int(Path(path).read_text()))
        except (ValueError, OSError):
            continue
    return available


def require_memory(n_bytes, purpose, way_out):
    """Raise MemoryError before anything is allocated if n_bytes are more than the machine has."""
    available = physical_memory()
    if n_bytes > available:
        raise MemoryError(
            f"{purpose} would take {n_bytes / 2**30:.1f} GiB; this machine or container has "
            f"{available / 2**30:.1f} GiB. {way_out}"
        )


def attributes_kept_on_failure(method):
    """Decorate a method: if it fails or is interrupted, the estimator gets back the attributes it had."""

    @functools.wraps(method)
    def kept(estimator, *args, **kwargs):
        before = dict(vars(estimator))
        try:
            return method(estimator, *args, **kwargs)
        except BaseException:
            vars(estimator).clear()
            vars(estimator).update(before)
            raise

    return kept


@contextmanager
def names_not_missed():
    """Let scikit-learn not warn that samples have no names of features, which validation took off."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "X does not have valid feature names", UserWarning)
        yield
