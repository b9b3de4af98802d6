"""What a fitted classifier answers: the predict family, its weights, and smaller copies of it."""

from numbers import Integral

import numpy as np
import scipy.sparse as sp
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted, validate_data

from sklearn_slide._core.losses import LOSSES, OUTPUT_ACTIVATIONS
from sklearn_slide._core.rows import Pattern
from sklearn_slide._memory import require_memory
from sklearn_slide._model import DTYPES
from sklearn_slide._progress import RowProgress
from sklearn_slide._ranker import Ranker
from sklearn_slide._samples import is_clean


class PredictionMixin:
    """The predict family and the fitted attributes of a classifier that has `_model` and `_labels`."""

    def __sklearn_is_fitted__(self):
        return "_model" in vars(self)

    @property
    def _fitted(self):
        """The model, or NotFittedError, which is an AttributeError as well."""
        if "_model" not in vars(self):
            raise NotFittedError(
                f"This {type(self).__name__} instance is not fitted yet. Call 'fit' or 'partial_fit' first."
            )
        return self._model

    @property
    def classes_(self):
        """Class labels, or the numbers of columns of a multi-label y: ndarray of shape ``(n_outputs_,)``."""
        return self._fitted and self._labels.classes

    @property
    def n_outputs_(self):
        """Number of outputs, one for each label."""
        return self._fitted.network.n_labels

    @property
    def n_layers_(self):
        """Number of layers, the input and the output among them."""
        return len(self._fitted.network.hidden) + 2

    @property
    def out_activation_(self):
        """Name of the output activation function: 'softmax' for the softmax loss, else 'logistic'."""
        return LOSSES[self._fitted.settings.loss].out_activation

    @property
    def n_iter_(self):
        """The number of epochs that were run, of all networks together."""
        return self._fitted.n_epochs

    @property
    def t_(self):
        """The number of passes over training samples, of all networks together."""
        return self._fitted.n_passes

    @property
    def loss_(self):
        """The mean loss of a sample over its active labels, in the last epoch."""
        return self._fitted and self.loss_curve_[-1]

    @property
    def best_loss_(self):
        """The minimum of `loss_curve_`."""
        return self._fitted and min(self.loss_curve_)

    @property
    def coefs_(self):
        """The weight matrix of each layer: list of ndarray, of length ``n_layers_ - 1``."""
        return self._fitted.coefs()

    @property
    def intercepts_(self):
        """The bias vector of each layer: list of ndarray, of length ``n_layers_ - 1``."""
        return self._fitted.intercepts()

    @property
    def direct_coef_(self):
        """The direct weights of features and labels: sparse array ``(n_features_in_, n_outputs_)``."""
        return self._fitted.direct_coef()

    def predict_top_k(self, X, k=5, *, check_input=True):
        """Find the k labels with the highest scores for each sample.

        No array of all samples and labels is made. The first call for a single sample makes a small copy of
        the output layer, of 128 bytes for a label at most, and with ``retrieval="lsh"`` the first call makes
        hash tables as well; let one call warm up a service. They are not pickled.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            The input data.
        k : int, default=5
            The number of labels, at most `n_outputs_`.
        check_input : bool, default=True
            False leaves out the checks of X, which take longer than the ranking of a single sample among some
            thousand labels. X must then be CSR of float32 with `n_features_in_` columns, sorted indices, no
            duplicates and only finite values; anything else may crash the process.

        Returns
        -------
        labels : ndarray of shape (n_samples, k)
            Class labels, or column numbers of a multi-label y, best first; of equal scores the one that
            comes first in `classes_`.
        scores : ndarray of shape (n_samples, k)
            Their outputs before the output activation, float32. For a multi-label y these are the
            values of `decision_function`.

        Raises
        ------
        ValueError
            If X or k is not allowed.

        Examples
        --------
        >>> from sklearn.datasets import load_digits
        >>> from sklearn_slide import SlideClassifier
        >>> X, y = load_digits(return_X_y=True)
        >>> labels, scores = SlideClassifier(random_state=0).fit(X, y).predict_top_k(X[:4], k=3)
        >>> labels.shape, scores.shape
        ((4, 3), (4, 3))
        """
        batch = self._check_rows(X) if check_input else self._fitted.batch(X)
        if not isinstance(k, Integral) or not 1 <= k <= self.n_outputs_:
            raise ValueError(
                f"k must be an int from 1 to the number of labels, {self.n_outputs_}. Got {k!r}."
            )
        positions, scores = self._rank(batch, int(k))
        return self._labels.decode(positions), scores

    def predict(self, X):
        """Predict class labels, or the labels with a probability above a half for a multi-label y.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            The input data.

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_outputs_), or sparse matrix
            The predicted classes. A multi-label prediction has the type of value that y had in `fit`,
            and is sparse (CSR) if y was.

        See Also
        --------
        predict_top_k : The best labels, however likely they are.

        Examples
        --------
        >>> from sklearn_slide import SlideClassifier
        >>> from sklearn_slide.datasets import make_xmc_classification
        >>> X, Y = make_xmc_classification(n_samples=300, n_labels=40, random_state=0)
        >>> SlideClassifier(random_state=0).fit(X, Y).predict(X).shape
        (300, 40)
        """
        batch = self._check_rows(X)
        if not self._labels.multilabel:
            return self._labels.decode(self._rank(batch, 1)[0][:, 0])
        if self.out_activation_ == "logistic":
            # p > 1/2 where the score is positive
            pattern = Pattern(*self._get_ranker().positive(batch, self._report(batch)))
        else:
            likely = sp.csr_array(self._probabilities(batch) > 0.5)
            pattern = Pattern(likely.indptr, likely.indices)
        return self._labels.indicator(pattern)

    def decision_function(self, X):
        """Compute the outputs before the output activation.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            The input data.

        Returns
        -------
        scores : ndarray of shape (n_samples, n_outputs_), or (n_samples,)
            A score for each label, float32; for two classes the second one's less the first one's.

        Raises
        ------
        MemoryError
            If the array would not fit in this machine's memory; use `predict_top_k`.

        Examples
        --------
        >>> from sklearn.datasets import load_digits
        >>> from sklearn_slide import SlideClassifier
        >>> X, y = load_digits(return_X_y=True)
        >>> SlideClassifier(random_state=0).fit(X, y).decision_function(X).shape
        (1797, 10)
        """
        scores = self._dense_scores(self._check_rows(X))
        if not self._labels.multilabel and self.n_outputs_ == 2:
            return scores[:, 1] - scores[:, 0]
        return scores

    def predict_proba(self, X):
        """Estimate the probability of each label.

        Labels that were trained against a sample of negatives get probabilities for ranking; they are
        not calibrated.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            The input data.

        Returns
        -------
        probabilities : ndarray of shape (n_samples, n_outputs_)
            The probability of each label, by itself for a multi-label y with the sigmoid loss.

        Raises
        ------
        MemoryError
            If the array would not fit in this machine's memory; use `predict_top_k`.

        Examples
        --------
        >>> from sklearn.datasets import load_digits
        >>> from sklearn_slide import SlideClassifier
        >>> X, y = load_digits(return_X_y=True)
        >>> SlideClassifier(random_state=0).fit(X, y).predict_proba(X).shape
        (1797, 10)
        """
        return self._probabilities(self._check_rows(X))

    def predict_log_proba(self, X):
        """Compute the logarithm of `predict_proba`.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            The input data.

        Returns
        -------
        log_probabilities : ndarray of shape (n_samples, n_outputs_)
            The logarithm of the probability of each label.

        Raises
        ------
        MemoryError
            If the array would not fit in this machine's memory; use `predict_top_k`.

        Examples
        --------
        >>> from sklearn.datasets import load_digits
        >>> from sklearn_slide import SlideClassifier
        >>> X, y = load_digits(return_X_y=True)
        >>> bool((SlideClassifier(random_state=0).fit(X, y).predict_log_proba(X) <= 0).all())
        True
        """
        return np.log(self.predict_proba(X))

    def compact(self, dtype="float32"):
        """Drop what only training needs, and round the weights if asked for, to serve predictions.

        Features that no training sample had are dropped as well: their weights are still the random ones.

        Parameters
        ----------
        dtype : {'float32', 'float16', 'int8'}, default='float32'
            'float32' leaves the weights as they are. 'float16' rounds them to two bytes, which they take when
            stored; in memory they take four. 'int8' rounds them to one byte, stored and in memory, with a
            scale for each row; direct weights that round to 0 are dropped.

        Returns
        -------
        self : object
            The classifier, changed in place. It predicts, but `partial_fit` and a warm start refuse it.

        Raises
        ------
        ValueError
            If dtype is not allowed or cannot hold the weights, or the classifier is compact already.

        Examples
        --------
        >>> from sklearn.datasets import load_digits
        >>> from sklearn_slide import SlideClassifier
        >>> X, y = load_digits(return_X_y=True)
        >>> model = SlideClassifier(random_state=0).fit(X, y).compact("int8")
        >>> model.predict(X[:5])
        array([0, 1, 2, 3, 4])
        """
        check_is_fitted(self)
        if dtype not in DTYPES:
            raise ValueError(f"dtype must be one of {list(DTYPES)}. Got {dtype!r}.")
        if self._model.training is None:
            raise ValueError(
                f"The classifier is already compact, with dtype={self._model.stored_dtype!r}. Compact the "
                "one that was fitted, or fit again."
            )
        self._model = self._model.compact(dtype, self.n_jobs)
        return self

    def _check_rows(self, X):
        """Validate X, and return its Batch."""
        check_is_fitted(self)
        if hasattr(self, "feature_names_in_") or not is_clean(X, self.n_features_in_):
            X = validate_data(self, X, accept_sparse="csr", dtype=np.float32, order="C", reset=False)
        return self._model.batch(X)

    def _get_ranker(self):
        """Return the Ranker of the model as it is."""
        ranker = vars(self).get("_ranker")
        if ranker is None or ranker.model is not self._model:
            ranker = self._ranker = Ranker(self._model)
        ranker.n_jobs = self.n_jobs
        return ranker

    def _report(self, batch):
        """Return a function that is told how many samples of a Batch are done."""
        return RowProgress(self.verbose, batch.x.n_rows).add

    def _rank(self, batch, k):
        """Return the positions of the k best labels, and their scores."""
        ranker, report = self._get_ranker(), self._report(batch)
        if self.retrieval == "lsh":
            return ranker.best_retrieved(batch, k, report)
        return ranker.best(batch, k, report)

    def _probabilities(self, batch):
        """Compute the probability of every label, float64 (n_samples, n_outputs_)."""
        scores = self._dense_scores(batch, copies=4)
        probabilities = OUTPUT_ACTIVATIONS[self.out_activation_](scores)
        if self.out_activation_ == "logistic" and not self._labels.multilabel:
            probabilities /= probabilities.sum(axis=1, keepdims=True)
        return probabilities

    def _dense_scores(self, batch, copies=1):
        """Compute the score of every label, if that many copies of the array fit in memory."""
        n_samples = batch.x.n_rows
        require_memory(
            4 * copies * n_samples * self.n_outputs_,
            f"A dense result of {n_samples} samples x {self.n_outputs_} labels",
            "Use predict_top_k, or fewer samples at a time.",
        )
        return self._get_ranker().scores(batch, self._report(batch))
