"""The labels worth scoring for a sample: those that direct weights or its buckets name."""

import numpy as np

from sklearn_slide._direct import add_direct
from sklearn_slide._hashing import hash_vector, work_size
from sklearn_slide._network import hidden_vectors
from sklearn_slide._numba import njit
from sklearn_slide._parallel import run_over_range
from sklearn_slide._sampling import add_label, add_most_met, count_collisions, make_active_set
from sklearn_slide._screening import CHUNK, rank_screened, score_rounded

# The share of the labels that is scored for a sample at most; direct weights tell of up to half of it.
_SHARE = 0.05


@njit
def add_best_direct(x, i, network, biases, limit, active, direct_scores, values):
    """Start an active set with the limit best labels by direct weights and bias; return their number.

    x Rows, biases float32 (n_labels,), direct_scores float32 (n_labels,), zero before, afterwards the direct
    weights' part of each score, values float32 (n_labels,) scratch.
    """
    direct, n = network.direct, 0
    active.mark[0] += 1
    add_direct(x, i, direct, 0, direct_scores)
    for p in range(x.indptr[i], x.indptr[i + 1]):
        for q in range(direct.indptr[x.indices[p]], direct.indptr[x.indices[p] + 1]):
            n = add_label(direct.labels[q], n, active)
    if n <= limit:
        return n
    for a in range(n):
        values[a] = direct_scores[active.labels[a]] + biases[active.labels[a]]
    least = np.partition(values[:n], n - limit)[n - limit]
    n_kept = 0
    for a in range(n):
        y = active.labels[a]
        if values[a] >= least and n_kept < limit:
            active.labels[n_kept] = y
            n_kept += 1
        else:
            active.stamps[y] = 0
    return n_kept


@njit
def clear_direct(x, i, direct, scores):
    """Set what the direct weights of sample i added to scores, float32 (n_labels,), to 0 again."""
    for p in range(x.indptr[i], x.indptr[i + 1]):
        for q in range(direct.indptr[x.indices[p]], direct.indptr[x.indices[p] + 1]):
            scores[direct.labels[q]] = 0.0


@njit
def retrieve_rows(
    x, h, start, stop, network, screen, hasher, tables, biases, limit, active, codes, floats, labels, scores
):
    """Rank, for the rows start to stop, the candidates alone: limit of n_labels, or k if that is more.

    x Rows, h float32 (n_rows, n_units), biases float32 (n_labels,), active ActiveSet, codes int32
    (n_tables,), floats a tuple of float32 scratch, labels int32 and scores float32 (n_rows, k). Half of the
    candidates at most come from the direct weights, the rest are those that share most buckets with the
    hidden vector. Too few are filled up from label 0 on.
    """
    k = labels.shape[1]
    direct_scores, logits, highest, work = floats
    for i in range(start, stop):
        n = add_best_direct(x, i, network, biases, (limit + 1) // 2, active, direct_scores, logits)
        hash_vector(h[i], hasher, work, codes)
        n_candidates = count_collisions(codes, tables, active.bucket.shape[0], active)
        n = add_most_met(n_candidates, limit, n, active)
        for b in range(n_candidates):
            active.collisions[active.candidates[b]] = 0
        y = 0
        while n < k:
            n = add_label(y, n, active)
            y += 1
        score_rounded(h[i], active.labels, n, screen, biases, logits)
        for a in range(n):
            logits[a] += direct_scores[active.labels[a]]
        clear_direct(x, i, network.direct, direct_scores)
        rank_screened(x, i, h[i], active.labels, n, network, screen, logits, highest, labels[i], scores[i])


def retrieved_top_k(x, k, network, screen, hasher, tables, activation, n_jobs):
    """Rank the candidates of each sample; return labels int32 and scores float32, (n_samples, k)."""
    n_samples, n_labels = len(x.indptr) - 1, len(screen.values)
    labels, scores = np.empty((n_samples, k), dtype=np.int32), np.empty((n_samples, k), dtype=np.float32)
    h = hidden_vectors(x, 0, n_samples, network, activation, n_jobs)
    largest_bucket = int(np.diff(tables.offsets, axis=1).max())
    biases = network.output.biases.values.ravel()
    limit = int(np.ceil(_SHARE * n_labels))

    def part(first, last):
        active = make_active_set(n_labels, n_labels, hasher.n_tables, largest_bucket)
        active.table_order[:] = np.arange(hasher.n_tables)
        codes = np.empty(hasher.n_tables, dtype=np.int32)
        sizes = (n_labels, n_labels, n_labels // CHUNK + 1, work_size(hasher))
        floats = tuple(np.zeros(size, dtype=np.float32) for size in sizes)
        retrieve_rows(
            x,
            h,
            first,
            last,
            network,
            screen,
            hasher,
            tables,
            biases,
            limit,
            active,
            codes,
            floats,
            labels,
            scores,
        )

    run_over_range(part, 0, n_samples, n_jobs)
    return labels, scores
