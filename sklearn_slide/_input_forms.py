"""Forms of X and y that are common mistakes, refused with the way out, before anything looks inside them."""

import warnings
from contextlib import contextmanager
from numbers import Number

import numpy as np
import scipy.sparse as sp

from sklearn_slide._sparse import check_indices

_BINARIZE = "MultiLabelBinarizer(sparse_output=True) of sklearn.preprocessing turns them into an indicator."

_VECTORIZE = (
    "TfidfVectorizer of sklearn.feature_extraction.text turns texts into numbers: "
    "make_pipeline(TfidfVectorizer(), SlideClassifier())."
)


def check_samples(X):
    """Raise ValueError if X holds texts, or is sparse with indices outside its shape."""
    check_indices(X, "X")
    first = _first(X)
    if isinstance(first, str | bytes) or (
        isinstance(first, list | tuple | np.ndarray) and isinstance(_first(first), str)
    ):
        raise ValueError(
            f"X must be numbers, a row for each sample. Got text, such as {_shorten(first)}. {_VECTORIZE}"
        )


@contextmanager
def numbers_wanted():
    """Let the errors of scikit-learn at a text in X, and at a missing value of pandas, say the way out."""
    try:
        yield
    except ValueError as error:
        if "could not convert string" not in str(error):
            raise
        raise ValueError(f"X must be numbers, a row for each sample: {error}. {_VECTORIZE}") from error
    except TypeError as error:
        if "NA is ambiguous" not in str(error):
            raise
        raise ValueError(
            "X and y must have no missing values. Got pandas.NA. Fill them in, or leave these samples out."
        ) from error


def check_targets(y):
    """Raise ValueError if y lists the labels of each sample, or is sparse in a form that says no labels."""
    check_indices(y, "y")
    if sp.issparse(y):
        if y.ndim != 2:
            raise ValueError(
                f"A sparse y must be a 2-D indicator, (n_samples, n_labels). Got shape {y.shape}. Give class "
                "labels as a dense 1-D array: y.toarray()."
            )
        _require_labels(y)
        return
    _require_labels(y)
    first = _first(y)
    if isinstance(first, set | frozenset | dict) or _are_lists_of_labels(y):
        raise ValueError(
            "y must be class labels, one for each sample, or a binary indicator, a column for each label. "
            f"Got a collection of labels for each sample, such as {_shorten(first)}. {_BINARIZE}"
        )
    if isinstance(first, str) and np.ndim(y) == 1:
        _warn_of_joined_labels(y)


def _require_labels(y):
    """Raise ValueError if an indicator y has no column."""
    shape = getattr(y, "shape", ())
    if len(shape) == 2 and shape[1] == 0:
        raise ValueError(
            f"y must have a column for each label, at least one. Got shape {shape}. If a selection of labels "
            "has left none, choose more."
        )


def _are_lists_of_labels(y):
    """Tell whether y has a list of labels for each sample: of texts, or of different lengths."""
    if hasattr(y, "columns"):
        return False
    if isinstance(y, np.ndarray) and y.dtype != object:
        return y.ndim == 2 and y.shape[1] > 1 and y.dtype.kind in "US"
    try:
        rows = [row for row in y if isinstance(row, list | tuple | np.ndarray) or hasattr(row, "to_list")]
    except TypeError:
        return False
    if not rows:
        return False
    ragged = len({len(row) for row in rows}) > 1 or len(rows) < len(y)
    empty = not any(len(row) for row in rows)
    return ragged or empty or any(isinstance(label, str) for row in rows for label in row)


def _warn_of_joined_labels(y):
    """Warn if most class labels look like several labels in one text."""
    names = np.unique(np.asarray(y, dtype=str))
    for separator in ",;|":
        joined = [name for name in names.tolist() if separator in name]
        if 2 * len(joined) > len(names):
            warnings.warn(
                f"Most class labels in y hold {separator!r}, such as {_shorten(joined[0])}; each of them is "
                "taken as one class. If they are several labels, split them: "
                "MultiLabelBinarizer(sparse_output=True)"
                f".fit_transform([text.split({separator!r}) for text in y]).",
                UserWarning,
                stacklevel=5,
            )
            return


def _first(values):
    """Return the first of a sequence, or None if there is none."""
    if sp.issparse(values) or isinstance(values, Number | str | bytes) or hasattr(values, "columns"):
        return None
    try:
        return next(iter(values), None)
    except TypeError:
        return None


def _shorten(value):
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
