"""Whether probabilities come true as often as they say, for labels of sparse multi-label targets."""

from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike
from sklearn.calibration import calibration_curve
from sklearn.utils import check_consistent_length

from sklearn_slide._ranking import as_array, true_pairs
from sklearn_slide._types import MatrixLike


def calibration_pairs(y_true: MatrixLike, y_prob: MatrixLike, sample_weight: ArrayLike | None = None) -> Any:
    """Turn sparse multi-label targets and probabilities into what scikit-learn's binary metrics take.

    With these, ``CalibrationDisplay.from_predictions``, ``precision_recall_curve``, ``brier_score_loss`` and
    the like serve many labels.

    Parameters
    ----------
    y_true : {array-like, sparse} of shape (n_samples, n_labels)
        A 0/1 indicator of the true labels.
    y_prob : {array-like, sparse} of shape (n_samples, n_labels)
        Probabilities. Of a sparse one only the stored entries count, such as those of
        ``predict_top_k(X, k, scores="probability", sparse_output=True)``: they are what is judged.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the rows.

    Returns
    -------
    y : ndarray of shape (n_pairs,), int64
        1 where the label is true, else 0.
    prob : ndarray of shape (n_pairs,), float64
        The probabilities, row by row.
    weights : ndarray of shape (n_pairs,)
        The weights of the rows of the pairs; only returned if `sample_weight` is given.

    Raises
    ------
    ValueError
        If `y_true` is not binary, the shapes differ, or probabilities are not in [0, 1].

    See Also
    --------
    reliability_curve : How often labels are true, by their probability.

    Examples
    --------
    >>> from scipy.sparse import csr_array
    >>> from sklearn_slide.metrics import calibration_pairs
    >>> calibration_pairs([[0, 1, 0], [1, 0, 0]], csr_array([[0.0, 0.7, 0.2], [0.9, 0.0, 0.0]]))
    (array([1, 0, 1]), array([0.7, 0.2, 0.9]))
    """
    rows, labels, (n_samples, n_labels) = true_pairs(as_array(y_true, "y_true"), "y_true")
    y_prob = as_array(y_prob, "y_prob")
    if y_prob.shape != (n_samples, n_labels):
        raise ValueError(
            f"y_prob must have the shape of y_true, {(n_samples, n_labels)}; got {y_prob.shape}. Ask "
            "predict_top_k for sparse_output=True"
        )
    if sp.issparse(y_prob):
        stored = sp.csr_array(y_prob)
        places = np.repeat(np.arange(n_samples), np.diff(stored.indptr)), stored.indices
        prob = stored.data.astype(float)
    else:
        places, prob = np.divmod(np.arange(y_prob.size), max(n_labels, 1)), y_prob.ravel().astype(float)
    if not np.all((prob >= 0) & (prob <= 1)):
        raise ValueError(
            "y_prob must hold probabilities from 0 to 1; got others. Ask predict_top_k for "
            "scores='probability'"
        )
    keys, wanted = rows * n_labels + labels, places[0] * np.int64(n_labels) + places[1]
    y = (np.append(keys, -1)[np.searchsorted(keys, wanted)] == wanted).astype(np.int64)
    if sample_weight is None:
        return y, prob
    sample_weight = np.asarray(sample_weight, dtype=float)
    check_consistent_length(y_true, sample_weight)
    return y, prob, sample_weight[places[0]]


def reliability_curve(
    y_true: MatrixLike, y_prob: MatrixLike, *, n_bins: int = 10, strategy: str = "uniform"
) -> tuple[np.ndarray, ...]:
    """Compute how often labels are true, by their probability, as scikit-learn's ``calibration_curve``.

    Parameters
    ----------
    y_true, y_prob : {array-like, sparse} of shape (n_samples, n_labels)
        As in :func:`calibration_pairs`, with the same errors.
    n_bins : int, default=10
        Number of bins of the probabilities; empty ones are left out.
    strategy : {'uniform', 'quantile'}, default='uniform'
        Bins of the same width, or with the same number of pairs.

    Returns
    -------
    prob_true : ndarray of shape (n_bins,) or smaller
        The share of pairs in each bin that are true.
    prob_pred : ndarray of shape (n_bins,) or smaller
        The mean probability of each bin.

    See Also
    --------
    expected_calibration_error : The same as one number.

    Examples
    --------
    >>> from sklearn_slide.metrics import reliability_curve
    >>> reliability_curve([[0, 1], [1, 0]], [[0.2, 0.7], [0.7, 0.2]], n_bins=2)
    (array([0., 1.]), array([0.2, 0.7]))
    """
    return calibration_curve(*calibration_pairs(y_true, y_prob), n_bins=n_bins, strategy=strategy)


def expected_calibration_error(
    y_true: MatrixLike,
    y_prob: MatrixLike,
    *,
    n_bins: int = 10,
    strategy: str = "uniform",
    sample_weight: ArrayLike | None = None,
) -> float:
    """Compute the mean distance of probabilities from how often they come true, over bins.

    The distance of a bin is that of its mean probability from the share of its pairs that are true; bins
    weigh as many pairs as they have.

    Parameters
    ----------
    y_true, y_prob : {array-like, sparse} of shape (n_samples, n_labels)
        As in :func:`calibration_pairs`, with the same errors.
    n_bins : int, default=10
        Number of bins of the probabilities.
    strategy : {'uniform', 'quantile'}, default='uniform'
        Bins of the same width, or with the same number of pairs.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the rows.

    Returns
    -------
    float
        The error, in [0, 1]; lower is better. 0 if there are no pairs.

    Raises
    ------
    ValueError
        If an argument is not allowed.

    See Also
    --------
    reliability_curve : The same as a curve.

    Notes
    -----
    Of n pairs that are perfectly calibrated, the error is about ``0.4 * sqrt(n_bins / n)``, not 0.

    Examples
    --------
    >>> from sklearn_slide.metrics import expected_calibration_error
    >>> round(expected_calibration_error([[0, 1], [1, 0]], [[0.2, 0.7], [0.7, 0.2]]), 3)
    0.25
    """
    if strategy not in ("uniform", "quantile"):
        raise ValueError(f"strategy must be 'uniform' or 'quantile'; got {strategy!r}")
    if not isinstance(n_bins, int | np.integer) or n_bins < 1:
        raise ValueError(f"n_bins must be an int of at least 1; got {n_bins!r}")
    weights = np.ones(as_array(y_true, "y_true").shape[0]) if sample_weight is None else sample_weight
    y, prob, weights = calibration_pairs(y_true, y_prob, weights)
    if not weights.sum():
        return 0.0
    edges = np.linspace(0, 1, n_bins + 1)
    if strategy == "quantile":
        edges = np.percentile(prob, 100 * edges)
    bins = np.searchsorted(edges[1:-1], prob)
    gaps = np.bincount(bins, weights * (prob - y), minlength=n_bins)
    return float(np.abs(gaps).sum() / weights.sum())
