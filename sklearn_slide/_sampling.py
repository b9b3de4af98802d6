"""True labels + candidates from the tables + other negatives -> the active set of a sample."""

from typing import NamedTuple

import numpy as np

from sklearn_slide._numba import njit, random_below
from sklearn_slide._tables import read_bucket

VANILLA, TOP_K, THRESHOLD = 0, 1, 2
SELECTIONS = {"vanilla": VANILLA, "top_k": TOP_K, "threshold": THRESHOLD}


class Rows(NamedTuple):
    """A CSR matrix of samples."""

    indptr: np.ndarray  # int64 (n_samples + 1,)
    indices: np.ndarray  # int32 (n_stored,)
    data: np.ndarray  # float32 (n_stored,)


class Pattern(NamedTuple):
    """Where a CSR matrix has entries."""

    indptr: np.ndarray  # int64 (n_rows + 1,)
    indices: np.ndarray  # int32 (n_stored,)


EMPTY_PATTERN = Pattern(np.zeros(1, dtype=np.int64), np.zeros(0, dtype=np.int32))


class Samples(NamedTuple):
    """The training samples."""

    x: Rows  # (n_samples, n_features)
    y: Pattern  # (n_samples, n_labels), the true labels
    rows_with: (
        Pattern  # (n_features, n_samples), the samples that have a feature; empty if nothing asks for it
    )
    weights: np.ndarray  # float32 (n_samples,)
    passes: np.ndarray  # int32 (n_passes,), the sample of each pass of an epoch
    label_weights: np.ndarray  # float32 (n_labels,), or (0,) for 1: what true labels count for in the loss


# An epoch passes over a sample at most so many times; a pass over one of more weight counts for more.
MAX_PASSES = 10


NO_WEIGHTS = np.zeros(0, dtype=np.float32)


def make_samples(x, y, weights=None, label_weights=NO_WEIGHTS):
    """Put Rows, a Pattern of true labels and weights, float32 (n_samples,) or None for 1, together.

    An epoch passes over a sample of weight w ceil(w) times, at most MAX_PASSES times.
    """
    numbers = np.arange(len(x.indptr) - 1, dtype=np.int32)
    if weights is None:
        ones = np.ones(len(numbers), dtype=np.float32)
        return Samples(x, y, EMPTY_PATTERN, ones, numbers, label_weights)
    n_passes = np.minimum(np.ceil(weights), MAX_PASSES).astype(np.int32)
    return Samples(x, y, EMPTY_PATTERN, weights, np.repeat(numbers, n_passes), label_weights)


@njit
def pass_weight(weight):
    """Return what one pass over a sample of the given weight, float32 above 0, counts for."""
    return weight / min(np.ceil(weight), np.float32(MAX_PASSES))


class Sampler(NamedTuple):
    """How many labels each source may add to an active set of at most n_active."""

    n_active: int
    n_hashed: int  # from the hash tables
    n_cooccurrence: int  # labels of random samples that share a random feature with this one
    n_frequency: int  # drawn in proportion to label frequency
    n_uniform: int  # drawn uniformly
    selection: int  # VANILLA, TOP_K or THRESHOLD
    min_collisions: int  # THRESHOLD: tables in which a candidate must be met
    bucket_size: int  # labels read from one bucket


# The shares of n_active that negatives="auto" gives to the sources beside the one named by `sampling`.
SHARES = {"cooccurrence": 0.3, "frequency": 0.3, "uniform": 0.1}

# What n_active="auto" stands for: every label of so many, some of more.
MAX_EXACT, N_SAMPLED = 1000, 400


def make_sampler(n_labels, sampling, n_active, negatives, selection, min_collisions, bucket_size):
    """Turn the classifier's parameters of sampling into the number of labels from each source."""
    shares = _check_shares(SHARES if negatives == "auto" else negatives or {})
    if n_active == "auto":
        n_active = n_labels if n_labels <= MAX_EXACT else N_SAMPLED
    if sampling == "full" or n_active >= n_labels:
        return Sampler(n_labels, 0, 0, 0, 0, SELECTIONS[selection], min_collisions, bucket_size)
    counts = {source: int(share * n_active) for source, share in shares.items()}
    rest = n_active - sum(counts.values()) if sum(shares.values()) < 1 else 0
    return Sampler(
        n_active=n_active,
        n_hashed=rest if sampling == "lsh" else 0,
        n_cooccurrence=counts["cooccurrence"],
        n_frequency=counts["frequency"],
        n_uniform=counts["uniform"] + (rest if sampling == "uniform" else 0),
        selection=SELECTIONS[selection],
        min_collisions=min_collisions,
        bucket_size=bucket_size,
    )


