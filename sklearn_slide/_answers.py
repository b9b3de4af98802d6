"""What one call of a prediction asks: scores, or probabilities as the Model has them calibrated."""

import numpy as np
import scipy.sparse as sp
from scipy.special import log_expit, logit, logsumexp

from sklearn_slide._calibration import ClassCalibration, LabelCalibration, ranks_among
from sklearn_slide._core.losses import logistic_probabilities
from sklearn_slide._core.rows import Pattern
from sklearn_slide._samples import as_rows


class Answers:
    """The answers of a Ranker for Rows x; report(number of samples) is called from time to time."""

    def __init__(self, ranker, x, report, retrieve=False):
        self.ranker, self.x, self.report, self.retrieve = ranker, x, report, retrieve
        self.calibration = ranker.model.calibration
        self._by_rank, self._of_classes = (
            isinstance(self.calibration, kind) for kind in (LabelCalibration, ClassCalibration)
        )
        # probabilities of a softmax need a sum over all labels, with the scores times this
        self._factor = None
        if ranker.model.out_activation == "softmax":
            self._factor = self.calibration.factor if self._of_classes else 1.0

    def top(self, k, left_out=None, probable=False):
        """Rank all labels but those of a LeftOut; return positions, and scores or probabilities.

        Places without a label hold -1, and -inf or 0.
        """
        k, factor = min(k, self.ranker.n_labels), self._factor if probable else None
        # what classes have in common needs the scores of the best ones
        n = max(k, self._n_ranked) if probable and self._of_classes and left_out is None else k
        positions, scores, sums = self.ranker.rank(
            self.x, n, self.report, retrieve=self.retrieve, left_out=left_out, factor=factor
        )
        if not probable:
            return positions, scores
        about = ranks = None
        if self.calibration is not None:
            # labels that are left out keep their ranks
            best = scores[:, : self._n_ranked] if left_out is None else self._best()
            ranks = ranks_among(best, scores[:, :k])
            about = [values[:, np.newaxis] for values in self._about(best)]
        sums = None if sums is None else sums[:, np.newaxis]
        return positions[:, :k], self._convert(scores[:, :k], sums, about, ranks)

    def of_pairs(self, pairs, logarithm=False):
        """Compute the probabilities, or their logarithms, of labels that a Pattern lists: (n_pairs,)."""
        scores = self.ranker.chosen(self.x, pairs, self.report)
        rows = np.repeat(np.arange(self.x.n_rows), np.diff(pairs.indptr))
        sums = about = ranks = None
        if self._factor is not None:
            sums = self.ranker.log_sums(self.x, self._factor, self.report)[rows]
        if self.calibration is not None:
            best = self._best()
            parts = zip(best, np.split(scores, pairs.indptr[1:-1]), strict=True)
            ranks = np.concatenate([ranks_among(own[np.newaxis], part[np.newaxis])[0] for own, part in parts])
            about = [values[rows] for values in self._about(best)]
        return self._convert(scores, sums, about, ranks, logarithm)

    def of_all(self, scores, logarithm=False):
        """Turn scores of every label, (n_samples, n_labels), into probabilities or their logarithms."""
        sums = about = ranks = None
        if self._factor is not None:
            sums = logsumexp(self._factor * scores.astype(np.float64), axis=1, keepdims=True)
        if self.calibration is not None:
            n = self._n_ranked
            best = -np.sort(-np.partition(scores, -n, axis=1)[:, -n:], axis=1)
            ranks = ranks_among(best, scores)
            about = [values[:, np.newaxis] for values in self._about(best)]
        return self._convert(scores, sums, about, ranks, logarithm)

    def likely(self, threshold, min_labels=0):
        """Return a Pattern of the labels with a probability above a threshold, and of the best min_labels."""
        if self._by_rank:
            found = self._likely_by_rank(threshold)
        else:
            cuts = np.full(self.x.n_rows, logit(threshold))
            if self._factor is not None:
                cuts = np.log(threshold) + self.ranker.log_sums(self.x, self._factor, self.report)
            found = self.ranker.above(self.x, cuts.astype(np.float32), self.report)
        if min_labels:
            best, scores = self.ranker.best(self.x, min(min_labels, self.ranker.n_labels), self.report)
            found = _pattern(*_pairs(best, scores > -np.inf), found, self.x.n_rows, self.ranker.n_labels)
        return Pattern(*found)

    def _likely_by_rank(self, threshold):
        """Find the labels with a calibrated probability above a threshold: indptr and indices of CSR.

        Most samples have few, and these are among the ranked ones; of the others all labels are looked at.
        """
        n_labels = self.ranker.n_labels
        k = self._n_ranked
        positions, scores, sums = self.ranker.rank(self.x, k, self.report, factor=self._factor)
        sums = np.zeros((len(scores), 1)) if sums is None else sums[:, np.newaxis]
        p = self._convert(scores, sums, [scores[:, :1]], ranks_among(scores, scores))
        likely = p > threshold
        many = np.flatnonzero(likely[:, -1]) if k < n_labels else np.zeros(0, dtype=np.int64)
        rest = np.zeros(self.x.n_rows + 1, dtype=np.int64), np.zeros(0, dtype=np.int32)
        if len(many):
            cuts = self.calibration.cuts(logit(threshold), (scores[:, :1] - sums)[many, 0]) + sums[many, 0]
            some = as_rows(_matrix(self.x)[many])
            indptr, indices = self.ranker.above(some, cuts.astype(np.float32), self.report)
            counts = np.zeros(self.x.n_rows, dtype=np.int64)
            counts[many] = np.diff(indptr)
            rest = np.concatenate([[0], np.cumsum(counts)]), indices
        return _pattern(*_pairs(positions, likely), rest, self.x.n_rows, n_labels)

    @property
    def _n_ranked(self):
        """The number of labels whose ranks the calibration tells apart."""
        return min(self.calibration.n_ranked, self.ranker.n_labels)

    def _best(self):
        """Return the scores of the labels whose ranks are told apart, best first."""
        return self.ranker.best(self.x, self._n_ranked, self.report)[1]

    def _about(self, best):
        """Return what the calibration makes of the best scores of samples, arrays (n_samples,)."""
        return self.calibration.about(best, self.ranker.n_labels)

    def _convert(self, scores, sums, about, ranks, logarithm=False):
        """Turn scores into probabilities, or logarithms, float64; sums, about and ranks go with them."""
        scores = scores.astype(np.float64)
        if self._factor is not None and not self._by_rank:
            if self._of_classes:
                logs = self.calibration.logarithms(scores, sums, ranks, *about)
            else:
                logs = np.minimum(scores - sums, 0)  # two sums of the scores may round apart
            return logs if logarithm else np.exp(logs)
        if self._by_rank:
            sums = 0.0 if sums is None else sums
            scores = self.calibration.log_odds(scores - sums, about[0] - sums, ranks)
        return log_expit(scores) if logarithm else logistic_probabilities(scores)


def _matrix(x):
    """Return Rows as a CSR array."""
    return sp.csr_array((x.data, x.indices, x.indptr), (x.n_rows, x.indices.max(initial=0) + 1))


def _pairs(positions, kept):
    """Return the rows and the values of those places of positions, (n_samples, m), that are kept."""
    return np.nonzero(kept)[0], positions[kept]


def _pattern(rows, columns, found, n_rows, n_columns):
    """Return indptr and indices of CSR with pairs of rows and columns, and those of another one."""
    indptr, indices = found
    keys = np.concatenate([rows, np.repeat(np.arange(n_rows), np.diff(indptr))]) * np.int64(n_columns)
    keys = np.unique(keys + np.concatenate([columns, indices]))
    counts = np.bincount(keys // n_columns, minlength=n_rows)
    return np.concatenate([[0], np.cumsum(counts)]), (keys % n_columns).astype(np.int32)
