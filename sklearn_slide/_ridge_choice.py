"""Held-out samples -> which ridge regression stands beside a network, and how much it says."""

from dataclasses import replace
from itertools import product

import numpy as np
import scipy.sparse as sp

from sklearn_slide._core import chosen, exact
from sklearn_slide._core.compilation import as_writable
from sklearn_slide._core.layers import Batch, Identity, Layer, Network
from sklearn_slide._core.rows import Pattern, Rows
from sklearn_slide._early_stopping import FIRST
from sklearn_slide._memory import physical_memory
from sklearn_slide._ridge import fit_ridge, ridge_bytes

# What is tried: penalties by the mean square norm of a sample, tails by the last squared singular value, and
# powers and shares, in the coarsest steps that lose less than samples can tell.
_PENALTIES, _TAILS, _POWERS = (0.25, 1.0, 4.0, 16.0, 64.0), (0.0, 0.5), (0.0, 0.25, 0.5, 0.85)
_SHARES = 2.0 ** np.arange(-3, 8)
# So many labels of a sample are ranked again for each choice: the best ones by the network and two ridges.
_N_CANDIDATES = 50
# About so many scores are computed to find them, for samples as they come.
_MOST_SCORES = 100_000_000
# What it must bring: precision.
_WORTH = 0.005
# The share of the machine's memory that it may take.
_MEMORY_SHARE = 0.1


class Judge:
    """Tells the precision of rankings of held-out Samples, by scores of a few labels of each."""

    def __init__(self, samples, networks, first, n_jobs):
        self.n_jobs, self._first = n_jobs, first
        self.x, y = as_writable(samples.x), samples.y
        n_labels = networks[0].n_labels
        labels = np.hstack([self._best(network, min(_N_CANDIDATES, n_labels)) for network in networks])
        ranked = Pattern(
            np.arange(len(labels) + 1, dtype=np.int64) * labels.shape[1], labels.astype(np.int32).ravel()
        )
        pairs = _indicator(ranked, n_labels)
        pairs.sum_duplicates()
        self.pairs = Pattern(pairs.indptr.astype(np.int64), pairs.indices.astype(np.int32))
        self._rows = np.repeat(np.arange(len(labels)), np.diff(pairs.indptr))
        self._true = np.asarray(_indicator(y, n_labels)[self._rows, pairs.indices]).ravel() > 0
        self._ranks = np.arange(len(self._rows)) - self.pairs.indptr[self._rows]

    def _best(self, network, k):
        """Return the best k labels of each sample by a Network."""
        network = as_writable(network)
        lengths = exact.measure_lengths(network)
        return exact.exact_top_k(Batch(self.x, network), k, lengths, self.n_jobs, _no_report)[0]

    def scores(self, network):
        """Compute the scores of the candidates by a Network, float32 (n_pairs,)."""
        return chosen.pair_scores(Batch(self.x, as_writable(network)), self.pairs, self.n_jobs, _no_report)

    def ridge_scores(self, ridge, factors):
        """Compute the scores of the candidates by a Ridge for several factors, (n_factors, n_pairs)."""
        indptr, labels = self.pairs
        nothing = [Layer(np.zeros((n, 1), np.float32), np.zeros((n, 1), np.float32)) for n in ridge.shape]
        direct = self.scores(Network(nothing[0], None, nothing[1], ridge.direct, Identity()))
        scores = np.multiply.outer(np.array([beyond for beyond, _ in factors], np.float32), direct)
        x = sp.csr_array(self.x[::-1], shape=(self.x.n_rows, ridge.shape[0]))
        rows = np.stack([ridge.hidden_rows(*each) for each in factors])
        crowded = np.flatnonzero(ridge.crowded)
        of_all, of_crowded = x @ ridge.axes, x[:, crowded] @ ridge.axes[crowded]
        for i in range(self.x.n_rows):
            own = slice(indptr[i], indptr[i + 1])
            vectors = rows[:, 0] * of_all[i] + (rows[:, 1] - rows[:, 0]) * of_crowded[i]
            scores[:, own] += vectors @ ridge.sums[labels[own]].T
        return scores

    def precision(self, scores):
        """Return the precision of each sample, float64, if candidates are ranked by these scores."""
        true = self._true[np.lexsort((-scores, self._rows))]
        worth = sum((self._ranks < k) / k for k in self._first) / len(self._first)
        return np.bincount(self._rows, true * worth, minlength=self.x.n_rows)


