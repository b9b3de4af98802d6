"""A Model and samples -> the best labels, those above a cut, or a score for each or for chosen ones."""

import numpy as np

from sklearn_slide._choices import drop_pairs
from sklearn_slide._core import chosen, exact, retrieval, screening
from sklearn_slide._core.compilation import as_writable
from sklearn_slide._core.layers import Batch
from sklearn_slide._core.rows import Pattern
from sklearn_slide._core.screen import make_screen
from sklearn_slide._lsh import draw_hasher

# Up to so many labels left out of a sample are ranked with the others first, by any way to rank.
_FEW = 256
# So many samples are worth making the screen for them.
_MANY = 1024


class Ranker:
    """Ranks the labels of a Model, and keeps what it makes of the weights for that.

    Where labels are more than a few, a single sample is ranked by a small copy of the output layer, the
    screen, and so are many samples; retrieval needs hash tables as well. Both are made when they are first
    asked for, and anew after the model was trained further.

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
        if self.model.ridge is None:
            return self._readable
        return self._keep("network", lambda: as_writable(self.model.scored))

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
        if self._screens(batch, k_kept):
            found = screening.screened_top_k(batch, k_kept, *self._screen(), self.n_jobs, report)
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

    def rank(self, x, k, report, *, retrieve=False, left_out=None, factor=None):
        """Rank all labels but those of a LeftOut; return positions, scores, and logarithms of sums or None.

        Where fewer than k labels are left, positions are -1 and scores -inf. The third is what log_sums
        gives, if a factor is given, from the same pass. Where that is asked for, or more than a few labels
        are left out, the ranking is exact.
        """
        method = self.best_retrieved if retrieve else self.best
        if left_out is None and factor is None:
            return *method(x, k, report), None
        rows = None if left_out is None else left_out.rows
        if factor is None and rows is not None:
            most = int(np.diff(rows.indptr).max(initial=0))
            if most <= _FEW:
                found = method(x, min(k + most, self.n_labels), report)
                return *drop_pairs(*found, rows, min(k, self.n_labels)), None
        batch, pairs = self._batch(x), self._own_pairs(rows)
        k_kept = min(k, self._network.n_labels)
        if left_out is not None and left_out.labels is not None:
            batch = self._without(batch, left_out.labels)
        if factor is None and pairs is None and self._screens(batch, k_kept):
            screen, unused = self._screen()
            screen = screen._replace(biases=batch.network.output.biases.ravel())
            found = screening.screened_top_k(batch, k_kept, screen, unused, self.n_jobs, report)
            logarithms = None
        else:
            sums = None
            if factor is not None:
                sums = chosen.Exponentials.start(self._network, factor, x.n_rows)
            found = exact.exact_top_k(batch, k_kept, self._lengths(), self.n_jobs, report, pairs, sums)
            logarithms = None if sums is None else sums.logarithms()
        return *self._of_all_labels(*found, k, left_out is not None), logarithms

    def chosen(self, x, pairs, report):
        """Score the labels that a Pattern lists for each sample, (n_pairs,), -inf for those dropped."""
        kept = self.model.kept_labels
        if kept is None:
            return chosen.pair_scores(self._batch(x), pairs, self.n_jobs, report)
        known = self.model.seen_labels[pairs.indices]
        scores = np.full(len(known), -np.inf, dtype=np.float32)
        scores[known] = chosen.pair_scores(self._batch(x), self._own_pairs(pairs), self.n_jobs, report)
        return scores

    def log_sums(self, x, factor, report):
        """Compute the logarithm of the sum of exp(factor z) over all labels, float64 (n_samples,)."""
        return exact.sum_exponentials(self._batch(x), factor, self.n_jobs, report)

    def above(self, x, cuts, report):
        """Find the labels with a score above the cut of their sample, float32 (n_samples,).

        Return indptr, int64, and indices, int32, of CSR.
        """
        indptr, labels = exact.labels_above(self._batch(x), cuts, self.n_jobs, report)
        kept = self.model.kept_labels
        return indptr, labels if kept is None else kept[labels]

    def scores(self, x, report):
        """Compute the score of every label, float32 (n_samples, n_labels), -inf for those dropped."""
        return self.model.spread_labels(exact.dense_scores(self._batch(x), self.n_jobs, report), -np.inf)

    def _own_pairs(self, pairs):
        """Return a Pattern of labels as one of rows of the network, without those dropped; None for None."""
        kept = self.model.kept_labels
        if pairs is None or kept is None:
            return pairs
        known = self.model.seen_labels[pairs.indices]
        indptr = np.concatenate([[0], np.cumsum(known)])[pairs.indptr]
        return Pattern(indptr, np.searchsorted(kept, pairs.indices[known]).astype(np.int32))

    def _without(self, batch, labels):
        """Return a Batch in which labels, bool (n_labels,), have biases of -inf."""
        output, kept = batch.network.output, self.model.kept_labels
        gone = labels if kept is None else labels[kept]
        biases = np.where(gone[:, np.newaxis], np.float32(-np.inf), output.biases)
        return batch._replace(network=batch.network._replace(output=output._replace(biases=biases)))

    def _of_all_labels(self, rows, scores, k, left_out=False):
        """Turn rows of the network into positions of labels; fill up to k with labels that have no row.

        If labels are left out of the ranking, -1 takes the place of a label with a score of -inf.
        """
        if not (np.isfinite(scores) | (left_out & (scores == -np.inf))).all():
            raise ValueError(
                "Scores are not finite: the weights have diverged, or X holds values far larger than in fit. "
                "Fit anew with a smaller learning_rate_init, or scale the rows of X by "
                "sklearn.preprocessing.normalize."
            )
        kept = self.model.kept_labels
        if left_out:
            positions = rows if kept is None else kept[rows]
            positions = np.where(scores == -np.inf, np.int32(-1), positions)
            missing = ((0, 0), (0, k - positions.shape[1]))
            return (
                np.pad(positions, missing, constant_values=-1),
                np.pad(scores, missing, constant_values=-np.inf),
            )
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

    def _has(self, name):
        """Tell whether _keep would return what it has."""
        return self._kept.get(name, (None, None))[0] == self.model.n_passes

    def _keep(self, name, make):
        """Return what make() gave for the weights as they are."""
        n_passes, made = self._kept.get(name, (None, None))
        if n_passes != self.model.n_passes:
            n_passes = self.model.n_passes
            made = make()
            self._kept[name] = n_passes, made
        return made

    def _screens(self, batch, k):
        """Tell whether the screen finds the best k of the batch sooner than products of all weights.

        To make it takes the time of some hundred samples, and of some networks it tells too little.
        """
        n_rows, n_labels = batch.x.n_rows, self._network.n_labels
        if n_labels <= retrieval.MIN_LABELS:
            return False
        if n_rows == 1:
            return True
        if k > n_labels // 10:
            return False
        enough = screening.N_TRIED if self._has("screen") else _MANY
        if n_rows < enough and not self._has(("screens", k)):
            return False
        return self._keep(("screens", k), lambda: screening.saves_time(batch, k, self._screen()[0]))

    def _screen(self):
        """Return the screen, and a list of scratches that go with it."""
        return self._keep("screen", lambda: (make_screen(self._network, self._lengths(), self.n_jobs), []))

    def _lengths(self):
        return self._keep("lengths", lambda: exact.measure_lengths(self._network))

    def _make_retrieval(self):
        model, network, (screen, _) = self.model, self._network, self._screen()
        hasher = model.hasher
        if model.ridge is not None:  # it hashes vectors of the network alone
            hasher = draw_hasher(model.settings.lsh, network.n_units, network.n_labels, model.seed)
        return retrieval.make_retrieval(network, as_writable(hasher), screen, self.n_jobs), []
