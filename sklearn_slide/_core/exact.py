"""Hidden vectors -> scores of every label -> the best k, or those above a cut."""

import numpy as np

from sklearn_slide._core.best import CHUNK, holds_more, insert_best, no_best
from sklearn_slide._core.chosen import (
    Exponentials,
    add_exponentials,
    holds_pair,
    leave_out,
    no_pairs,
)
from sklearn_slide._core.compilation import njit
from sklearn_slide._core.direct import add_direct
from sklearn_slide._core.layers import forward, hidden_vectors
from sklearn_slide._core.matrices import Quantized, float_rows, row_dot, row_lengths, stored, vector_length
from sklearn_slide._core.parallel import BLAS_SPEED, blocks, one_blas_thread, rows_of_round, run_in_rounds
from sklearn_slide._core.screen import ROUNDING, bound_rounding
from sklearn_slide._core.screening import score_label

# A block of scores takes 16 MB: it stays in the last level of cache between the product and the ranking.
_BLOCK_ROWS, _BLOCK_LABELS = 512, 8192
# Labels that are kept beyond k until sums are settled.
_SPARE = 8


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
def merge_top_k(logits, biases, errors, first_label, labels, scores):
    """Add biases and bounds of errors to a block of logits, in passing, and merge it into the best k.

    logits float32 (n_rows, n_block), first_label the block's first, labels int32 and scores float32
    (n_rows, k), biases float32 (n_block,). errors are float32 (n_rows,) and (n_block,): the bound of a logit
    is the product of that of its row and that of its label.
    """
    k, n_block = labels.shape[1], logits.shape[1]
    of_rows, of_labels = errors
    for i in range(logits.shape[0]):
        # views of the row once, not for each label: a view takes longer than a comparison
        row, best, best_scores, error = logits[i], labels[i], scores[i], of_rows[i]
        for start in range(0, n_block, CHUNK):
            stop = min(start + CHUNK, n_block)
            for b in range(start, stop):
                row[b] += biases[b] + error * of_labels[b]
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
    """Yield blocks of start to stop: bounds of samples, their hidden vectors, the first label, and logits.

    Blocks with the same samples follow each other by ascending label. The hidden vectors are float32
    (n_rows, n_units). The logits, float32 (n_rows, n_block), have no biases, and are overwritten by the next
    block.
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
            yield first, last, h, first_label, logits


def run_with_blas(part, batch, n_jobs, report):
    """Run part(start, stop) in rounds, with BLAS in one thread: n_jobs says how many there are."""
    rows = rows_of_round(batch.network.n_labels * batch.network.n_units / BLAS_SPEED)
    with one_blas_thread():
        return run_in_rounds(part, batch.x.n_rows, rows, n_jobs, report)


def measure_lengths(network):
    """Return |w_y| and the largest direct weight of each label, added up, float32 (n_labels,).

    They bound how much rounding there can be in the score of the label.
    """
    weights, direct, n_labels = network.output.weights, network.direct, network.n_labels
    lengths = [row_lengths(float_rows(weights, *part)) for part in blocks(0, n_labels, _BLOCK_LABELS)]
    largest = np.zeros(n_labels, dtype=np.float32)
    if direct is not None:
        if isinstance(direct.weights, Quantized):
            sizes = np.repeat(np.float32(127) * direct.weights.scales, np.diff(direct.indptr))
        else:
            sizes = np.abs(direct.weights)
        np.maximum.at(largest, direct.labels, sizes)
    return np.concatenate(lengths).astype(np.float32) + largest


@njit
def bound_errors(batch, first_row, h, errors):
    """Fill errors, float32 (n_rows,), which times the length of a label bound the rounding of its score.

    The samples are those of the Batch from first_row on, h float32 (n_rows, n_units) their hidden vectors.
    """
    for i in range(errors.shape[0]):
        errors[i] = bound_rounding(batch.x, first_row + i, vector_length(h[i]))


@njit
def settle_rows(batch, start, stop, left_out, found, hidden, best):
    """Find the best k of the samples start to stop among those found by sums of blocks.

    found are labels int32 and what their scores are at most, float32, but for the rounding of a bias, both
    (n_samples, n_found), highest first; best are labels int32 and scores float32 (n_samples, k); left_out is
    a Pattern of labels that are not ranked; hidden float32 scratch of forward. The sums depend on the block
    that a sample is in. Labels are scored one by one, in an order that is always the same, until no other can
    be among the best k. If such a one may be among those that were not found, all labels are scored.
    """
    labels, scores = best
    k, n_found, output = labels.shape[1], found[0].shape[1], batch.network.output
    n_labels, n_units = output.biases.shape[0], stored(output.weights).shape[1]
    for i in range(start, stop):
        forward(batch, i, hidden)
        h, bounds, best_labels, best_scores = hidden[-1, :n_units], found[1][i], labels[i], scores[i]
        a = np.int64(0)
        while a < n_found and bounds[a] > -np.inf and bounds[a] + ROUNDING >= best_scores[k - 1]:
            y = np.int64(found[0][i, a])
            insert_best(y, score_label(batch, i, h, y), best_labels, best_scores)
            a += 1
        if a == n_found and n_found < n_labels:
            best_labels[:] = 0
            best_scores[:] = -np.inf
            for y in range(n_labels):
                if not holds_pair(left_out, i, y):
                    insert_best(y, score_label(batch, i, h, y), best_labels, best_scores)


def exact_top_k(batch, k, lengths, n_jobs, report, left_out=None, sums=None):
    """Rank every label; return labels int32 and scores float32, (n_samples, k).

    The score of a label for a sample does not depend on the other samples. left_out is a Pattern of labels
    that are not ranked, or None; a label whose bias is -inf is ranked for no sample. Where fewer than k are
    left, scores are -inf. To the sums, Exponentials if given, all labels are added, these too.
    """
    n_samples, n_labels = batch.x.n_rows, batch.network.n_labels
    best = no_best(n_samples, k)
    found = no_best(n_samples, min(k + _SPARE, n_labels))
    biases = batch.network.output.biases.ravel()
    if sums is not None:
        biases = biases - sums.biases  # what add_exponentials leaves to add: 0 or -inf
    pairs = no_pairs(n_samples) if left_out is None else left_out

    def part(start, stop):
        for first, last, h, first_label, logits in score_blocks(batch, start, stop):
            of_block = slice(first_label, first_label + logits.shape[1])
            if sums is not None:
                add_exponentials(sums, first, first_label, logits)
            if left_out is not None:
                leave_out(left_out, first, first_label, logits)
            if first_label == 0:
                of_rows = np.empty(last - first, dtype=np.float32)
                bound_errors(batch, first, h, of_rows)
            rows, errors = slice(first, last), (of_rows, lengths[of_block])
            merge_top_k(logits, biases[of_block], errors, first_label, found[0][rows], found[1][rows])
        hidden = np.empty(batch.network.hidden_shape, dtype=np.float32)
        settle_rows(batch, start, stop, pairs, found, hidden, best)

    run_with_blas(part, batch, n_jobs, report)
    return best


def sum_exponentials(batch, factor, n_jobs, report):
    """Compute the logarithm of the sum of exp(factor z) over all labels, float64 (n_samples,)."""
    sums = Exponentials.start(batch.network, factor, batch.x.n_rows)

    def part(start, stop):
        for first, _, _, first_label, logits in score_blocks(batch, start, stop):
            add_exponentials(sums, first, first_label, logits)

    run_with_blas(part, batch, n_jobs, report)
    return sums.logarithms()


def labels_above(batch, cuts, n_jobs, report):
    """Find the labels with a logit above the cut of their sample, float32 (n_samples,).

    Return indptr, int64, and indices, int32, of a CSR matrix.
    """
    biases = batch.network.output.biases.ravel()

    def part(start, stop):
        rows, columns = [], []
        for first, last, _, first_label, logits in score_blocks(batch, start, stop):
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
