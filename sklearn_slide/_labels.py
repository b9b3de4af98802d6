"""Which labels there are, and how y spells them: targets <-> positions of labels."""

from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.sparse as sp
from sklearn.utils.multiclass import check_classification_targets

from sklearn_slide._core.rows import Pattern
from sklearn_slide._sparse import as_configured

_KINDS = {True: "a multi-label indicator", False: "class labels"}


@dataclass(frozen=True, eq=False)
class Labels:
    """The labels of a classifier, in the order of its outputs, and the form of y that it was fitted with."""

    classes: np.ndarray  # (n_labels,): sorted class labels, or names of an indicator's columns
    multilabel: bool  # y is an indicator, not one class label for each sample
    sparse: bool  # the indicator was sparse
    dtype: Any  # of predictions: that of y, but int64 if y held objects
    columns: tuple | None = None  # the names of the columns of y, where it was a DataFrame with names

    @classmethod
    def find(cls, y, classes, partial, columns=None):
        """Return the labels that validated y may hold in a first call to fit or, if partial, partial_fit.

        columns are the names of the columns of y, a tuple of str, or None if it has none.
        """
        multilabel = _check_kind(y)
        if classes is not None:
            found = _column_names(classes) if multilabel else _sorted_classes(classes, "classes")
        elif multilabel:
            found = np.arange(y.shape[1])
        elif partial:
            raise ValueError("classes must be passed on the first call to partial_fit if y is class labels.")
        else:
            found = _sorted_classes(y, "y")
        dtype = np.dtype(np.int64) if multilabel and y.dtype == object else y.dtype
        labels = cls(found, multilabel, hasattr(y, "tocsr"), dtype, columns if multilabel else None)
        labels._check_columns(y, columns)
        return labels

    def extend(self, y, classes, partial, columns=None):
        """Return the labels after a later call with validated y: these, or more of them in partial_fit.

        classes name the columns of an indicator in their order, which may be another one than before: the
        places of the labels are then others, but each name stays the same label. Without them, columns as in
        find must have the order that they had.
        """
        multilabel = _check_kind(y)
        if multilabel != self.multilabel:
            raise ValueError(
                f"y is {_KINDS[multilabel]}, but the classifier was fitted with {_KINDS[self.multilabel]}. "
                "Give y of the same kind, or fit a new classifier."
            )
        found = self.classes
        if classes is not None:
            found = _column_names(classes) if multilabel else _sorted_classes(classes, "classes")
            missing = set(self.classes.tolist()) - set(found.tolist())
            if missing:
                raise ValueError(
                    f"classes={_shorten(found)} is not the same as on the last call to partial_fit or fit, "
                    f"nor all of them and more: {min(missing, key=str)!r} is missing of "
                    f"{_shorten(self.classes)}. Leave classes out, add what is missing, or fit anew."
                )
        elif partial and multilabel and y.shape[1] > len(self.classes):
            if not np.array_equal(self.classes, np.arange(len(self.classes))):
                raise ValueError(
                    f"y has {y.shape[1]} columns, but only {len(self.classes)} have names: "
                    f"{_shorten(self.classes)}. Pass the names of all columns to partial_fit as classes."
                )
            found = np.arange(y.shape[1])
        if classes is None and columns is not None and self.columns is not None:
            _check_order(columns, self.columns)
        labels = replace(self, classes=found, columns=columns or self.columns)
        labels._check_columns(y, columns)
        return labels

    def _check_columns(self, y, columns):
        """Raise ValueError if y has not a column for each label, or columns names them in another order."""
        if not self.multilabel:
            return
        if y.shape[1] != len(self.classes):
            raise ValueError(
                f"y has {y.shape[1]} columns, one for each label, but the classifier has {len(self.classes)} "
                "labels. Give y the same number of columns as before, or more of them to partial_fit, or "
                "fit a new classifier."
            )
        if columns is not None and set(columns) == set(self.classes.tolist()):
            _check_order(columns, self.classes.tolist())

    def __len__(self):
        return len(self.classes)

    def places_of(self, others):
        """Return the positions of other Labels among these, int32, or None if both are the same."""
        if np.array_equal(self.classes, others.classes):
            return None
        place = {name: position for position, name in enumerate(self.classes.tolist())}
        return np.array([place[name] for name in others.classes.tolist()], dtype=np.int32)

    def encode(self, y):
        """Turn validated y into a Pattern of true labels, sorted and without duplicates."""
        return encode_indicator(y) if self.multilabel else encode_classes(y, self.classes)

    def decode(self, positions):
        """Turn positions of labels, an array of any shape, into class labels or names of columns.

        A position of -1 is no label: -1 among numbers, '' among texts and None among objects.
        """
        missing = positions < 0
        if not missing.any():
            return self.classes[positions]
        none = {"i": -1, "f": -1, "U": "", "S": b"", "O": None}.get(self.classes.dtype.kind, missing)
        if none is missing:
            raise ValueError(
                f"Of some samples fewer than k labels are left, and labels of dtype {self.classes.dtype} "
                "have no value for none. Give sparse_output=True, a smaller k, or exclude fewer."
            )
        found = self.classes[positions]
        found[missing] = none
        return found

    def positions(self, values):
        """Turn class labels or names of columns, an array of any shape, into their positions, int32."""
        values, place = np.asarray(values), None
        if values.size and values.dtype.kind in "iu" and np.array_equal(self.classes, np.arange(len(self))):
            unknown = (values < 0) | (values >= len(self))
            found = np.where(unknown, -1, values)
        else:
            place = {name: position for position, name in enumerate(self.classes.tolist())}
            found = np.array([place.get(name, -1) for name in values.ravel().tolist()], dtype=np.int32)
            found = found.reshape(values.shape)
            unknown = found < 0
        if unknown.any():
            raise ValueError(
                f"labels must be among classes_, {_shorten(self.classes)}. Got "
                f"{values[unknown].tolist()[0]!r}. Leave labels out that do not exist."
            )
        return found.astype(np.int32, copy=False)

    def indicator(self, pattern):
        """Turn a Pattern of labels into an indicator as y was."""
        shape = (len(pattern.indptr) - 1, len(self.classes))
        if self.sparse:
            values = np.ones(len(pattern.indices), dtype=self.dtype)
            return as_configured(sp.csr_array((values, pattern.indices, pattern.indptr), shape=shape))
        y = np.zeros(shape, dtype=self.dtype)
        y[np.repeat(np.arange(shape[0]), np.diff(pattern.indptr)), pattern.indices] = 1
        return y


