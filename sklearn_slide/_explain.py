"""Why a label scores as it does: the parts of its score that come from each feature of a sample."""

from numbers import Integral
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from sklearn_slide._core.layers import Identity
from sklearn_slide._core.matrices import Quantized


class Explanation(NamedTuple):
    """The strongest contributions to scores of m labels for each sample.

    ``contributions.sum(axis=2) + rest`` are the scores.
    """

    labels: np.ndarray  # (n_samples, m)
    scores: np.ndarray  # float64 (n_samples, m)
    features: np.ndarray  # (n_samples, m, n): names, or columns of X; '' or -1 where a sample has fewer
    contributions: np.ndarray  # float64 (n_samples, m, n), the largest first, whatever their sign
    rest: np.ndarray  # float64 (n_samples, m): the bias, and all weaker features together


class ExplanationMixin:
    """Explanations by a classifier whose scores are linear in X."""

    def explain(self, X, labels=None, *, n_features=10, feature_names=None):
        """Tell which features of a sample speak for a label, and which against it.

        With ``activation="identity"`` a score is a sum over the features of a sample: each value times what
        the hidden layers and the direct weights together have for this feature and label.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            The input data.
        labels : array-like of shape (m,) or (n_samples, m), default=None
            The labels to explain: of `classes_`, the same for all samples or some of each, such as those of
            `predict_top_k`. None is the best one of each sample.
        n_features : int or None, default=10
            The number of features to name for each label; None names all that a sample has.
        feature_names : array-like of shape (n_features_in_,), default=None
            Names to use, such as ``vectorizer.get_feature_names_out()``. None stands for
            `feature_names_in_`, or for the numbers of columns where there are none.

        Returns
        -------
        explanation : tuple
            A NamedTuple. `labels` and `scores`, of shape (n_samples, m), are those of `decision_function`.
            `features` and `contributions`, of shape (n_samples, m, n), have the features whose parts of the
            score are largest, whatever their sign, and these parts; a sample with fewer features has -1, or
            an empty name, in the other places. `rest`, (n_samples, m), is what the bias and all other
            features add: ``contributions.sum(axis=2) + rest`` is the score.

        Raises
        ------
        ValueError
            If an argument is not allowed, or the classifier has another activation than 'identity'.

        See Also
        --------
        predict_top_k : The best labels, to explain them.

        Examples
        --------
        >>> from sklearn.datasets import load_digits
        >>> from sklearn_slide import SlideClassifier
        >>> X, y = load_digits(return_X_y=True)
        >>> model = SlideClassifier(random_state=0).fit(X, y)
        >>> why = model.explain(X[:2], labels=[0, 1], n_features=3)
        >>> why.features.shape, why.contributions.shape
        ((2, 2, 3), (2, 2, 3))
        """
        answers = self._answers(X)
        ranker, x = answers.ranker, answers.x
        _require_linear(ranker.model)
        if n_features is not None and (not isinstance(n_features, Integral) or n_features < 1):
            raise ValueError(f"n_features must be an int of at least 1, or None. Got {n_features!r}.")
        names = self._names(feature_names)
        if sp.issparse(labels):
            raise ValueError(
                "labels must be dense: of shape (m,) or (n_samples, m), or None. Got a sparse matrix. Give "
                "the labels of one sample at a time."
            )
        if labels is None:
            positions = answers.top(1)[0]
        else:
            positions = ranker.model.labels.positions(labels)
            if positions.ndim not in (1, 2) or (positions.ndim == 2 and len(positions) != x.n_rows):
                raise ValueError(
                    f"labels must have shape (m,) or (n_samples, m) with n_samples={x.n_rows}. Got "
                    f"{positions.shape}."
                )
            positions = np.broadcast_to(positions, (x.n_rows, positions.shape[-1]))
        most = int(np.diff(x.indptr).max(initial=0))
        n_named = most if n_features is None else int(n_features)
        found, contributions, rest = _explain(ranker.model, x, positions, n_named)
        features = np.where(found < 0, names.dtype.type(-1 if names.dtype.kind == "i" else ""), names[found])
        scores = contributions.sum(axis=2) + rest
        return Explanation(ranker.model.labels.decode(positions), scores, features, contributions, rest)

    def _names(self, feature_names):
        """Return what features are called, (n_features_in_,): texts, or the numbers of columns."""
        if feature_names is None:
            feature_names = getattr(self, "feature_names_in_", None)
        if feature_names is None:
            return np.arange(self.n_features_in_)
        names = np.asarray(feature_names).astype(str)
        if names.shape != (self.n_features_in_,):
            raise ValueError(
                f"feature_names must have shape (n_features_in_,) = ({self.n_features_in_},). Got "
                f"{names.shape}. Give a name for each column of X."
            )
        return names


def _require_linear(model):
    """Raise ValueError if the scores of a Model are not linear in X."""
    network = model.network
    if network.input is not None and not isinstance(network.activation, Identity):
        raise ValueError(
            "explain needs scores that are sums over the features. Got a classifier with "
            f"activation={model.settings.activation!r}. Fit one with activation='identity'."
        )


def _explain(model, x, positions, n):
    """Return the n strongest features of each pair, int64, their parts of the score, and what is left of it.

    x are Rows as the model takes them, positions of labels (n_samples, m).
    """
    shape, network = positions.shape, model.scored
    found, parts = np.full((*shape, n), -1, dtype=np.int64), np.zeros((*shape, n))
    rest, columns = np.empty(shape), None if model.places is None else np.flatnonzero(model.places >= 0)
    for i in range(shape[0]):
        own = slice(x.indptr[i], x.indptr[i + 1])
        features, values = x.indices[own], x.data[own].astype(np.float64)
        for a in range(shape[1]):
            weights, bias = _weights_of(model, network, int(positions[i, a]), features)
            each = values * weights
            order = np.argsort(-np.abs(each), kind="stable")[:n]
            found[i, a, : len(order)] = features[order] if columns is None else columns[features[order]]
            parts[i, a, : len(order)] = each[order]
            rest[i, a] = bias + each.sum() - each[order].sum()
    return found, parts, rest


def _weights_of(model, network, position, features):
    """Return the weights of features, int32, for a label, float64 and of all paths together, and its bias."""
    kept = model.kept_labels
    if kept is not None:
        if not model.seen_labels[position]:
            return np.zeros(len(features)), -np.inf
        position = int(np.searchsorted(kept, position))
    vector, bias = _rows(network.output.weights, [position])[0], float(network.output.biases[position, 0])
    for layer in (network.deeper or ())[::-1]:
        bias += layer.biases[0].astype(np.float64) @ vector
        vector = _rows(layer.weights, slice(None)) @ vector
    if network.input is None:
        weights = vector[features]
    else:
        bias += network.input.biases[0].astype(np.float64) @ vector
        weights = _rows(network.input.weights, features) @ vector
    direct = network.direct
    if direct is not None:
        for slot, j in enumerate(features):
            start, stop = direct.indptr[j], direct.indptr[j + 1]
            p = start + np.searchsorted(direct.labels[start:stop], position)
            if p < stop and direct.labels[p] == position:
                quantized = isinstance(direct.weights, Quantized)
                weight = direct.weights.values[p] if quantized else direct.weights[p]
                weights[slot] += weight * np.float64(direct.weights.scales[j] if quantized else 1.0)
    return weights, bias


def _rows(matrix, rows):
    """Return some rows of a matrix, float64."""
    if isinstance(matrix, Quantized):
        return matrix.scales[rows].astype(np.float64)[:, np.newaxis] * matrix.values[rows]
    return matrix[rows].astype(np.float64)
