"""Hidden vectors -> scores of every label -> the best k, or those above a cut."""

from typing import NamedTuple

import numpy as np

from sklearn_slide._core.best import CHUNK, holds_more, insert_best
from sklearn_slide._core.chosen import (
    Exponentials,
    add_exponentials,
    holds_pair,
    leave_out,
    no_pairs,
)
from sklearn_slide._core.compilation import inner, njit
from sklearn_slide._core.direct import add_direct
from sklearn_slide._core.layers import forward, hidden_vectors
from sklearn_slide._core.matrices import Quantized, float_rows, row_dot, row_lengths, stored, vector_length
from sklearn_slide._core.parallel import blocks, one_blas_thread, rows_of_round, run_in_rounds
from sklearn_slide._core.screening import ROUNDING, score_label

# A block of scores takes 16 MB: it stays in the last level of cache between the product and the ranking.
_BLOCK_ROWS, _BLOCK_LABELS = 512, 8192
# Labels that are kept beyond k until sums are settled.
_SPARE = 8
_BLAS_SPEED = 50  # multiplications in the time of one elsewhere


@njit
def score_rows(batch, h, first_row, logits):
    """Fill logits, float32 (n_rows, n_labels), each the sum that score_label makes, in the same order.

    The samples of the Batch from first_row on are scored; h float32 (n_rows, n_units).
    """
    output, direct = batch.network.output, batch.network.direct
    for i in range(logits.shape[0]):
        row, vector = logits[i], h[i]
        for y in range(row.shape[0]):
            row[y] = row_dot(output.weights, y, vector) + output.biases[y, 0]
        add_direct(batch.x, first_row + i, direct, np.int64(0), row)


@njit
def add_direct_rows(batch, first_row, first_label, logits):
    """Add the direct weights' part to a block of logits, float32 (n_rows, n_block).

    The block has the samples of the Batch from first_row on and the labels from first_label on.
    """
    for i in range(logits.shape[0]):
        add_direct(batch.x, first_row + i, batch.network.direct, first_label, logits[i])


@njit
def merge_top_k(logits, biases, first_label, labels, scores):
    """Add the biases to a block of logits, in passing, and merge it into the best k of its rows.

    logits float32 (n_rows, n_block), biases float32 (n_block,), first_label the block's first, labels int32
    (n_rows, k), scores float32 (n_rows, k).
    """
    k, n_block = labels.shape[1], logits.shape[1]
    for i in range(logits.shape[0]):
        # views of the row once, not for each label: a view takes longer than a comparison
        row, best, best_scores = logits[i], labels[i], scores[i]
        for start in range(0, n_block, CHUNK):
            stop = min(start + CHUNK, n_block)
            for b in range(start, stop):
                row[b] += biases[b]
            if holds_more(row, start, stop, best_scores[k - 1]):
                for b in range(start, stop):
                    if row[b] >= best_scores[k - 1]:
                        insert_best(first_label + b, row[b], best, best_scores)


def dense_scores(batch, n_jobs, report):
    """Compute the logits of every sample of a Batch and label, float32 (n_samples, n_labels).

    report(number of samples) is called from time to time, here and below.
    """
    x, network = batch
    logits = np.empty((x.n_rows, network.n_labels), dtype=np.float32)

    def part(first, last):
        h = hidden_vectors(batch, first, last, 1)
        score_rows(batch, h, first, logits[first:last])

    rows = rows_of_round(network.n_labels * network.n_units)
    run_in_rounds(part, x.n_rows, rows, n_jobs, report)
    return logits


def score_blocks(batch, start, stop):
    """Yield bounds of samples, the first label, and logits without biases, of the blocks of start to stop.

    Blocks with the same samples follow each other by ascending label. The logits, float32 (n_rows, n_block),
    are overwritten by the next block.
    """
    weights, n_labels = batch.network.output.weights, batch.network.n_labels
    scratch = np.empty(min(_BLOCK_ROWS, stop - start) * min(_BLOCK_LABELS, n_labels), dtype=np.float32)
    for first, last in blocks(start, stop, _BLOCK_ROWS):
        h = hidden_vectors(batch, first, last, 1)
        for first_label, last_label in blocks(0, n_labels, _BLOCK_LABELS):
            shape = last - first, last_label - first_label
            logits = scratch[: shape[0] * shape[1]].reshape(shape)
            np.matmul(h, float_rows(weights, first_label, last_label).T, out=logits)
            if batch.network.direct is not None:
                add_direct_rows(batch, first, first_label, logits)
            yield first, last, first_label, logits


def run_with_blas(part, batch, n_jobs, report):
    """Run part(start, stop) in rounds, with BLAS in one thread: n_jobs says how many there are."""
    rows = rows_of_round(batch.network.n_labels * batch.network.n_units / _BLAS_SPEED)
    with one_blas_thread():
        return run_in_rounds(part, batch.x.n_rows, rows, n_jobs, report)


class Lengths(NamedTuple):
    """The largest numbers that scores are sums of, which bound how much rounding there can be."""

    rows: np.float32  # the largest |w_y|
    direct: np.float32  # the largest direct weight