def is_multilabel(y):
    """Tell a multi-label indicator from class labels, which have one dimension or one dense column."""
    return sp.issparse(y) or (y.ndim == 2 and y.shape[1] != 1)


def _check_kind(y):
    """Tell an indicator from class labels, and refuse a y that is neither."""
    multilabel = is_multilabel(y)
    if not multilabel:
        with _of_one_kind(y, "y"):
            check_classification_targets(y)
    return multilabel


def encode_indicator(y):
    """Turn a sparse or dense 0/1 indicator into a Pattern, sorted and without duplicates."""
    values = y.data if sp.issparse(y) else y
    valid = np.isin(values, (0, 1))
    if not valid.all():
        raise ValueError(
            "y must be a binary indicator of labels, with no values but 0 and 1 (a multi-label target), or "
            "one class label for each sample (a 1-D array). Got a 2-D y that holds "
            f"{np.asarray(values[~valid]).ravel()[0].item()!r}. If what is above 0 is true, "
            "give (y > 0).astype(int)."
        )
    y = sp.csr_array(y if sp.issparse(y) else y.astype(bool), copy=True)
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


def column_names(y):
    """Return the names of the columns of a DataFrame, a tuple of str, or None if y has none."""
    names = getattr(y, "columns", None)
    names = () if names is None else tuple(names)
    return names if names and all(isinstance(name, str) for name in names) else None


def _check_order(columns, before):
    """Raise ValueError if the names of columns do not begin with those before."""
    for name, expected in zip(columns, before, strict=False):
        if name != expected:
            raise ValueError(
                f"The columns of y have other names, or another order, than before: got {name!r} where "
                f"{expected!r} was. Give them in the order {_shorten(before)}, new ones last; or give their "
                "names in the order of y to partial_fit as classes."
            )


def _sorted_classes(labels, name):
    """Return the class labels that there are, sorted; raise ValueError if they cannot be."""
    labels = np.asarray(labels)
    if labels.ndim == 0:
        raise ValueError(f"{name} must be 1-D. Got {labels.item()!r}. Give a list of class labels.")
    return _unique(labels, name)[0]


@contextmanager
def _of_one_kind(labels, name):
    """Turn the TypeError of labels that cannot be sorted into a ValueError that says the way out."""
    try:
        yield
    except TypeError as error:
        if np.asarray(labels).dtype != object:
            raise
        raise ValueError(
            f"{name} must hold labels of one kind, such as texts or whole numbers, and none that is missing. "
            f"Got {_shorten(labels)}. Turn them into text by astype(str)."
        ) from error


def _unique(labels, name):
    """Return the labels that there are, sorted, and how often each comes; refuse those without an order."""
    with _of_one_kind(labels, name):
        values, counts = np.unique(labels, return_counts=True)
    if values.dtype.kind == "f" and np.isnan(values).any():
        raise ValueError(f"{name} must not hold NaN. Got {_shorten(values)}. Leave such labels out.")
    return values, counts


def _column_names(classes):
    """Return the names of columns in their order, an array; raise ValueError if one comes twice."""
    names = np.asarray(classes)
    if names.ndim != 1:
        raise ValueError(
            f"classes must be 1-D, a name for each column of y. Got shape {names.shape}. Give a list of them."
        )
    values, counts = _unique(names, "classes")
    if len(values) < len(names):
        raise ValueError(
            f"classes must not name a column of y twice. Got {values[counts > 1].tolist()[0]!r} "
            f"{counts.max()} times. Give each column a name of its own."
        )
    return names


def _shorten(values):
    return np.array2string(np.asarray(values), threshold=10, separator=", ")
