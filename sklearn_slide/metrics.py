"""Ranking metrics at k for sparse multi-label targets, and scorers made of them for model selection.

No metric makes an ``(n_samples, n_labels)`` array of a sparse input.
"""

from collections.abc import Callable
from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import check_scalar

from sklearn_slide._ranking import as_array, compare, mean_of_rows, rank_in_rows, true_pairs
from sklearn_slide._reliability import calibration_pairs, expected_calibration_error, reliability_curve
from sklearn_slide._scorers import ProbabilityScorer, TopKScorer, predict_top_k
from sklearn_slide._set_metrics import (
    average_precision_at_k,
    f1_at_k,
    f1_at_threshold,
    recall_by_frequency_at_k,
)
from sklearn_slide._types import MatrixLike, Metric

__all__ = [
    "average_precision_at_k",
    "calibration_pairs",
    "coverage_at_k",
    "expected_calibration_error",
    "f1_at_k",
    "f1_at_threshold",
    "label_propensities",
    "ndcg_at_k",
    "precision_at_k",
    "predict_top_k",
    "probability_scorer",
    "ps_precision_at_k",
    "recall_at_k",
    "recall_by_frequency_at_k",
    "reliability_curve",
    "top_k_scorer",
]


def precision_at_k(
    y_true: MatrixLike, y_pred: MatrixLike, *, k: int = 5, sample_weight: ArrayLike | None = None
) -> float:
    """Compute the mean share of true labels among the k best predictions of a row.

    A row without true labels counts as 0. For class labels this is top-k accuracy divided by k.

    Parameters
    ----------
    y_true : {array-like, sparse} of shape (n_samples, n_labels), or array-like of shape (n_samples,)
        A 0/1 indicator of the true labels; or the class labels, numbers or strings, of a multi-class target.
    y_pred : array-like of shape (n_samples, m), or {array-like, sparse} of shape (n_samples, n_labels)
        Integer dtype: m >= k label ids, best first, as ``predict_top_k`` returns them; -1 is "no label" and
        counts as wrong. Floating dtype: scores; ties go to the lower label. Sparse of any dtype: scores of
        the stored labels; a label that is not stored is never predicted, be the stored scores negative or
        fewer than k. For 1-D `y_true`: class labels, best first, where -1 is a class if `y_true` has it.
    k : int, default=5
        Number of predictions of each row that count.
    sample_weight : array-like of shape (n_samples,), default=None
        Weight of each row in the mean; None weighs all rows the same.

    Returns
    -------
    float
        Precision at k, in [0, 1].

    Raises
    ------
    ValueError
        If `y_true` is not binary; if the numbers of rows or labels differ; if a label id is not in
        [-1, n_labels) or comes twice in a row's first k; if `y_pred` has fewer than k columns, or has NaN.

    See Also
    --------
    recall_at_k : The share of the true labels that are found.

    Examples
    --------
    >>> from sklearn_slide.metrics import precision_at_k
    >>> precision_at_k([[1, 1, 0, 0], [0, 0, 0, 1]], [[0, 1, 2], [0, 3, 1]], k=2)
    0.75
    >>> precision_at_k(["cat", "dog"], [["cat", "dog"], ["cat", "cow"]], k=1)
    0.5
    """
    result = compare(y_true, y_pred, k)
    return mean_of_rows(result.hits.mean(axis=1), sample_weight)


def recall_at_k(
    y_true: MatrixLike,
    y_pred: MatrixLike,
    *,
    k: int = 5,
    sample_weight: ArrayLike | None = None,
    zero_division: float = 0.0,
) -> float:
    """Compute the mean share of a row's true labels that its k best predictions hold.

    For class labels this is top-k accuracy.

    Parameters
    ----------
    y_true : {array-like, sparse} of shape (n_samples, n_labels), or array-like of shape (n_samples,)
        As in :func:`precision_at_k`.
    y_pred : array-like of shape (n_samples, m), or {array-like, sparse} of shape (n_samples, n_labels)
        As in :func:`precision_at_k`, with the same errors.
    k : int, default=5
        Number of predictions of each row that count.
    sample_weight : array-like of shape (n_samples,), default=None
        Weight of each row in the mean; None weighs all rows the same.
    zero_division : {0.0, 1.0, np.nan}, default=0.0
        Recall of a row without true labels; ``np.nan`` leaves such rows out of the mean.

    Returns
    -------
    float
        Recall at k, in [0, 1]; NaN only if every row of positive weight is left out.

    See Also
    --------
    precision_at_k : The share of the predictions that are true.

    Examples
    --------
    >>> from sklearn_slide.metrics import recall_at_k
    >>> recall_at_k([[1, 1, 0, 0], [0, 0, 0, 1]], [[0, 2], [0, 3]], k=2)
    0.75
    """
    if not isinstance(zero_division, Real) or not (zero_division in (0, 1) or np.isnan(zero_division)):
        raise ValueError(f"zero_division must be 0.0, 1.0 or np.nan; got {zero_division!r}")
    result = compare(y_true, y_pred, k)
    recall = np.full(len(result.hits), float(zero_division))
    np.divide(result.hits.sum(axis=1), result.n_true, out=recall, where=result.n_true > 0)
    return mean_of_rows(recall, sample_weight)