def _check_shares(shares):
    """Return a share for each source; raise ValueError if a name or a share is not allowed."""
    unknown = set(shares) - set(SHARES)
    if unknown or any(share < 0 for share in shares.values()) or sum(shares.values()) > 1 + 1e-9:
        raise ValueError(
            f"negatives must be 'auto', None, or a dict of shares, none below 0 and their sum at most 1, of "
            f"the sources {sorted(SHARES)}; the rest of n_active comes from `sampling`. Got {shares!r}."
        )
    return dict.fromkeys(SHARES, 0.0) | shares


class ActiveSet(NamedTuple):
    """The active labels of one sample, and the scratch of a worker that collects them."""

    labels: np.ndarray  # int32 (capacity,), the true labels first
    mark: np.ndarray  # int32 (1,), raised for each sample
    stamps: np.ndarray  # int32 (n_labels,): the mark of the last sample in which a label was active
    bucket: np.ndarray  # int32 (bucket_size,)
    table_order: np.ndarray  # int32 (n_tables,)
    candidates: np.ndarray  # int32, room for the labels of n_tables buckets
    collisions: (
        np.ndarray
    )  # int32 (n_labels,): the tables in which a candidate was met; all zero between samples
    histogram: np.ndarray  # int32 (n_tables + 1,): the candidates met in so many tables
    drawn: np.ndarray  # int64 (capacity,), what the draws of co-occurring labels have come to
    stream: np.ndarray  # uint64 (1,), the sample's random numbers


def make_active_set(n_labels, capacity, n_tables, bucket_size):
    """Allocate an empty active set for up to capacity labels, and its scratch."""
    return ActiveSet(
        labels=np.zeros(capacity, dtype=np.int32),
        mark=np.zeros(1, dtype=np.int32),
        stamps=np.zeros(n_labels, dtype=np.int32),
        bucket=np.zeros(bucket_size, dtype=np.int32),
        table_order=np.zeros(n_tables, dtype=np.int32),
        candidates=np.zeros(min(n_labels, n_tables * bucket_size), dtype=np.int32),
        collisions=np.zeros(n_labels if n_tables else 0, dtype=np.int32),
        histogram=np.zeros(n_tables + 1, dtype=np.int32),
        drawn=np.zeros(capacity, dtype=np.int64),
        stream=np.zeros(1, dtype=np.uint64),
    )


@njit
def add_label(y, n, active):
    """Append label y to the n labels of active unless it is among them; return the new number."""
    if active.stamps[y] == active.mark[0]:
        return n
    active.stamps[y] = active.mark[0]
    active.labels[n] = y
    return n + 1


@njit
def add_true(y, i, active):
    """Start a new active set with the true labels of sample i; y Pattern; return their number."""
    active.mark[0] += 1
    n = 0
    for p in range(y.indptr[i], y.indptr[i + 1]):
        n = add_label(y.indices[p], n, active)
    return n


@njit
def add_all(n, active):
    """Append every label that is not active yet; return the new number."""
    for y in range(active.stamps.shape[0]):
        n = add_label(y, n, active)
    return n


@njit
def shuffle_tables(active):
    """Fill table_order with a random permutation (Fisher-Yates)."""
    order = active.table_order
    for t in range(order.shape[0]):
        order[t] = t
    for t in range(order.shape[0] - 1, 0, -1):
        s = random_below(active.stream, t + 1)
        order[t], order[s] = order[s], order[t]


@njit
def add_hashed(codes, tables, sampler, n, active):
    """Append up to n_hashed labels that the tables hold under codes, int32 (n_tables,).

    The three ways of Chen et al. (2020), "Sampling": as met in tables in random order, those met in most
    tables, those met in at least min_collisions tables.
    """
    shuffle_tables(active)
    limit = min(sampler.n_active, n + sampler.n_hashed)
    if sampler.selection == VANILLA:
        return add_as_met(codes, tables, sampler.bucket_size, limit, n, active)
    n_candidates = count_collisions(codes, tables, sampler.bucket_size, active)
    if sampler.selection == TOP_K:
        n = add_most_met(n_candidates, limit, n, active)
    else:
        n = add_met_at_least(n_candidates, sampler.min_collisions, limit, n, active)
    for b in range(n_candidates):
        active.collisions[active.candidates[b]] = 0
    return n


