"""Metrics of sets of labels, and of hits by rank and by frequency, for sparse multi-label targets."""

from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike

from sklearn_slide._ranking import as_array, compare, mean_of_rows, true_pairs
from sklearn_slide._types import MatrixLike

_GROUPS = ("head", "middle", "tail")


def f1_at_threshold(
    y_true: MatrixLike,
    y_prob: MatrixLike,
    *,
    threshold: float = 0.5,
    average: str = "micro",
    sample_weight: ArrayLike | None = None,
) -> float:
    """Compute the F1 score of the labels with a probability above a threshold.

    Parameters
    ----------
    y_true : {array-like, sparse} of shape (n_samples, n_labels)
        A 0/1 indicator of the true labels.
    y_prob : {array-like, sparse} of shape (n_samples, n_labels)
        Probabilities, or other scores. A label that a sparse one does not store is not predicted. For the
        sets of `predict`, an indicator, any threshold from 0 to below 1 does.
    threshold : float, default=0.5
        What a predicted label has more than.
    average : {'micro', 'macro', 'samples'}, default='micro'
        F1 of all pairs together, the mean over the labels, or the mean over the rows, as in scikit-learn's
        ``f1_score``. A label or a row with no true and no predicted pair counts as 0.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the rows.

    Returns
    -------
    float
        The F1 score, in [0, 1].

    Raises
    ------
    ValueError
        If `y_true` is not binary, the shapes differ, or `average` is not known.

    See Also
    --------
    f1_at_k : F1 of the best labels, however likely.

    Examples
    --------
    >>> from sklearn_slide.metrics import f1_at_threshold
    >>> f1_at_threshold([[1, 1, 0], [0, 0, 1]], [[0.9, 0.2, 0.6], [0.1, 0.3, 0.8]], threshold=0.5)
    0.6666666666666666
    """
    rows, labels, shape = true_pairs(as_array(y_true, "y_true"), "y_true")
    y_prob = as_array(y_prob, "y_prob")
    if y_prob.shape != shape:
        raise ValueError(
            f"y_prob must have the shape of y_true, {shape}; got {y_prob.shape}. Ask predict_top_k for "
            "sparse_output=True"
        )
    if sp.issparse(y_prob):
        stored = sp.coo_array(y_prob)
        above = stored.data > threshold
        found, said = stored.row[above].astype(np.int64), stored.col[above]
    else:
        found, said = np.nonzero(y_prob > threshold)
    return _f1((rows, labels), (found, said), shape, average, sample_weight)


def f1_at_k(
    y_true: MatrixLike,
    y_pred: MatrixLike,
    *,
    k: int = 5,
    average: str = "micro",
    sample_weight: ArrayLike | None = None,
) -> float:
    """Compute the F1 score of the k best labels of each row.

    Parameters
    ----------
    y_true : {array-like, sparse} of shape (n_samples, n_labels)
        A 0/1 indicator of the true labels.
    y_pred : array-like of shape (n_samples, m), or {array-like, sparse} of shape (n_samples, n_labels)
        As in :func:`precision_at_k`, with the same errors.
    k : int, default=5
        Number of predictions of each row that count.
    average : {'micro', 'macro', 'samples'}, default='micro'
        As in :func:`f1_at_threshold`.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the rows.

    Returns
    -------
    float
        The F1 score, in [0, 1].

    See Also
    --------
    f1_at_threshold : F1 of labels that are likely enough.

    Examples
    --------
    >>> from sklearn_slide.metrics import f1_at_k
    >>> f1_at_k([[1, 1, 0, 0], [0, 0, 0, 1]], [[0, 1], [0, 3]], k=2)
    0.8571428571428571
    """
    result = compare(y_true, y_pred, k, class_labels=False)
    rows, places = np.nonzero(result.top >= 0)
    predicted = rows, result.top[rows, places]
    shape = len(result.top), result.n_labels
    return _f1((result.true_rows, result.true_labels), predicted, shape, average, sample_weight)


def average_precision_at_k(
    y_true: MatrixLike, y_pred: MatrixLike, *, k: int = 5, sample_weight: ArrayLike | None = None
) -> float:
    r"""Compute the mean average precision of the k best predictions of a row (MAP at k).

    The average precision of a row is the sum of the precisions at the ranks of its hits, divided by the
    number of hits that k predictions can have. A row without true labels counts as 0.

    Parameters
    ----------
    y_true : {array-like, sparse} of shape (n_samples, n_labels), or array-like of shape (n_samples,)
        As in :func:`precision_at_k`.
    y_pred : array-like of shape (n_samples, m), or {array-like, sparse} of shape (n_samples, n_labels)
        As in :func:`precision_at_k`, with the same errors.
    k : int, default=5
        Number of predictions of each row that count.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the rows.

    Returns
    -------
    float
        The mean average precision, in [0, 1].

    See Also
    --------
    ndcg_at_k : Another mean that heeds the order of hits.

    Examples
    --------
    >>> from sklearn_slide.metrics import average_precision_at_k
    >>> average_precision_at_k([[1, 1, 0, 0], [0, 0, 0, 1]], [[0, 1], [0, 3]], k=2)
    0.75
    """
    result = compare(y_true, y_pred, k)
    precisions = np.cumsum(result.hits, axis=1) / np.arange(1, k + 1)
    return mean_of_rows((precisions * result.hits).sum(axis=1) / np.clip(result.n_true, 1, k), sample_weight)