def ndcg_at_k(
    y_true: MatrixLike, y_pred: MatrixLike, *, k: int = 5, sample_weight: ArrayLike | None = None
) -> float:
    r"""Compute the mean normalised discounted cumulative gain of the k best predictions of a row.

    A hit at rank r gains :math:`1 / \log_2(r + 1)`; the sum is divided by that of a perfect ranking. A row
    without true labels counts as 0, as in :func:`sklearn.metrics.ndcg_score`.

    Parameters
    ----------
    y_true : {array-like, sparse} of shape (n_samples, n_labels), or array-like of shape (n_samples,)
        As in :func:`precision_at_k`.
    y_pred : array-like of shape (n_samples, m), or {array-like, sparse} of shape (n_samples, n_labels)
        As in :func:`precision_at_k`, with the same errors.
    k : int, default=5
        Number of predictions of each row that count.
    sample_weight : array-like of shape (n_samples,), default=None
        Weight of each row in the mean; None weighs all rows the same.

    Returns
    -------
    float
        The nDCG at k, in [0, 1].

    See Also
    --------
    average_precision_at_k : Another mean that heeds the order of hits.

    References
    ----------
    Järvelin and Kekäläinen, "Cumulated gain-based evaluation of IR techniques", ACM Transactions on
    Information Systems 20(4), 2002; here every rank from the first on is discounted.

    Examples
    --------
    >>> from sklearn_slide.metrics import ndcg_at_k
    >>> round(ndcg_at_k([[0, 1, 0, 0]], [[0, 1, 2]], k=3), 4)
    0.6309
    """
    result = compare(y_true, y_pred, k)
    discounts = 1 / np.log2(np.arange(2, k + 2))
    ideal = np.cumsum(discounts)[np.clip(result.n_true, 1, k) - 1]
    return mean_of_rows(result.hits @ discounts / ideal, sample_weight)


def ps_precision_at_k(
    y_true: MatrixLike,
    y_pred: MatrixLike,
    propensities: ArrayLike,
    *,
    k: int = 5,
    sample_weight: ArrayLike | None = None,
) -> float:
    r"""Compute the propensity-scored precision at k, which rewards hits on rare labels more.

    The gain of a hit on label l is :math:`1 / p_l`. The gain of all rows together is divided by the best
    that k predictions a row can reach, as the Extreme Classification Repository reports it.

    Parameters
    ----------
    y_true : {array-like, sparse} of shape (n_samples, n_labels)
        A 0/1 indicator of the true labels; 1-D class labels are not supported.
    y_pred : array-like of shape (n_samples, m), or {array-like, sparse} of shape (n_samples, n_labels)
        As in :func:`precision_at_k`, with the same errors.
    propensities : array-like of shape (n_labels,)
        The chance, in (0, 1], that a true label of each kind is observed; :func:`label_propensities`
        estimates it from the training rows. Another shape or range raises ValueError.
    k : int, default=5
        Number of predictions of each row that count.
    sample_weight : array-like of shape (n_samples,), default=None
        Weight of each row in the mean; None weighs all rows the same.

    Returns
    -------
    float
        Propensity-scored precision at k, in [0, 1]; 0 if no row of positive weight has a true label.

    See Also
    --------
    label_propensities : Estimates the propensities.

    References
    ----------
    Jain, Prabhu and Varma, "Extreme multi-label loss functions for recommendation, tagging, ranking & other
    missing label applications", KDD 2016: the propensity-scored precision.

    Examples
    --------
    >>> from sklearn_slide.metrics import ps_precision_at_k
    >>> ps_precision_at_k([[1, 1, 0]], [[0, 2]], propensities=[0.5, 0.25, 1.0], k=1)
    0.5
    """
    result = compare(y_true, y_pred, k, class_labels=False)
    propensities = np.asarray(propensities, dtype=float)
    if propensities.shape != (result.n_labels,) or not np.all((propensities > 0) & (propensities <= 1)):
        raise ValueError(
            f"propensities must have shape (n_labels,) = ({result.n_labels},) and values in (0, 1], not "
            f"inverse ones; got shape {propensities.shape} and {np.array2string(propensities, threshold=10)}"
        )
    gains = 1 / propensities
    # a -1 in top reads the gain of the last label, and is never a hit
    gained = np.sum(gains[result.top] * result.hits, axis=1)
    true_gains = gains[result.true_labels]
    order, rank = rank_in_rows(result.true_rows, true_gains, result.n_true)
    reachable = np.bincount(result.true_rows, true_gains[order] * (rank < k), minlength=len(gained))
    best = mean_of_rows(reachable, sample_weight)
    return mean_of_rows(gained, sample_weight) / best if best > 0 else 0.0


