"""A Model and samples -> the best labels, the likely ones, or a score for each."""

from sklearn_slide._core import exact, retrieval, screening
from sklearn_slide._core.compilation import as_writable


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
        self._kept = {}

    def best(self, batch, k, report):
        """Rank every label; return positions int32 and scores float32, (n_samples, k).

        batch is the model's Batch of the samples; report(number of samples) is called from time to time, here
        and below.
        """
        batch = as_writable(batch)
        if batch.x.n_rows == 1:
            return screening.screened_top_k(batch, k, self._screen())
        return exact.exact_top_k(batch, k, self.n_jobs, report)

    def best_retrieved(self, batch, k, report):
        """Rank those labels that direct weights or the hash tables name; return as best does."""
        made, unused = self._keep("retrieval", self._make_retrieval)
        return retrieval.retrieved_top_k(as_writable(batch), k, made, unused, self.n_jobs, report)

    def positive(self, batch, report):
        """Find the labels with a positive score; return indptr, int64, and indices, int32, of CSR."""
        return exact.positive_labels(as_writable(batch), self.n_jobs, report)

    def scores(self, batch, report):
        """Compute the score of every label, float32 (n_samples, n_labels)."""
        return exact.dense_scores(as_writable(batch), self.n_jobs, report)

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
        output = as_writable(self.model.network.output)
        return self._keep("screen", lambda: screening.make_screen(output, self.n_jobs))

    def _make_retrieval(self):
        network, hasher = as_writable((self.model.network, self.model.hasher))
        return retrieval.make_retrieval(network, hasher, self._screen(), self.n_jobs), []