def recall_by_frequency_at_k(
    y_true: MatrixLike, y_pred: MatrixLike, label_counts: ArrayLike, *, k: int = 5, group: str | None = None
) -> Any:
    """Compute the share of true pairs that the k best predictions find, for frequent and for rare labels.

    Labels are sorted by their frequency in training; *head* are the most frequent ones that have a third of
    all true pairs there, *middle* those of the next third, *tail* all others.

    Parameters
    ----------
    y_true : {array-like, sparse} of shape (n_samples, n_labels)
        A 0/1 indicator of the true labels.
    y_pred : array-like of shape (n_samples, m), or {array-like, sparse} of shape (n_samples, n_labels)
        As in :func:`precision_at_k`, with the same errors.
    label_counts : array-like of shape (n_labels,)
        How often each label is true in training, such as ``Y_train.sum(axis=0)``.
    k : int, default=5
        Number of predictions of each row that count.
    group : {'head', 'middle', 'tail'}, default=None
        The group to return; None returns all.

    Returns
    -------
    dict of float, or float
        For each group the hits over the true pairs of `y_true`, in [0, 1]; 0 where there are none.

    Raises
    ------
    ValueError
        If an argument is not allowed.

    See Also
    --------
    coverage_at_k : The share of labels that are ever found.

    Examples
    --------
    >>> from sklearn_slide.metrics import recall_by_frequency_at_k
    >>> recall_by_frequency_at_k([[1, 1, 0], [0, 1, 1]], [[0, 1], [0, 2]], [9, 8, 7], k=2)
    {'head': 1.0, 'middle': 0.5, 'tail': 1.0}
    """
    if group is not None and group not in _GROUPS:
        raise ValueError(f"group must be one of {list(_GROUPS)} or None; got {group!r}")
    result = compare(y_true, y_pred, k, class_labels=False)
    counts = np.asarray(label_counts, dtype=float).ravel()
    if counts.shape != (result.n_labels,) or not np.all((counts >= 0) & (counts < np.inf)):
        raise ValueError(
            f"label_counts must have shape (n_labels,) = ({result.n_labels},) and finite values >= 0; got "
            f"shape {np.shape(label_counts)} and {np.array2string(counts, threshold=10)}"
        )
    order = np.argsort(-counts, kind="stable")
    before = np.cumsum(counts[order]) - counts[order]  # pairs of more frequent labels
    of_label = np.empty(result.n_labels, dtype=np.int64)
    of_label[order] = np.minimum(3 * before / max(counts.sum(), 1), 2).astype(np.int64)
    n_true = np.bincount(of_label[result.true_labels], minlength=3)
    n_hits = np.bincount(of_label[result.top[result.hits]], minlength=3)
    shares = {
        name: float(hit / true) if true else 0.0
        for name, hit, true in zip(_GROUPS, n_hits, n_true, strict=True)
    }
    return shares if group is None else shares[group]


def _f1(true, predicted, shape, average, sample_weight):
    """Compute F1 of pairs of rows and labels, each a tuple of arrays: 2 hits / (true + predicted)."""
    axes = {"micro": None, "macro": 1, "samples": 0}
    if average not in axes:
        raise ValueError(f"average must be one of {list(axes)}; got {average!r}")
    n_rows, n_labels = shape
    weights = np.ones(n_rows) if sample_weight is None else np.asarray(sample_weight, dtype=float)
    mean_of_rows(np.zeros(n_rows), weights)  # checks them
    keys, wanted = (pairs[0] * np.int64(n_labels) + pairs[1] for pairs in (true, predicted))
    hit = np.isin(wanted, keys, assume_unique=True)
    hits = tuple(part[hit] for part in predicted)
    if average == "micro":
        n_hits, n_true, n_predicted = (weights[pairs[0]].sum() for pairs in (hits, true, predicted))
        return float(2 * n_hits / (n_true + n_predicted)) if n_true + n_predicted else 0.0
    axis, length = axes[average], n_labels if average == "macro" else n_rows
    counted = weights if average == "macro" else np.ones(n_rows)
    n_hits, n_true, n_predicted = (
        np.bincount(pairs[axis], counted[pairs[0]], minlength=length) for pairs in (hits, true, predicted)
    )
    f1 = np.zeros(length)
    np.divide(2 * n_hits, n_true + n_predicted, out=f1, where=n_true + n_predicted > 0)
    return float(f1.mean()) if average == "macro" else mean_of_rows(f1, sample_weight)