def coverage_at_k(y_true: MatrixLike, y_pred: MatrixLike, *, k: int = 5) -> float:
    """Compute the share of labels that are found at least once among the k best predictions of the rows.

    A label is found in a row where it is true and one of the k best. Labels without a true row do not count.
    Frequent labels make a high precision; coverage tells what becomes of the others.

    Parameters
    ----------
    y_true : {array-like, sparse} of shape (n_samples, n_labels), or array-like of shape (n_samples,)
        As in :func:`precision_at_k`.
    y_pred : array-like of shape (n_samples, m), or {array-like, sparse} of shape (n_samples, n_labels)
        As in :func:`precision_at_k`, with the same errors.
    k : int, default=5
        Number of predictions of each row that count.

    Returns
    -------
    float
        Coverage at k, in [0, 1]; 0 if no row has a true label.

    See Also
    --------
    recall_by_frequency_at_k : Recall of frequent and of rare labels.

    Examples
    --------
    >>> from sklearn_slide.metrics import coverage_at_k
    >>> coverage_at_k([[1, 0, 0], [1, 1, 0]], [[0, 2], [0, 2]], k=2)
    0.5
    """
    result = compare(y_true, y_pred, k)
    n_present = np.unique(result.true_labels).size
    return np.unique(result.top[result.hits]).size / n_present if n_present else 0.0


def label_propensities(y_train: MatrixLike, *, a: float = 0.55, b: float = 1.5) -> np.ndarray:
    r"""Estimate from the training rows how likely a true label is to be observed.

    With N rows, of which :math:`N_l` have label l, and :math:`C = (\ln N - 1) (b + 1)^a`,

    .. math:: p_l = 1 / (1 + C (N_l + b)^{-a})

    Parameters
    ----------
    y_train : {array-like, sparse} of shape (n_samples, n_labels)
        A 0/1 indicator of the labels of the training rows, at least 3.
    a, b : float, default=0.55 and 1.5
        Positive parameters of the curve. The paper fits 0.5 and 0.4 on Wikipedia, 0.6 and 2.6 on Amazon.

    Returns
    -------
    ndarray of shape (n_labels,), float64
        Propensities in (0, 1), larger for more frequent labels.

    Raises
    ------
    ValueError
        If `y_train` is not a binary 2-D indicator of 3 rows or more, or `a` or `b` is not positive.

    See Also
    --------
    ps_precision_at_k : The metric that takes them.

    References
    ----------
    Jain, Prabhu and Varma, "Extreme multi-label loss functions for recommendation, tagging, ranking & other
    missing label applications", KDD 2016: the propensity model.

    Examples
    --------
    >>> from sklearn_slide.metrics import label_propensities
    >>> label_propensities([[1, 0], [1, 0], [1, 0], [1, 1]]).round(3)
    array([0.8  , 0.721])
    """
    check_scalar(a, "a", Real, min_val=0, include_boundaries="neither")
    check_scalar(b, "b", Real, min_val=0, include_boundaries="neither")
    _, labels, (n_samples, n_labels) = true_pairs(as_array(y_train, "y_train"), "y_train")
    if n_samples < 3:
        raise ValueError(f"y_train must have at least 3 rows, so that ln(n_samples) > 1; got {n_samples}")
    return propensity_curve(np.bincount(labels, minlength=n_labels), n_samples, a, b)


def propensity_curve(counts, n_samples, a=0.55, b=1.5):
    """Return the propensities, float64, of labels that so many of n_samples rows have: label_propensities."""
    c = (np.log(n_samples) - 1) * (b + 1) ** a
    return 1 / (1 + c * (counts + b) ** -a)