@njit
def add_as_met(codes, tables, bucket_size, limit, n, active):
    """Append labels bucket by bucket until there are limit; return the new number."""
    for t in active.table_order:
        size = read_bucket(tables, t, codes[t], bucket_size, active.stream, active.bucket)
        for b in range(size):
            if n >= limit:
                return n
            n = add_label(active.bucket[b], n, active)
    return n


@njit
def count_collisions(codes, tables, bucket_size, active):
    """List the inactive labels of all buckets in the order met, count the tables of each; return how many."""
    n_candidates = 0
    for t in active.table_order:
        size = read_bucket(tables, t, codes[t], bucket_size, active.stream, active.bucket)
        for b in range(size):
            y = active.bucket[b]
            if active.stamps[y] != active.mark[0]:
                if active.collisions[y] == 0:
                    active.candidates[n_candidates] = y
                    n_candidates += 1
                active.collisions[y] += 1
    return n_candidates


@njit
def add_met_at_least(n_candidates, min_collisions, limit, n, active):
    """Append candidates met in min_collisions tables or more, in the order met, until there are limit."""
    for b in range(n_candidates):
        if n >= limit:
            break
        if active.collisions[active.candidates[b]] >= min_collisions:
            n = add_label(active.candidates[b], n, active)
    return n


@njit
def add_most_met(n_candidates, limit, n, active):
    """Append the candidates met in most tables until there are limit; ties in the order met."""
    active.histogram[:] = 0
    for b in range(n_candidates):
        active.histogram[active.collisions[active.candidates[b]]] += 1
    least, n_above = active.histogram.shape[0] - 1, 0
    while least > 1 and n + n_above + active.histogram[least] < limit:
        n_above += active.histogram[least]
        least -= 1
    n = add_met_at_least(n_candidates, least + 1, limit, n, active)
    return add_met_at_least(n_candidates, least, limit, n, active)


@njit
def add_cooccurring(samples, i, sampler, n, active):
    """Append labels of samples that share a feature with sample i: a draw is a feature, a sample, a label.

    The draws take each step together, so that memory delivers what they read side by side.
    """
    x, y, rows_with, drawn = samples.x, samples.y, samples.rows_with, active.drawn
    n_draws = min(sampler.n_active - n, sampler.n_cooccurrence)
    first, n_features = x.indptr[i], x.indptr[i + 1] - x.indptr[i]
    if n_features == 0:
        return n
    for d in range(n_draws):
        drawn[d] = x.indices[first + random_below(active.stream, n_features)]
    for d in range(n_draws):
        start, stop = rows_with.indptr[drawn[d]], rows_with.indptr[drawn[d] + 1]
        drawn[d] = start + random_below(active.stream, stop - start)
    for d in range(n_draws):
        drawn[d] = rows_with.indices[drawn[d]]
    for d in range(n_draws):
        start, stop = y.indptr[drawn[d]], y.indptr[drawn[d] + 1]
        drawn[d] = start + random_below(active.stream, stop - start) if stop > start else -1
    for d in range(n_draws):
        if drawn[d] >= 0:
            n = add_label(y.indices[drawn[d]], n, active)
    return n


@njit
def add_frequent(y, sampler, n, active):
    """Append labels drawn in proportion to their frequency, which is to draw from the stored entries of y."""
    limit = min(sampler.n_active, n + sampler.n_frequency)
    n_stored = y.indices.shape[0]
    if n_stored == 0:
        return n
    for _ in range(limit - n):
        n = add_label(y.indices[random_below(active.stream, n_stored)], n, active)
    return n


@njit
def add_uniform(sampler, n, active):
    """Append labels drawn uniformly."""
    limit = min(sampler.n_active, n + sampler.n_uniform)
    for _ in range(limit - n):
        n = add_label(random_below(active.stream, active.stamps.shape[0]), n, active)
    return n


@njit
def add_negatives(samples, i, codes, tables, sampler, n, active):
    """Append the labels of every source to the n true labels of sample i; return their number."""
    if sampler.n_active >= active.stamps.shape[0]:
        return add_all(n, active)
    if sampler.n_hashed > 0:
        n = add_hashed(codes, tables, sampler, n, active)
    if sampler.n_cooccurrence > 0:
        n = add_cooccurring(samples, i, sampler, n, active)
    n = add_frequent(samples.y, sampler, n, active)
    return add_uniform(sampler, n, active)
