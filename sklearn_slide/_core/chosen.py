"""Labels that a user chooses: scores of given ones, others that are left out, and sums over all of them."""

from typing import NamedTuple

import numpy as np

from sklearn_slide._core.best import CHUNK, holds_more
from sklearn_slide._core.compilation import as_writable, inner, njit
from sklearn_slide._core.direct import first_at_least
from sklearn_slide._core.layers import forward
from sklearn_slide._core.matrices import stored
from sklearn_slide._core.parallel import rows_of_round, run_in_rounds
from sklearn_slide._core.rows import Pattern
from sklearn_slide._core.screening import score_label

# An exponential that is smaller than the largest by exp(-40) changes no sum of float64.
_NEGLIGIBLE = np.float32(40.0)


@njit
def score_pairs(batch, start, stop, pairs, hidden, scores):
    """Score the labels that a Pattern lists for the samples start to stop of the Batch.

    scores float32 (n_pairs,), in the order of the pairs; hidden float32 scratch of forward.
    """
    n_units = stored(batch.network.output.weights).shape[1]
    for i in range(start, stop):
        forward(batch, i, hidden)
        for p in range(pairs.indptr[i], pairs.indptr[i + 1]):
            scores[p] = score_label(batch, i, hidden[-1, :n_units], np.int64(pairs.indices[p]))


def pair_scores(batch, pairs, n_jobs, report):
    """Score the labels that a Pattern lists for each sample of a Batch; return float32 (n_pairs,)."""
    x, network, pairs = *batch, as_writable(pairs)
    scores = np.empty(len(pairs.indices), dtype=np.float32)

    def part(start, stop):
        hidden = np.empty(network.hidden_shape, dtype=np.float32)
        score_pairs(batch, start, stop, pairs, hidden, scores)

    rows = rows_of_round(network.n_units * max(len(scores) / max(x.n_rows, 1), 1))
    run_in_rounds(part, x.n_rows, rows, n_jobs, report)
    return scores


def no_pairs(n_samples):
    """Return the Pattern of samples without labels."""
    return Pattern(np.zeros(n_samples + 1, dtype=np.int64), np.zeros(0, dtype=np.int32))


@inner
def holds_pair(pairs, i, y):
    """Tell whether a Pattern, sorted, lists label y for sample i."""
    stop = pairs.indptr[i + 1]
    p = first_at_least(pairs.indices, pairs.indptr[i], stop, y)
    return p < stop and pairs.indices[p] == y


@njit
def leave_out(left_out, first_row, first_label, logits):
    """Set those of a block of logits, float32 (n_rows, n_block), to -inf that a Pattern, sorted, lists.

    The block has the samples from first_row on and the labels from first_label on.
    """
    for i in range(logits.shape[0]):
        start, stop = left_out.indptr[first_row + i], left_out.indptr[first_row + i + 1]
        start = first_at_least(left_out.indices, start, stop, first_label)
        stop = first_at_least(left_out.indices, start, stop, first_label + logits.shape[1])
        for p in range(start, stop):
            logits[i, left_out.indices[p] - first_label] = -np.inf


class Exponentials(NamedTuple):
    """Sums of exp(factor z) over the labels of each sample: totals * exp(tops)."""

    biases: np.ndarray  # float32 (n_labels,), of all labels, those that a ranking leaves out among them
    factor: np.float32
    tops: np.ndarray  # float32 (n_samples,)
    totals: np.ndarray  # float64 (n_samples,)

    @classmethod
    def start(cls, network, factor, n_samples):
        """Return the sums over no labels of a network."""
        tops = np.full(n_samples, -np.inf, dtype=np.float32)
        return cls(network.output.biases.ravel(), np.float32(factor), tops, np.zeros(n_samples))

    def logarithms(self):
        """Return the logarithms of the sums, float64 (n_samples,)."""
        return self.tops + np.log(self.totals)


@njit
def add_exponentials(sums, first_row, first_label, logits):
    """Add the biases to a block of logits, float32 (n_rows, n_block), in place, and its part to the sums.

    The block has the samples from first_row on and the labels from first_label on.
    """
    n_block, zero = logits.shape[1], np.float32(0.0)
    for i in range(logits.shape[0]):
        row, top = logits[i], np.float32(-np.inf)
        for b in range(n_block):
            row[b] += sums.biases[first_label + b]
            top = max(top, row[b])
        before = sums.tops[first_row + i]
        top = max(before, sums.factor * top)
        total = sums.totals[first_row + i] * np.exp(before - top)
        least = (top - _NEGLIGIBLE) / sums.factor
        for start in range(0, n_block, CHUNK):
            stop = min(start + CHUNK, n_block)
            if holds_more(row, start, stop, least):
                part = zero
                for b in range(start, stop):
                    part += np.exp(sums.factor * row[b] - top)
                total += part
        sums.tops[first_row + i], sums.totals[first_row + i] = top, total