def top_k_scorer(metric: Metric, k: int = 5, **metric_params: Any) -> Callable[..., float]:
    """Make a scorer for GridSearchCV, RandomizedSearchCV and the cross-validation functions.

    The scorer serves whatever :func:`predict_top_k` takes, and makes neither targets nor predictions dense.
    For an indicator y, names of labels are looked up in the estimator's ``classes_``, which has them in the
    order of the columns.

    Parameters
    ----------
    metric : str or callable
        "average_precision_at_k", "coverage_at_k", "f1_at_k", "ndcg_at_k", "precision_at_k",
        "ps_precision_at_k", "recall_at_k" or "recall_by_frequency_at_k". A callable is called as
        ``metric(y_true, labels, k=k, **metric_params)``; higher is better.
    k : int, default=5
        Number of labels of each row to predict and to score.
    **metric_params
        Further arguments of the metric, such as ``propensities=...`` of "ps_precision_at_k".

    Returns
    -------
    callable
        ``scorer(estimator, X, y, sample_weight=None) -> float``; it pickles if `metric` does.

    Raises
    ------
    ValueError
        If `metric` is no known name or k is less than 1.
    TypeError
        If `metric` is neither name nor callable, k is no integer, or `metric_params` do not fit the metric.

    See Also
    --------
    probability_scorer : Scorers of probabilities.

    Notes
    -----
    ``cross_val_score``, ``cross_validate`` and ``learning_curve`` of scikit-learn refuse a sparse y before
    scoring. They take it within ``sklearn.config_context(skip_parameter_validation=True)``.

    Examples
    --------
    >>> from sklearn_slide.metrics import top_k_scorer
    >>> {"P@1": top_k_scorer("precision_at_k", k=1), "nDCG@5": top_k_scorer("ndcg_at_k")}
    {'P@1': top_k_scorer('precision_at_k', k=1), 'nDCG@5': top_k_scorer('ndcg_at_k', k=5)}
    """
    metrics = (
        *(average_precision_at_k, coverage_at_k, f1_at_k, ndcg_at_k, precision_at_k, ps_precision_at_k),
        *(recall_at_k, recall_by_frequency_at_k),
    )
    return TopKScorer(_named(metric, metrics), _checked(k), metric_params)


def probability_scorer(metric: Metric, k: int = 100, **metric_params: Any) -> Callable[..., float]:
    """Make a scorer that compares the probabilities of the k best labels with the true ones.

    It serves models whose ``predict_top_k`` takes ``scores="probability"`` and ``sparse_output=True``, as
    :class:`~sklearn_slide.SlideClassifier`, Pipelines that end in one, and fitted searches over them.

    Parameters
    ----------
    metric : str or callable
        "f1_at_threshold" or "expected_calibration_error", of which the scorer gives the negative. A callable
        is called as ``metric(y_true, probabilities, **metric_params)``, both with a column for each label
        and the second CSR; higher is better.
    k : int, default=100
        Number of labels of each row whose probabilities count; all others are taken as never predicted.
    **metric_params
        Further arguments of the metric, such as ``threshold=0.3`` or ``average="macro"``.

    Returns
    -------
    callable
        ``scorer(estimator, X, y, sample_weight=None) -> float``; it pickles if `metric` does.

    Raises
    ------
    ValueError
        If `metric` is no known name or k is less than 1.
    TypeError
        If `metric` is neither name nor callable, k is no integer, or `metric_params` do not fit the metric.

    See Also
    --------
    top_k_scorer : Scorers of rankings.

    Examples
    --------
    >>> from sklearn_slide.metrics import probability_scorer
    >>> probability_scorer("expected_calibration_error", k=5)
    probability_scorer('expected_calibration_error', k=5)
    """
    metric = _named(metric, (f1_at_threshold, expected_calibration_error))
    sign = -1 if metric is expected_calibration_error else 1
    return ProbabilityScorer(metric, _checked(k), metric_params, sign)


def _named(metric, metrics):
    """Return the metric of that name, or the callable that it is."""
    by_name = {function.__name__: function for function in metrics}
    if isinstance(metric, str) and metric in by_name:
        return by_name[metric]
    if not callable(metric):
        error = ValueError if isinstance(metric, str) else TypeError
        raise error(f"metric must be one of {list(by_name)} or a callable; got {metric!r}")
    return metric


def _checked(k):
    """Return k, an int of at least 1."""
    return check_scalar(k, "k", Integral, min_val=1)
