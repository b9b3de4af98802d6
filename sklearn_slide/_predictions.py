"""What a fitted classifier answers: the predict family, and smaller copies of it."""

from numbers import Integral, Real

import numpy as np
import scipy.sparse as sp
from sklearn.utils.validation import check_is_fitted, validate_data

from sklearn_slide._answers import Answers
from sklearn_slide._calibrating import threshold_of
from sklearn_slide._choices import chosen_pairs, labels_left_out
from sklearn_slide._core.compilation import tell_of_compilation
from sklearn_slide._input_forms import check_samples, numbers_wanted
from sklearn_slide._memory import require_memory
from sklearn_slide._model import DTYPES
from sklearn_slide._progress import RowProgress
from sklearn_slide._ranker import Ranker
from sklearn_slide._samples import is_clean
from sklearn_slide._sparse import as_configured, check_indices


class PredictionMixin:
    """The predict family of a classifier that has `_model` and `_ranker`.

    Predictions read `_ranker` once: what they take belongs together, even if another thread trains the
    classifier and puts a model of more labels in place.
    """

    def predict_top_k(
        self,
        X,
        k=5,
        *,
        scores="logit",
        min_probability=0.0,
        exclude=None,
        sparse_output=False,
        check_input=True,
    ):
        """Find the k labels with the highest scores for each sample.

        No array of all samples and labels is made. With more than 2,000 labels, the first call for a sample,
        or for 1,024 and more, makes a small copy of the output layer, of 250 bytes a label at most; with
        ``retrieval="lsh"`` the first call makes hash tables too. So let one call warm up a service.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            The input data.
        k : int, default=5
            The number of labels; of fewer than k labels, all are returned.
        scores : {'logit', 'probability'}, default='logit'
            The scores to return: outputs before the output activation, or those of `predict_proba`. For
            probabilities of a softmax every label is scored, whatever `retrieval` is.
        min_probability : float, default=0.0
            Labels that are less likely are left out; needs ``scores="probability"``.
        exclude : array-like of bool of shape (n_outputs_,), or {array-like, sparse matrix} of shape \
                (n_samples, n_outputs_), default=None
            Labels that are not to be ranked: a mask for all samples, or an indicator of some labels of each.
            The probabilities of the others stay what they are. With a mask, or more than 256 of a sample,
            every label is scored, whatever `retrieval` is.
        sparse_output : bool, default=False
            Whether to return the scores alone, as CSR with a column for each of `classes_`.
        check_input : bool, default=True
            False leaves out the checks of X, which take longer than the ranking of a single sample among some
            thousand labels. X must then be CSR of float32 with `n_features_in_` columns, sorted indices, no
            duplicates and only finite values; anything else may crash the process.

        Returns
        -------
        labels : ndarray of shape (n_samples, min(k, n_outputs_))
            Class labels, or column numbers of a multi-label y, best first; of equal scores the one that
            comes first in `classes_`. Where labels are left out and fewer than k are left, the last places
            hold -1, or for texts an empty one, and their scores are -inf, or 0 as probabilities.
        scores : ndarray of shape (n_samples, min(k, n_outputs_))
            Their scores, float32, or probabilities, float64. For a multi-label y the scores are the values of
            `decision_function`. With `sparse_output`, the CSR is all that is returned.

        Raises
        ------
        ValueError
            If X or another argument is not allowed.

        See Also
        --------
        predict : Labels that are likely enough.
        sklearn_slide.metrics.predict_top_k : The same of a Pipeline or a search.

        Examples
        --------
        >>> from sklearn.datasets import load_digits
        >>> from sklearn_slide import SlideClassifier
        >>> X, y = load_digits(return_X_y=True)
        >>> model = SlideClassifier(random_state=0).fit(X, y)
        >>> labels, scores = model.predict_top_k(X[:4], k=3)
        >>> labels.shape, scores.shape
        ((4, 3), (4, 3))
        >>> odd = model.classes_ % 2 == 1
        >>> model.predict_top_k(X[:4], k=3, scores="probability", exclude=odd, sparse_output=True).shape
        (4, 10)
        """
        answers = self._answers(X, check_input)
        probable = _check_top(k, scores, min_probability)
        labels, n_labels = answers.ranker.model.labels, answers.ranker.n_labels
        left_out = labels_left_out(exclude, answers.x.n_rows, n_labels)
        positions, found = answers.top(int(k), left_out, probable)
        if min_probability > 0:
            low = found < min_probability
            positions, found = np.where(low, np.int32(-1), positions), np.where(low, 0.0, found)
        if sparse_output:
            return _as_sparse(positions, found, n_labels)
        return labels.decode(positions), found

    def predict(self, X, *, threshold=None, min_labels=0):
        """Predict class labels, or for a multi-label y the labels that are likely enough.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            The input data.
        threshold : float or {'auto', 'micro_f1', 'macro_f1', 'samples_f1'}, default=None
            The probability above which a label is predicted, in place of the parameter `threshold`. Only for
            a multi-label y.
        min_labels : int, default=0
            The number of best labels that are predicted for each sample, however likely they are. Only for a
            multi-label y.

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_outputs_), or sparse matrix
            The predicted classes. A multi-label prediction has the type of value that y had in `fit`,
            and is sparse (CSR) if y was.

        Raises
        ------
        ValueError
            If an argument is not allowed, or `threshold` names an F1 and the classifier is not calibrated.

        See Also
        --------
        predict_top_k : The best labels, however likely they are.
        calibrate : Learn probabilities and the thresholds of the best F1.

        Examples
        --------
        >>> from sklearn_slide import SlideClassifier
        >>> from sklearn_slide.datasets import make_xmc_classification
        >>> X, Y = make_xmc_classification(n_samples=300, n_labels=40, random_state=0)
        >>> model = SlideClassifier(random_state=0).fit(X, Y)
        >>> model.predict(X).shape
        (300, 40)
        >>> bool((model.predict(X, min_labels=1).sum(axis=1) >= 1).all())
        True
        """
        answers = self._answers(X)
        model = answers.ranker.model
        if not isinstance(min_labels, Integral) or min_labels < 0:
            raise ValueError(f"min_labels must be an int of at least 0. Got {min_labels!r}.")
        if model.labels.multilabel:
            threshold = threshold_of(model, self.threshold if threshold is None else threshold)
            return model.labels.indicator(answers.likely(threshold, int(min_labels)))
        if threshold is not None or min_labels:
            raise ValueError(
                "threshold and min_labels are for a multi-label y: of class labels the best is predicted. "
                f"Got threshold={threshold!r} and min_labels={min_labels!r}. Use predict_top_k with "
                "scores='probability' and min_probability."
            )
        return model.labels.decode(answers.top(1)[0][:, 0])

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

    def decision_function(self, X, labels=None):
        """Compute the outputs before the output activation.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            The input data.
        labels : array-like of shape (m,) or (n_samples, m), or sparse matrix of shape \
                (n_samples, n_outputs_), default=None
            The labels to score: of `classes_`, the same for all samples or some of each; or those where an
            indicator has entries. It takes the time of these labels. None is all of them.

        Returns
        -------
        scores : ndarray of shape (n_samples, n_outputs_), or (n_samples,)
            A score for each label, float32; for two classes the second one's less the first one's. With
            `labels`, (n_samples, m), of two classes as well, or CSR with the entries of the indicator.

        Raises
        ------
        ValueError
            If X or labels are not allowed.
        MemoryError
            If the array would not fit in this machine's memory; use `predict_top_k`.

        See Also
        --------
        predict_top_k : The best labels and their scores, however many there are.

        Examples
        --------
        >>> from sklearn.datasets import load_digits
        >>> from sklearn_slide import SlideClassifier
        >>> X, y = load_digits(return_X_y=True)
        >>> SlideClassifier(random_state=0).fit(X, y).decision_function(X).shape
        (1797, 10)
        >>> SlideClassifier(random_state=0).fit(X, y).decision_function(X, labels=[3, 7]).shape
        (1797, 2)
        """
        answers = self._answers(X)
        ranker, x = answers.ranker, answers.x
        if labels is not None:
            pairs, result = chosen_pairs(labels, ranker.model.labels, x.n_rows)
            return result(ranker.chosen(x, pairs, answers.report))
        scores = self._dense_scores(answers)
        if not ranker.model.labels.multilabel and ranker.n_labels == 2:
            return scores[:, 1] - scores[:, 0]
        return scores

    def predict_proba(self, X, labels=None):
        """Estimate the probability of each label.

        Calibrated, by the samples that `fit` has set aside or by `calibrate`, they come true about as often
        as they say. Else they are for ranking alone: labels were trained against a sample of negatives.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            The input data.
        labels : array-like or sparse matrix, default=None
            The labels, as in `decision_function`. A softmax and a calibration need the others of a sample as
            well, but no array of them. None is all labels.

        Returns
        -------
        probabilities : ndarray of shape (n_samples, n_outputs_) or (n_samples, m), or sparse matrix
            The probability of each label, float64. Those of class labels sum to 1; those of a multi-label y
            stand each for itself, but for the softmax loss without calibration.

        Raises
        ------
        ValueError
            If X or labels are not allowed.
        MemoryError
            If the array would not fit in this machine's memory; use `predict_top_k`.

        See Also
        --------
        calibrate : Make probabilities come true.

        Examples
        --------
        >>> from sklearn.datasets import load_digits
        >>> from sklearn_slide import SlideClassifier
        >>> X, y = load_digits(return_X_y=True)
        >>> SlideClassifier(random_state=0).fit(X, y).predict_proba(X).shape
        (1797, 10)
        """
        return self._probabilities(X, labels, logarithm=False)

    def predict_log_proba(self, X, labels=None):
        """Compute the logarithm of `predict_proba`.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            The input data.
        labels : array-like or sparse matrix, default=None
            The labels, as in `predict_proba`.

        Returns
        -------
        log_probabilities : ndarray of shape (n_samples, n_outputs_) or (n_samples, m), or sparse matrix
            The logarithm of the probability of each label.

        Raises
        ------
        ValueError
            If X or labels are not allowed.
        MemoryError
            If the array would not fit in this machine's memory; use `predict_top_k`.

        See Also
        --------
        predict_proba : The probabilities themselves.

        Examples
        --------
        >>> from sklearn.datasets import load_digits
        >>> from sklearn_slide import SlideClassifier
        >>> X, y = load_digits(return_X_y=True)
        >>> bool((SlideClassifier(random_state=0).fit(X, y).predict_log_proba(X) <= 0).all())
        True
        """
        return self._probabilities(X, labels, logarithm=True)

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

        See Also
        --------
        estimate_memory : What a fit takes.

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

    def _answers(self, X, check_input=True):
        """Return the Answers for X, validated if asked for."""
        ranker, x = self._prepare(X, check_input)
        if self.retrieval not in ("exact", "lsh"):
            raise ValueError(f"retrieval must be 'exact' or 'lsh'. Got {self.retrieval!r}.")
        return Answers(ranker, x, self._report(x), retrieve=self.retrieval == "lsh")

    def _probabilities(self, X, chosen, logarithm):
        """Compute the probabilities of labels chosen as for predict_proba, or their logarithms.

        For class labels that is the softmax for each loss: where labels are true independently of each other
        with odds exp(z), the probability that just this one is true, given that one is.
        """
        answers = self._answers(X)
        if chosen is None:
            return answers.of_all(self._dense_scores(answers, copies=4), logarithm)
        pairs, result = chosen_pairs(chosen, answers.ranker.model.labels, answers.x.n_rows)
        return result(answers.of_pairs(pairs, logarithm))

    def _dense_scores(self, answers, copies=1):
        """Compute the score of every label, if that many copies of the array fit in memory."""
        n_samples, n_labels = answers.x.n_rows, answers.ranker.n_labels
        require_memory(
            4 * copies * n_samples * n_labels,
            f"A dense result of {n_samples} samples x {n_labels} labels",
            "Use predict_top_k, or fewer samples or some labels at a time.",
        )
        return answers.ranker.scores(answers.x, answers.report)


def _check_top(k, scores, min_probability):
    """Tell whether predict_top_k is asked for probabilities; raise ValueError if an argument cannot be."""
    if not isinstance(k, Integral) or k < 1:
        raise ValueError(f"k must be an int of at least 1. Got {k!r}.")
    if scores not in ("logit", "probability"):
        raise ValueError(f"scores must be 'logit' or 'probability'. Got {scores!r}.")
    if not isinstance(min_probability, Real) or not 0 <= min_probability <= 1:
        raise ValueError(f"min_probability must be a number from 0 to 1. Got {min_probability!r}.")
    if min_probability > 0 and scores != "probability":
        raise ValueError(
            f"min_probability={min_probability!r} needs probabilities. Got scores={scores!r}. Give "
            "scores='probability'."
        )
    return scores == "probability"


def _as_sparse(positions, scores, n_labels):
    """Turn rankings, positions int32 and scores (n_samples, k), into CSR; -1 and -inf are no labels."""
    kept = (positions >= 0) & (scores > -np.inf)
    indptr = np.concatenate([[0], np.cumsum(kept.sum(axis=1))])
    found = sp.csr_array((scores[kept], positions[kept], indptr), shape=(len(positions), n_labels))
    found.sort_indices()
    return as_configured(found)