def measure_lengths(network):
    """Measure the Lengths of a network."""
    weights, direct = network.output.weights, network.direct
    longest = max(
        row_lengths(float_rows(weights, *part)).max() for part in blocks(0, network.n_labels, _BLOCK_LABELS)
    )
    largest = np.float32(0.0)
    if direct is not None:
        values = direct.weights
        if isinstance(values, Quantized):
            largest = np.float32(127) * values.scales.max(initial=0.0)
        else:
            largest = np.abs(values).max(initial=np.float32(0.0))
    return Lengths(np.float32(longest), np.float32(largest))


@inner
def rounding_of(x, i, h, lengths):
    """Bound the difference of two sums, in any order, for a score of sample i; h float32 (n_units,)."""
    total = np.float32(0.0)
    for p in range(x.indptr[i], x.indptr[i + 1]):
        total += abs(x.data[p])
    return ROUNDING * (np.float32(1.0) + vector_length(h) * lengths.rows + total * lengths.direct)


@njit
def settle_rows(batch, start, stop, lengths, left_out, found, hidden, best):
    """Find the best k of the samples start to stop among those found by sums of blocks.

    found are labels int32 and their sums float32, both (n_samples, n_found), best first; best are labels
    int32 and scores float32 (n_samples, k); left_out is a Pattern of labels that are not ranked; hidden
    float32 scratch of forward. The sums depend on the block that a sample is in. Labels whose sum may be
    among the best k are scored one by one, in an order that is always the same. If they may be more than
    were found, all labels are.
    """
    labels, scores = best
    k, n_found, output = labels.shape[1], found[0].shape[1], batch.network.output
    n_labels, n_units = output.biases.shape[0], stored(output.weights).shape[1]
    for i in range(start, stop):
        forward(batch, i, hidden)
        h, sums, best_labels, best_scores = hidden[-1, :n_units], found[1][i], labels[i], scores[i]
        least = sums[k - 1] - np.float32(2.0) * rounding_of(batch.x, i, h, lengths)
        n = np.int64(0)
        while n < n_found and sums[n] >= least and sums[n] > -np.inf:
            n += 1
        if n == n_found and n_found < n_labels:
            for y in range(n_labels):
                if not holds_pair(left_out, i, y):
                    insert_best(y, score_label(batch, i, h, y), best_labels, best_scores)
        else:
            for a in range(n):
                y = np.int64(found[0][i, a])
                insert_best(y, score_label(batch, i, h, y), best_labels, best_scores)


def exact_top_k(batch, k, lengths, n_jobs, report, left_out=None, sums=None):
    """Rank every label; return labels int32 and scores float32, (n_samples, k).

    The score of a label for a sample does not depend on the other samples. left_out is a Pattern of labels
    that are not ranked, or None; a label whose bias is -inf is ranked for no sample. Where fewer than k are
    left, scores are -inf. To the sums, Exponentials if given, all labels are added, these too.
    """
    n_samples, n_labels = batch.x.n_rows, batch.network.n_labels
    best = _no_best(n_samples, k)
    found = _no_best(n_samples, min(k + _SPARE, n_labels))
    biases = batch.network.output.biases.ravel()
    if sums is not None:
        biases = biases - sums.biases  # what add_exponentials leaves to add: 0 or -inf
    pairs = no_pairs(n_samples) if left_out is None else left_out

    def part(start, stop):
        for first, last, first_label, logits in score_blocks(batch, start, stop):
            chosen = biases[first_label : first_label + logits.shape[1]]
            if sums is not None:
                add_exponentials(sums, first, first_label, logits)
            if left_out is not None:
                leave_out(left_out, first, first_label, logits)
            merge_top_k(logits, chosen, first_label, found[0][first:last], found[1][first:last])
        hidden = np.empty(batch.network.hidden_shape, dtype=np.float32)
        settle_rows(batch, start, stop, lengths, pairs, found, hidden, best)

    run_with_blas(part, batch, n_jobs, report)
    return best


def sum_exponentials(batch, factor, n_jobs, report):
    """Compute the logarithm of the sum of exp(factor z) over all labels, float64 (n_samples,)."""
    sums = Exponentials.start(batch.network, factor, batch.x.n_rows)

    def part(start, stop):
        for first, _, first_label, logits in score_blocks(batch, start, stop):
            add_exponentials(sums, first, first_label, logits)

    run_with_blas(part, batch, n_jobs, report)
    return sums.logarithms()


def _no_best(n_samples, k):
    """Return labels and scores of the best k of no labels."""
    return np.zeros((n_samples, k), dtype=np.int32), np.full((n_samples, k), -np.inf, dtype=np.float32)


def labels_above(batch, cuts, n_jobs, report):
    """Find the labels with a logit above the cut of their sample, float32 (n_samples,).

    Return indptr, int64, and indices, int32, of a CSR matrix.
    """
    biases = batch.network.output.biases.ravel()

    def part(start, stop):
        rows, columns = [], []
        for first, last, first_label, logits in score_blocks(batch, start, stop):
            logits += biases[first_label : first_label + logits.shape[1]]
            row, column = np.nonzero(logits > cuts[first:last, np.newaxis])
            rows.append(row + first)
            columns.append(column + first_label)
        rows, columns = np.concatenate(rows), np.concatenate(columns)
        order = np.argsort(rows, kind="stable")
        return rows[order], columns[order]

    found = run_with_blas(part, batch, n_jobs, report)
    rows, columns = (np.concatenate(parts) for parts in zip(*found, strict=True))
    counts = np.bincount(rows + 1, minlength=batch.x.n_rows + 1)
    return np.cumsum(counts), columns.astype(np.int32)
