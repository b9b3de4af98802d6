"""Samples that are kept out of training, and their score after each epoch."""

import re
from numbers import Integral

import numpy as np
from sklearn.metrics import get_scorer
from sklearn.model_selection import train_test_split

from sklearn_slide._labels import is_multilabel
from sklearn_slide._validation import names_not_missed
from sklearn_slide.metrics import precision_at_k, top_k_scorer

# Precision is the mean of those of the first so many labels of a ranking: one alone tells fewer epochs apart.
FIRST = (1, 3, 5)

_AT_K = re.compile(r"(precision|recall|ndcg|coverage)_at_([1-9][0-9]*)")


class Validation:
    """Validated samples X and y, their weights or None, and the scorer that judges a model by them."""

    def __init__(self, scoring, X, y, sample_weight=None):
        self._scorer, self._name = _make_scorer(scoring, y), scoring
        self._data, self._params = (X, y), {}
        # as the scorers of scikit-learn and of this package tell whether they take weights
        if sample_weight is not None and getattr(self._scorer, "_accept_sample_weight", lambda: False)():
            self._params = {"sample_weight": sample_weight}

    @property
    def data(self):
        """The validated samples X, and y."""
        return self._data

    def score(self, model):
        """Return the model's score, higher is better; raise ValueError if it is not finite."""
        with names_not_missed():
            score = float(self._scorer(model, *self._data, **self._params))
        if not np.isfinite(score):
            raise ValueError(
                f"scoring={self._name!r} gave {score} for the validation samples, by which no epoch can be "
                "chosen. Give another one, or other validation samples."
            )
        return score


def hold_out(X, y, sample_weight, fraction, seed):
    """Split validated samples at random into those to train with and a fraction of them to validate with.

    Return two tuples of samples, targets, and weights or None.
    """
    n_samples = X.shape[0]
    if not isinstance(fraction, Integral) and np.ceil(fraction * n_samples) >= n_samples:
        raise ValueError(
            f"early_stopping=True with validation_fraction={fraction} leaves none of {n_samples} samples to "
            "train with. Give X_val and y_val, a lower validation_fraction, or early_stopping=False."
        )
    parts = train_test_split(np.arange(n_samples), test_size=fraction, random_state=seed)
    return tuple((X[i], y[i], None if sample_weight is None else sample_weight[i]) for i in parts)


def mean_precision(y_true, y_pred, *, k, sample_weight=None):
    """Return the mean of the precisions at those of FIRST that are k at most."""
    each = [
        precision_at_k(y_true, y_pred, k=first, sample_weight=sample_weight) for first in FIRST if first <= k
    ]
    return float(np.mean(each))


def check_scoring(scoring):
    """Raise ValueError if there is no such validation score."""
    if not isinstance(scoring, str) or scoring != "auto":
        _make_scorer(scoring, None)


def _make_scorer(scoring, y):
    """Turn 'auto', 'precision_at_1' and so on, a name of scikit-learn, or a callable into a scorer of y."""
    if isinstance(scoring, str) and scoring == "auto":
        return top_k_scorer(mean_precision, k=min(FIRST[-1], y.shape[1]) if is_multilabel(y) else 1)
    at_k = _AT_K.fullmatch(scoring) if isinstance(scoring, str) else None
    if at_k:
        return top_k_scorer(f"{at_k[1]}_at_k", k=int(at_k[2]))
    try:
        return get_scorer(scoring)
    except ValueError as error:
        raise ValueError(
            "scoring must be 'auto'; 'precision_at_1', or with recall, ndcg or coverage, or another k; the "
            f"name of a scorer of scikit-learn; or a callable scorer(estimator, X, y). Got {scoring!r}."
        ) from error
