"""A Model and samples -> the best labels, the likely ones, or a score for each."""

import numpy as np

from sklearn_slide._core import exact, retrieval, screening
from sklearn_slide._core.compilation import as_writable
from sklearn_slide._core.layers import Batch


class Ranker:
    """Ranks the labels of a Model, and keeps what it makes of the weights for that.

    A single sample is ranked by a small copy of the output layer, the screen; retrieval needs hash tables as
    well. Both are made when they are first asked for, and anew after the model was trained further.

    Parameters
    ----------
    model : Model
        The model that predicts.

    n_jobs : int, default=None
        The number of threads, as joblib understands it.
    """

    def __init__(self, model, n_jobs=None):
        self.model, self.n_jobs = model, n_jobs
        self._seen = self._readable = None
        self._kept = {}

    @property
    def _network(self):
        """The network of the model as kernels take it; what was made of another one is forgotten."""
        if self._seen is not self.model.network:
            self._seen, self._readable, self._kept = self.model.network, as_writable(self.model.network), {}
        return self._readable

    @property
    def n_labels(self):
        """Number of labels, those that were dropped among them."""
        return len(self.model.seen_labels)

    def best(self, x, k, report):
        """Rank every label; return positions int32 and scores float32, (n_samples, k).

        x are the samples as the model's rows() makes them; report(number of samples) is called from time to
        time, here and below. Labels that compact() has dropped come last, with scores of -inf.
        """
        batch, k_kept = self._batch(x), min(k, self._network.n_labels)
        if batch.x.n_rows == 1:
            found = screening.screened_top_k(batch, k_kept, *self._screen())
        else:
            found = exact.exact_top_k(batch, k_kept, self._lengths(), self.n_jobs, report)
        return self._of_all_labels(*found, k)

    def best_retrieved(self, x, k, report):
        """Rank, as best does, those labels that direct weights or hash tables name, or all of a few."""
        if self._network.n_labels <= retrieval.MIN_LABELS:
            return self.best(x, k, report)
        (made, unused), k_kept = self._keep("retrieval", self._make_retrieval), min(k, self._network.n_labels)
        found = retrieval.retrieved_top_k(self._batch(x), k_kept, made, unused, self.n_jobs, report)
        return self._of_all_labels(*found, k)

    def positive(self, x, report):
        """Find the labels with a positive score; return indptr, int64, and indices, int32, of CSR."""
        indptr, labels = exact.positive_labels(self._batch(x), self.n_jobs, report)
        kept = self.model.kept_labels
        return indptr, labels if kept is None else kept[labels]

    def scores(self, x, report):
        """Compute the score of every label, float32 (n_samples, n_labels), -inf for those dropped."""
        return self.model.spread_labels(exact.dense_scores(self._batch(x), self.n_jobs, report), -np.inf)

    def _of_all_labels(self, rows, scores, k):
        """Turn rows of the network into positions of labels; fill up to k with labels that have no row."""
        if not np.isfinite(scores).all():
            raise ValueError(
                "Scores are not finite: the weights have diverged, or X holds values far larger than in fit. "
                "Fit anew with a smaller learning_rate_init, or scale the rows of X by "
                "sklearn.preprocessing.normalize."
            )
        kept = self.model.kept_labels
        if kept is None:
            return rows, scores
        n_missing = k - rows.shape[1]
        dropped = np.flatnonzero(~self.model.seen_labels).astype(np.int32) if n_missing else kept[:0]
        others = np.broadcast_to(dropped[:n_missing], (len(rows), n_missing))
        nothing = np.full(others.shape, -np.inf, dtype=np.float32)
        return np.hstack([kept[rows], others]), np.hstack([scores, nothing])

    def _batch(self, x):
        """Put the samples and the network together, all of their arrays of one type to the kernels."""
        return Batch(as_writable(x), self._network)

    def forget(self):
        """Make anew what is asked for next: the weights were changed."""
        self._kept = {}

    def _keep(self, name, make):
        """Return what make() gave for the weights as they are."""
        n_passes, made = self._kept.get(name, (None, None))
        if n_passes != self.model.n_passes:
            n_passes = self.model.n_passes
            made = make()
            self._kept[name] = n_passes, made
        return made

    def _screen(self):
        """Return the screen, and a list of scratches that go with it."""
        return self._keep("screen", lambda: (screening.make_screen(self._network.output, self.n_jobs), []))

    def _lengths(self):
        return self._keep("lengths", lambda: exact.measure_lengths(self._network))

    def _make_retrieval(self):
        hasher, (screen, _) = as_writable(self.model.hasher), self._screen()
        return retrieval.make_retrieval(self._network, hasher, screen, self.n_jobs), []
