"""Hidden vectors -> scores of every label -> the best k, or the positive ones."""

from contextlib import nullcontext

import numpy as np
from threadpoolctl import threadpool_limits  # scikit-learn requires it

from sklearn_slide._direct import add_direct
from sklearn_slide._network import hidden_vectors, score_labels
from sklearn_slide._numba import njit
from sklearn_slide._parallel import run_over_range
from sklearn_slide._screening import CHUNK, insert_best

# A block of scores takes 16 MB: it stays in the last level of cache between the product and the ranking.
_BLOCK_ROWS, _BLOCK_LABELS = 512, 8192


@njit
def score_rows(x, h, start, stop, network, labels, logits):
    """Fill rows start to stop of logits, float32 (n_samples, n_labels), each row by itself in a fixed order.

    x Rows, h float32 (n_samples, n_units), labels int32 (n_labels,) all labels.
    """
    for i in range(start, stop):
        score_labels(h[i], labels, labels.shape[0], network.output, logits[i])
        add_direct(x, i, network.direct, 0, logits[i])


@njit
def add_direct_rows(x, first_row, network, first_label, logits):
    """Add the direct weights' part to a block of logits, float32 (n_rows, n_block).

    x Rows; the block has the samples from first_row on and the labels from first_label on.
    """
    for i in range(logits.shape[0]):
        add_direct(x, first_row + i, network.direct, first_label, logits[i])


@njit
def merge_top_k(logits, biases, first_label, labels, scores):
    """Add the biases to a block of logits, in passing, and merge it into the best k of its rows.

    logits float32 (n_rows, n_block), biases float32 (n_block,), first_label the block's first, labels int32
    (n_rows, k), scores float32 (n_rows, k).
    """
    k, n_block = labels.shape[1], logits.shape[1]
    for i in range(logits.shape[0]):
        for start in range(0, n_block, CHUNK):
            stop = min(start + CHUNK, n_block)
            high = np.float32(-np.inf)
            for b in range(start, stop):
                high = max(high, logits[i, b] + biases[b])
            if high > scores[i, k - 1]:
                for b in range(start, stop):
                    insert_best(first_label + b, logits[i, b] + biases[b], labels[i], scores[i])


def dense_scores(x, network, activation, n_jobs):
    """Compute the logits of every sample and label, float32 (n_samples, n_labels)."""
    n_samples, n_labels = len(x.indptr) - 1, network.output.weights.values.shape[0]
    h = hidden_vectors(x, 0, n_samples, network, activation, n_jobs)
    logits = np.empty((n_samples, n_labels), dtype=np.float32)
    every_label = np.arange(n_labels, dtype=np.int32)

    def part(first, last):
        score_rows(x, h, first, last, network, every_label, logits)

    run_over_range(part, 0, n_samples, n_jobs)
    return logits


def blocks(start, stop, size):
    """Yield the bounds of the blocks of a range."""
    for first in range(start, stop, size):
        yield first, min(first + size, stop)


def score_blocks(x, start, stop, network, activation):
    """Yield bounds of samples, the first label, and logits without biases, of the blocks of start to stop.

    Blocks with the same samples follow each other by ascending label. The logits, float32 (n_rows, n_block),
    are overwritten by the next block.
    """
    weights = network.output.weights.values
    scratch = np.empty(min(_BLOCK_ROWS, stop - start) * min(_BLOCK_LABELS, len(weights)), dtype=np.float32)
    for first, last in blocks(start, stop, _BLOCK_ROWS):
        h = hidden_vectors(x, first, last, network, activation, 1)
        for first_label, last_label in blocks(0, len(weights), _BLOCK_LABELS):
            shape = last - first, last_label - first_label
            logits = scratch[: shape[0] * shape[1]].reshape(shape)
            np.matmul(h, weights[first_label:last_label].T, out=logits)
            add_direct_rows(x, first, network, first_label, logits)
            yield first, last, first_label, logits


def one_blas_thread(n_samples):
    """Keep BLAS to the thread that calls it: n_jobs says how many there are. One sample gives it no work."""
    return threadpool_limits(1, user_api="blas") if n_samples > 1 else nullcontext()


def exact_top_k(x, k, network, activation, n_jobs):
    """Rank every label; return labels int32 and scores float32, (n_samples, k)."""
    n_samples = len(x.indptr) - 1
    labels = np.zeros((n_samples, k), dtype=np.int32)
    scores = np.full((n_samples, k), -np.inf, dtype=np.float32)
    biases = network.output.biases.values.ravel()

    def part(start, stop):
        for first, last, first_label, logits in score_blocks(x, start, stop, network, activation):
            chosen = biases[first_label : first_label + logits.shape[1]]
            merge_top_k(logits, chosen, first_label, labels[first:last], scores[first:last])

    with one_blas_thread(n_samples):
        run_over_range(part, 0, n_samples, n_jobs)
    return labels, scores


def positive_labels(x, network, activation, n_jobs):
    """Find the labels with a positive logit; return indptr, int64, and indices, int32, of a CSR matrix."""
    n_samples, biases = len(x.indptr) - 1, network.output.biases.values.ravel()

    def part(start, stop):
        rows, columns = [], []
        for first, _, first_label, logits in score_blocks(x, start, stop, network, activation):
            logits += biases[first_label : first_label + logits.shape[1]]
            row, column = np.nonzero(logits > 0)
            rows.append(row + first)
            columns.append(column + first_label)
        rows, columns = np.concatenate(rows), np.concatenate(columns)
        order = np.argsort(rows, kind="stable")
        return rows[order], columns[order]

    with one_blas_thread(n_samples):
        found = run_over_range(part, 0, n_samples, n_jobs)
    rows, columns = (np.concatenate(parts) for parts in zip(*found, strict=True))
    counts = np.bincount(rows + 1, minlength=n_samples + 1)
    return np.cumsum(counts), columns.astype(np.int32)