def can_have_ridge(network):
    """Tell whether ridge regression can stand beside a Network: one hidden layer, of the identity."""
    return len(network.hidden) == 1 and isinstance(network.activation, Identity)


def choose_ridge(model, blocks, held_out, n_axes, n_jobs):
    """Return a Ridge of blocks of Samples, the share of its scores to add to those of a Model, and the gain.

    The Model was made of the Samples. The Ridge, of n_axes axes at most, and the share are those that rank
    held-out Samples best, by precision. None is returned where they bring less than the held-out samples can
    tell, or than it is worth, or take too much memory.
    """
    network, first = model.network, FIRST if model.labels.multilabel else (1,)
    if ridge_bytes(blocks, model.n_features, network.n_labels, n_axes) > _MEMORY_SHARE * physical_memory():
        return None
    held_out = _first_samples(held_out, int(_MOST_SCORES / network.n_labels))
    unit = model.training.lengths.mean_square
    ridge = fit_ridge(blocks, model.n_features, network.n_labels, n_axes, model.seed, n_jobs)
    extremes = [
        replace(ridge, penalty=penalty * unit, power=power).network(network.activation)
        for penalty, power in ((_PENALTIES[0], _POWERS[0]), (_PENALTIES[-2], _POWERS[-1]))
    ]
    judge = Judge(held_out, [network, *extremes], first, n_jobs)
    ridge = choose_weights(ridge, judge, unit)
    share, gain = choose_share(ridge, judge, network)
    return (ridge, share, gain) if gain > _WORTH else None


def choose_weights(ridge, judge, unit):
    """Return the Ridge with the penalty, tail and power of the best precision."""
    tried = [
        replace(ridge, penalty=penalty * unit, tail=tail * ridge.squares[-1])
        for penalty, tail in product(_PENALTIES, _TAILS)
    ]
    factors = [each.factors() for each in tried]
    lengths = ridge.lengths(factors)[judge.pairs.indices]
    best, most = ridge, -1.0
    for each, scores, length in zip(tried, judge.ridge_scores(ridge, factors), lengths.T, strict=True):
        for power in _POWERS:
            precision = judge.precision(scores * length**-power).mean()
            if precision > most:
                best, most = replace(each, power=power), precision
    return best


def choose_share(ridge, judge, network):
    """Return the share of a Ridge of the best precision beside a Network, and the gain, or 0 for both."""
    own, its = judge.scores(network), judge.scores(ridge.network(network.activation))
    alone, unit = judge.precision(own), own.std() / max(its.std(), 1e-30)
    best, best_gains = 0.0, np.zeros(len(alone))
    for share in _SHARES * unit:
        gains = judge.precision(own + share * its) - alone
        if gains.mean() > best_gains.mean():
            best, best_gains = float(share), gains
    gain, error = best_gains.mean(), best_gains.std() / np.sqrt(len(best_gains))
    return (best, gain) if gain > error else (0.0, 0.0)


def _indicator(pattern, n_labels):
    """Return a Pattern of labels as a CSR array of ones (n_samples, n_labels)."""
    indptr, indices = pattern
    ones = np.ones(len(indices), dtype=np.float32)
    return sp.csr_array((ones, indices.copy(), indptr.copy()), shape=(len(indptr) - 1, n_labels))


def _first_samples(samples, n):
    """Return the first n of Samples, one at least, without weights."""
    x, y = samples.x, samples.y
    n = max(1, min(n, x.n_rows))
    kept, true = slice(x.indptr[n]), slice(y.indptr[n])
    x = Rows(x.indptr[: n + 1], x.indices[kept], x.data[kept])
    return samples._replace(x=x, y=Pattern(y.indptr[: n + 1], y.indices[true]))


def _no_report(n_samples):
    """Tell nobody."""
