"""Hidden vectors -> scores of every label, or of those that the tables retrieve -> the best k."""

import numpy as np

from sklearn_slide._direct import add_direct
from sklearn_slide._hashing import hash_vector, work_size
from sklearn_slide._network import hidden_vectors, score_labels
from sklearn_slide._numba import njit
from sklearn_slide._parallel import run_over_range
from sklearn_slide._sampling import add_label, make_active_set
from sklearn_slide._tables import read_bucket

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
def insert_best(y, score, k, labels, scores):
    """Insert label y into the k best, sorted best first, if its score is higher than the last one's.

    labels int32 (k,), scores float32 (k,). Equal scores keep the order in which they came.
    """
    if not score > scores[k - 1]:
        return
    position = k - 1
    while position > 0 and score > scores[position - 1]:
        scores[position] = scores[position - 1]
        labels[position] = labels[position - 1]
        position -= 1
    scores[position] = score
    labels[position] = y


@njit
def finish_logits(x, first_row, start, stop, network, first_label, logits):
    """Add the biases and the direct weights' part to the rows start to stop of a block of logits, in place.

    x Rows, logits float32 (n_rows, n_block): samples from first_row on, labels from first_label on.
    """
    biases = network.output.biases.values
    for i in range(start, stop):
        for b in range(logits.shape[1]):
            logits[i, b] += biases[first_label + b, 0]
        add_direct(x, first_row + i, network.direct, first_label, logits[i])


@njit
def merge_top_k(logits, first_label, start, stop, labels, scores):
    """Merge a block of logits into the best k of the rows start to stop.

    logits float32 (n_rows, n_block), first_label the block's first, labels int32 (n_rows, k), scores float32
    (n_rows, k). Blocks come by ascending label.
    """
    k = labels.shape[1]
    for i in range(start, stop):
        for b in range(logits.shape[1]):
            if logits[i, b] > scores[i, k - 1]:
                insert_best(first_label + b, logits[i, b], k, labels[i], scores[i])


@njit
def retrieve_rows(x, h, start, stop, network, hasher, tables, active, codes, work, labels, scores):
    """Rank, for the rows start to stop, only the labels that share a bucket with the hidden vector.

    x Rows, h float32 (n_rows, n_units), active ActiveSet, codes int32 (n_tables,), work float32, labels
    int32 and scores float32 (n_rows, k). Whole buckets are read; too few candidates are filled up from
    label 0 on.
    """
    k = labels.shape[1]
    logits = np.empty(active.labels.shape[0], dtype=np.float32)
    direct_scores = np.empty(active.labels.shape[0], dtype=np.float32)
    for i in range(start, stop):
        hash_vector(h[i], hasher, work, codes)
        active.mark[0] += 1
        n = 0
        for t in range(codes.shape[0]):
            size = read_bucket(tables, t, codes[t], active.bucket.shape[0], active.stream, active.bucket)
            for b in range(size):
                n = add_label(active.bucket[b], n, active)
        y = 0
        while n < k:
            n = add_label(y, n, active)
            y += 1
        active.labels[:n].sort()
        score_labels(h[i], active.labels, n, network.output, logits)
        direct_scores[:] = 0.0
        add_direct(x, i, network.direct, 0, direct_scores)
        for a in range(n):
            y = active.labels[a]
            insert_best(y, logits[a] + direct_scores[y], k, labels[i], scores[i])


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


def blocks(n, size):
    """Yield the bounds of the blocks of a range."""
    for start in range(0, n, size):
        yield start, min(start + size, n)


def exact_top_k(x, k, network, activation, n_jobs):
    """Rank every label; return labels int32 and scores float32, (n_samples, k)."""
    n_samples, n_labels = len(x.indptr) - 1, network.output.weights.values.shape[0]
    labels = np.zeros((n_samples, k), dtype=np.int32)
    scores = np.full((n_samples, k), -np.inf, dtype=np.float32)
    for start, stop in blocks(n_samples, _BLOCK_ROWS):
        h = hidden_vectors(x, start, stop, network, activation, n_jobs)
        for first, last in blocks(n_labels, _BLOCK_LABELS):
            logits = h @ network.output.weights.values[first:last].T

            def part(i, j, logits=logits, first=first, start=start, rows=slice(start, stop)):
                finish_logits(x, start, i, j, network, first, logits)
                merge_top_k(logits, first, i, j, labels[rows], scores[rows])

            run_over_range(part, 0, stop - start, n_jobs)
    return labels, scores


def retrieved_top_k(x, k, network, hasher, tables, activation, n_jobs):
    """Rank the labels that the tables retrieve; return labels int32 and scores float32."""
    n_samples, n_labels = len(x.indptr) - 1, network.output.weights.values.shape[0]
    labels = np.zeros((n_samples, k), dtype=np.int32)
    scores = np.full((n_samples, k), -np.inf, dtype=np.float32)
    h = hidden_vectors(x, 0, n_samples, network, activation, n_jobs)
    largest_bucket = int(np.diff(tables.offsets, axis=1).max())

    def part(first, last):
        active = make_active_set(n_labels, n_labels, 0, largest_bucket)
        codes = np.empty(hasher.n_tables, dtype=np.int32)
        work = np.empty(work_size(hasher), dtype=np.float32)
        retrieve_rows(x, h, first, last, network, hasher, tables, active, codes, work, labels, scores)

    run_over_range(part, 0, n_samples, n_jobs)
    return labels, scores


def positive_labels(x, network, activation, n_jobs):
    """Find the labels with a positive logit; return indptr, int64, and indices, int32, of a CSR matrix."""
    n_samples, n_labels = len(x.indptr) - 1, network.output.weights.values.shape[0]
    counts, found = np.zeros(n_samples + 1, dtype=np.int64), []
    for start, stop in blocks(n_samples, _BLOCK_ROWS):
        h = hidden_vectors(x, start, stop, network, activation, n_jobs)
        rows, columns = [], []
        for first, last in blocks(n_labels, _BLOCK_LABELS):
            logits = h @ network.output.weights.values[first:last].T
            finish_logits(x, start, 0, stop - start, network, first, logits)
            row, column = np.nonzero(logits > 0)
            rows.append(row)
            columns.append(column + first)
        rows, columns = np.concatenate(rows), np.concatenate(columns)
        found.append(columns[np.argsort(rows, kind="stable")].astype(np.int32))
        counts[start + 1 : stop + 1] = np.bincount(rows, minlength=stop - start)
    return np.cumsum(counts), np.concatenate(found)
