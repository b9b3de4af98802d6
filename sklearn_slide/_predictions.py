"""What a fitted classifier answers: the predict family, its weights, and smaller copies of it."""

from numbers import Integral

import numpy as np
import scipy.sparse as sp
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted, validate_data

from sklearn_slide._core.compilation import tell_of_compilation
from sklearn_slide._core.losses import LOG_ACTIVATIONS, OUTPUT_ACTIVATIONS
from sklearn_slide._core.rows import Pattern
from sklearn_slide._input_forms import check_samples, numbers_wanted
from sklearn_slide._memory import require_memory
from sklearn_slide._model import DTYPES
from sklearn_slide._progress import RowProgress
from sklearn_slide._ranker import Ranker
from sklearn_slide._samples import is_clean
from sklearn_slide._sparse import check_indices


class PredictionMixin:
    """The predict family and the fitted attributes of a classifier that has `_model` and `_ranker`.

    Predictions read `_ranker` once, and attributes `_model`: what they take belongs together, even if another
    thread trains the classifier and puts a model of more labels in place.
    """

    def __sklearn_is_fitted__(self):
        return "_model" in vars(self)

    def _require_fitted(self):
        """Return the model, or raise NotFittedError, which is an AttributeError as well."""
        if not self.__sklearn_is_fitted__():
            raise NotFittedError(
                f"This {type(self).__name__} instance is not fitted yet. Call 'fit' or 'partial_fit' first."
            )
        return self._model

    @property
    def classes_(self):
        """Class labels, or the numbers of columns of a multi-label y: ndarray of shape ``(n_outputs_,)``."""
        return self._require_fitted().labels.classes

    @property
    def n_outputs_(self):
        """Number of outputs, one for each label."""
        return len(self._require_fitted().labels)

    @property
    def n_layers_(self):
        """Number of layers, the input and the output among them."""
        return len(self._require_fitted().network.hidden) + 2

    @property
    def out_activation_(self):
        """Name of the output activation: 'softmax' for class labels or the softmax loss, else 'logistic'."""
        return self._require_fitted().out_activation

    @property
    def n_iter_(self):
        """The number of epochs that were run, of all networks together."""
        return self._require_fitted().n_epochs

    @property
    def t_(self):
        """The number of passes over training samples, of all networks together."""
        return self._require_fitted().n_passes

    @property
    def loss_(self):
        """The mean loss of a sample over its active labels, in the last epoch."""
        self._require_fitted()
        return self.loss_curve_[-1]

    @property
    def best_loss_(self):
        """The minimum of `loss_curve_`."""
        self._require_fitted()
        return min(self.loss_curve_)

    @property
    def coefs_(self):
        """The weight matrix of each layer: list of ndarray, of length ``n_layers_ - 1``."""
        return self._require_fitted().coefs()

    @property
    def intercepts_(self):
        """The bias vector of each layer: list of ndarray, of length ``n_layers_ - 1``."""
        return self._require_fitted().intercepts()

    @property
    def direct_coef_(self):
        """The direct weights of features and labels: sparse array ``(n_features_in_, n_outputs_)``."""
        return self._require_fitted().direct_coef()

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
            The number of labels; of fewer than k labels, all are returned.
        check_input : bool, default=True
            False leaves out the checks of X, which take longer than the ranking of a single sample among some
            thousand labels. X must then be CSR of float32 with `n_features_in_` columns, sorted indices, no
            duplicates and only finite values; anything else may crash the process.

        Returns
        -------
        labels : ndarray of shape (n_samples, min(k, n_outputs_))
            Class labels, or column numbers of a multi-label y, best first; of equal scores the one that
            comes first in `classes_`.
        scores : ndarray of shape (n_samples, min(k, n_outputs_))
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
        ranker, x = self._prepare(X, check_input)
        if not isinstance(k, Integral) or k < 1:
            raise ValueError(f"k must be an int of at least 1. Got {k!r}.")
        positions, scores = self._rank(ranker, x, min(int(k), ranker.n_labels))
        return ranker.model.labels.decode(positions), scores

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
        ranker, x = self._prepare(X)
        labels = ranker.model.labels
        if not labels.multilabel:
            return labels.decode(self._rank(ranker, x, 1)[0][:, 0])
        if ranker.model.out_activation == "logistic":
            # p > 1/2 where the score is positive
            pattern = Pattern(*ranker.positive(x, self._report(x)))
        else:
            likely = sp.csr_array(self._probabilities(ranker, x) > 0.5)
            pattern = Pattern(likely.indptr, likely.indices)
        return labels.indicator(pattern)

    def score(self, X, y, sample_weight=None):
        """Compute the accuracy of `predict`: for a multi-label y, the share of samples with all labels right.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            The samples.
        y : array-like of shape (n_samples,) or {array-like, sparse matrix} of shape (n_samples, n_outputs_)
            Their true labels.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples; None stands for 1.

        Returns
        -------
        score : float
            The accuracy, from 0 to 1.

        See Also
        --------
        sklearn_slide.metrics : Measures of the best labels, which tell more of many labels.

        Examples
        --------
        >>> from sklearn.datasets import load_digits
        >>> from sklearn_slide import SlideClassifier
        >>> X, y = load_digits(return_X_y=True)
        >>> SlideClassifier(random_state=0).fit(X, y).score(X, y) > 0.9
        True
        """
        check_indices(y, "y")
        return super().score(X, y, sample_weight)

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
        ranker, x = self._prepare(X)
        scores = self._dense_scores(ranker, x)
        if not ranker.model.labels.multilabel and ranker.n_labels == 2:
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
        return self._probabilities(*self._prepare(X))

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
        ranker, x = self._prepare(X)
        scores = self._dense_scores(ranker, x, copies=4)
        return LOG_ACTIVATIONS[ranker.model.out_activation](scores.astype(np.float64))

    def compact(self, dtype="float32"):
        """Drop what only training needs, and round the weights if asked for, to serve predictions.

        Features that no training sample had are dropped as well: their weights are still the random ones. So
        are labels that were never true: they keep their places in `classes_`, and score -inf.

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
        self._take(self._model.compact(dtype, self.n_jobs))
        return self

    def _take(self, model):
        """Make a Model the one that predicts."""
        self._model, self._ranker = model, Ranker(model)

    def _prepare(self, X, check_input=True):
        """Return the Ranker and the Rows of X, validated if asked for."""
        check_is_fitted(self)
        if check_input:
            check_samples(X)
            if hasattr(self, "feature_names_in_") or not is_clean(X, self.n_features_in_):
                form = {"accept_sparse": "csr", "dtype": np.float32, "order": "C"}
                with numbers_wanted():
                    X = validate_data(self, X, **form, reset=False)
        ranker = self._ranker
        ranker.model.require_sound()
        ranker.n_jobs = self.n_jobs
        tell_of_compilation(self.verbose)
        return ranker, ranker.model.rows(X)

    def _report(self, x):
        """Return a function that is told how many samples of Rows are done."""
        return RowProgress(self.verbose, x.n_rows).add

    def _rank(self, ranker, x, k):
        """Return the positions of the k best labels, and their scores."""
        methods = {"exact": ranker.best, "lsh": ranker.best_retrieved}
        if self.retrieval not in methods:
            raise ValueError(f"retrieval must be 'exact' or 'lsh'. Got {self.retrieval!r}.")
        return methods[self.retrieval](x, k, self._report(x))

    def _probabilities(self, ranker, x):
        """Compute the probability of every label, float64 (n_samples, n_outputs_).

        For class labels that is the softmax for each loss: where labels are true independently of each other
        with odds exp(z), the probability that just this one is true, given that one is.
        """
        return OUTPUT_ACTIVATIONS[ranker.model.out_activation](self._dense_scores(ranker, x, copies=4))

    def _dense_scores(self, ranker, x, copies=1):
        """Compute the score of every label, if that many copies of the array fit in memory."""
        require_memory(
            4 * copies * x.n_rows * ranker.n_labels,
            f"A dense result of {x.n_rows} samples x {ranker.n_labels} labels",
            "Use predict_top_k, or fewer samples at a time.",
        )
        return ranker.scores(x, self._report(x))
