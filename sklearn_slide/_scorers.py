"""What scorers of model selection do: they ask a model for its best labels, and give them to a metric."""

import inspect
from typing import Any

import numpy as np
import scipy.sparse as sp
from sklearn.pipeline import Pipeline

from sklearn_slide._ranking import as_columns
from sklearn_slide._types import MatrixLike


def predict_top_k(model: Any, X: MatrixLike, k: int = 5, **params: Any) -> Any:
    """Predict the k best labels of each row with an estimator, a Pipeline or a fitted search.

    Parameters
    ----------
    model : object
        A fitted estimator with ``predict_top_k(X, k)``; a :class:`~sklearn.pipeline.Pipeline` whose last
        step is such a model, where `X` goes through the earlier steps; or a fitted search over such a model.
    X : {array-like, sparse} of shape (n_samples, n_features), or what the first step of the Pipeline takes
        The samples.
    k : int, default=5
        Number of labels for each row.
    **params
        Further arguments of the method of the estimator, such as ``scores="probability"``.

    Returns
    -------
    labels, scores : ndarrays of shape (n_samples, k)
        What the method of the estimator returns: the best labels, best first, and their scores, unless
        `params` ask for something else.

    Raises
    ------
    TypeError
        If `model` holds no ``predict_top_k``.

    See Also
    --------
    top_k_scorer : Scorers that predict in this way.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_slide.metrics import predict_top_k
    >>> class Constant:
    ...     def predict_top_k(self, X, k):
    ...         return np.tile(np.arange(k), (len(X), 1)), np.ones((len(X), k))
    >>> predict_top_k(Constant(), [[0.0], [1.0]], k=3)[0]
    array([[0, 1, 2],
           [0, 1, 2]])
    """
    if hasattr(model, "predict_top_k"):
        return model.predict_top_k(X, k, **params)
    if isinstance(model, Pipeline):
        for _, step in model.steps[:-1]:
            if step is not None and step != "passthrough":
                X = step.transform(X)
        return predict_top_k(model.steps[-1][1], X, k, **params)
    if hasattr(model, "best_estimator_"):
        return predict_top_k(model.best_estimator_, X, k, **params)
    raise TypeError(
        "model must be an estimator with a method predict_top_k, a Pipeline that ends in one, or a search "
        f"over one that was fitted with refit; got {model!r}"
    )


class TopKScorer:
    """Call `metric` on the true labels and the labels that ``predict_top_k`` of a model gives."""

    _maker = "top_k_scorer"

    def __init__(self, metric, k, metric_params):
        self.metric, self.k, self.metric_params = metric, k, metric_params
        try:
            inspect.signature(metric).bind("y_true", "y_pred", **self._of_k(), **metric_params)
        except TypeError as error:
            raise TypeError(
                f"{self!r} must fit {self._name()}{inspect.signature(metric)}: {error}"
            ) from error

    def _of_k(self):
        """Return what the metric is told of k."""
        return {"k": self.k}

    def __call__(self, estimator, X, y, sample_weight=None):
        params = dict(self.metric_params)
        if sample_weight is not None:
            if not self._accept_sample_weight():
                raise ValueError(f"sample_weight must be None, since {self._name()} takes no weights")
            params["sample_weight"] = sample_weight
        return self._score(estimator, X, y, params)

    def _score(self, estimator, X, y, params):
        """Return the metric of what the estimator predicts for X."""
        labels, _ = predict_top_k(estimator, X, self.k)
        labels = as_columns(labels, y, getattr(estimator, "classes_", None))
        return float(self.metric(y, labels, k=self.k, **params))

    def _accept_sample_weight(self):
        """Tell whether the metric takes weights; a search over several metrics asks by this name."""
        return "sample_weight" in inspect.signature(self.metric).parameters

    def _name(self):
        return getattr(self.metric, "__name__", repr(self.metric))

    def __repr__(self):
        ours = (getattr(self.metric, "__module__", None) or "").startswith("sklearn_slide.")
        shown = [repr(self._name()) if ours else self._name(), f"k={self.k}"]
        for key, value in self.metric_params.items():
            shape = getattr(value, "shape", ())
            shown.append(f"{key}=<array of shape {shape}>" if shape else f"{key}={value!r}")
        return f"{self._maker}({', '.join(shown)})"


class ProbabilityScorer(TopKScorer):
    """Call `metric` on the true labels and the probabilities of the k best, CSR; lower may be better."""

    _maker = "probability_scorer"

    def __init__(self, metric, k, metric_params, sign):
        super().__init__(metric, k, metric_params)
        self.sign = sign

    def _of_k(self):
        return {}

    def _score(self, estimator, X, y, params):
        form = {"scores": "probability", "sparse_output": True}
        probabilities = predict_top_k(estimator, X, self.k, **form)
        return self.sign * float(self.metric(as_indicator(y, estimator), probabilities, **params))


def as_indicator(y, estimator):
    """Turn class labels into a sparse indicator, a column for each of the estimator's classes_."""
    if sp.issparse(y) or np.ndim(y) != 1:
        return y
    order = np.argsort(estimator.classes_)
    columns = order[np.searchsorted(estimator.classes_, y, sorter=order)]
    shape = (len(columns), len(estimator.classes_))
    return sp.csr_array((np.ones(len(columns)), columns, np.arange(len(columns) + 1)), shape=shape)
