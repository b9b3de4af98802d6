"""Calibration as a classifier offers it, and the threshold of its predictions."""

from numbers import Real

from sklearn.utils.validation import check_is_fitted

from sklearn_slide._calibration import AVERAGES, LabelCalibration, calibrate


class CalibrationMixin:
    """Calibration by held-out samples, for a classifier that keeps its Model as `_model`."""

    def calibrate(self, X, y):
        """Learn from held-out samples how likely labels are, given their scores.

        `fit` does so with the samples that it sets aside. Use it where it has set none aside, after
        `partial_fit`, which keeps an earlier calibration as it is, or with samples of another source.
        Rankings stay what they are. A thousand samples or more make it reliable; a few are trusted little.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Samples that the classifier was not trained with: of those, scores are too good.
        y : array-like of shape (n_samples,) or {array-like, sparse matrix} of shape (n_samples, n_labels)
            Their true labels, as in `fit`.

        Returns
        -------
        self : object
            The classifier, calibrated in place.

        Raises
        ------
        ValueError
            If X or y is not allowed, or has labels that the classifier does not know.

        See Also
        --------
        predict_proba : Calibrated probabilities.

        Examples
        --------
        >>> from sklearn_slide import SlideClassifier
        >>> from sklearn_slide.datasets import make_xmc_classification
        >>> X, Y = make_xmc_classification(n_samples=500, n_labels=40, random_state=0)
        >>> model = SlideClassifier(random_state=0).fit(X[:400], Y[:400]).calibrate(X[400:], Y[400:])
        >>> 0 < model.threshold_ < 1
        True
        """
        check_is_fitted(self)
        (X, y, _), labels = self._check_data(X, y, None, self._model.labels)
        self._prepare(X[:1])
        return self._calibrate(X, y, labels)

    def _calibrate(self, X, y, labels=None):
        """Calibrate the model by validated samples X and y, of Labels or those of the model."""
        model, ranker = self._model, self._ranker
        ranker.n_jobs = self.n_jobs
        pattern = (labels or model.labels).encode(y)
        model.calibration = calibrate(ranker, X, pattern, lambda n_samples: None)
        return self


def threshold_of(model, threshold):
    """Return the probability that a threshold, as SlideClassifier has it, stands for with a Model."""
    if isinstance(threshold, str) and threshold in ("auto", *AVERAGES):
        if isinstance(model.calibration, LabelCalibration):
            average = AVERAGES[0] if threshold == "auto" else threshold
            return float(model.calibration.thresholds[AVERAGES.index(average)])
        if threshold == "auto":
            return 0.5
        raise ValueError(
            f"threshold={threshold!r} is learned from held-out samples, which there were not. Call "
            "calibrate(X, y) with some, fit with early_stopping=True, or give a number."
        )
    if not isinstance(threshold, Real) or not 0 < threshold < 1:
        raise ValueError(
            "threshold must be a number between 0 and 1, 'auto', 'micro_f1', 'macro_f1' or 'samples_f1'. "
            f"Got {threshold!r}. For the best labels, however likely, use predict_top_k."
        )
    return float(threshold)
