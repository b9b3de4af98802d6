"""True labels + candidates from the tables + other negatives -> the active set of a sample."""

from numbers import Real
from typing import NamedTuple

import numpy as np

from sklearn_slide._core.compilation import by_type, inner, prefetch
from sklearn_slide._core.random_numbers import random_below
from sklearn_slide._core.tables import read_bucket


class Sampler(NamedTuple):
    """How many labels each source may add to an active set of at most n_active."""

    n_active: int
    n_hashed: int  # from the hash tables
    n_cooccurrence: int  # labels of random samples that share a random feature with this one
    n_frequency: int  # drawn in proportion to label frequency
    n_uniform: int  # drawn uniformly


class Vanilla(NamedTuple):
    """Labels are taken from the buckets of a sample as they are met, in tables in random order."""

    bucket_size: int  # labels read from one bucket
    min_collisions: int


class TopK(NamedTuple):
    """Labels are taken that are met in most tables."""

    bucket_size: int
    min_collisions: int


class Threshold(NamedTuple):
    """Labels are taken that are met in at least min_collisions tables."""

    bucket_size: int
    min_collisions: int


# So many labels at most are taken of a sample that a draw of co-occurring labels comes to: they lie side by
# side in memory.
RUN = 4


# The three ways of Chen et al. (2020), "Sampling".
SELECTIONS = {"vanilla": Vanilla, "top_k": TopK, "threshold": Threshold}


# Where the labels of an active set come from beside the true ones, and the shares that "auto" gives them.
SHARES = {"lsh": 0.3, "cooccurrence": 0.3, "frequency": 0.3, "uniform": 0.1}

# What n_active="auto" stands for: every label of so many, some of more, and more of them for dense samples.
MAX_EXACT, N_SAMPLED, N_SAMPLED_DENSE = 1000, 400, 1600


def make_sampler(n_labels, n_active, shares, dense=False):
    """Turn the classifier's n_active and negatives into the number of labels from each source.

    What rounding leaves of n_active goes to the first source that has a share. With no more labels than
    n_active, all are active, and no source is asked.
    """
    shares = {source: share for source, share in check_shares(shares).items() if share > 0}
    if n_active == "auto":
        n_active = n_labels if n_labels <= MAX_EXACT else N_SAMPLED_DENSE if dense else N_SAMPLED
    if n_active is None or n_active >= n_labels:
        return Sampler(n_labels, 0, 0, 0, 0)
    counts = dict.fromkeys(SHARES, 0) | {source: int(share * n_active) for source, share in shares.items()}
    if shares and sum(shares.values()) > 1 - 1e-9:
        counts[next(iter(shares))] += n_active - sum(counts.values())
    return Sampler(
        int(n_active), counts["lsh"], counts["cooccurrence"], counts["frequency"], counts["uniform"]
    )


def check_shares(shares):
    """Return a share for each source, in their order; raise ValueError if one is not allowed."""
    if isinstance(shares, str) and shares == "auto":
        return SHARES
    if not _are_shares(shares):
        raise ValueError(
            "negatives must be 'auto' or a dict of shares of n_active, numbers that are not negative and "
            f"whose sum is at most 1, of the sources {list(SHARES)}. Got {shares!r}. Give {{'uniform': 1.0}} "
            "for random labels alone, {} for none but the true ones, or n_active=None to score every label."
        )
    return {source: float(shares.get(source, 0.0)) for source in SHARES}


def _are_shares(shares):
    """Tell whether these are shares of sources: a dict, whose numbers sum to at most 1."""
    if not isinstance(shares, dict) or set(shares) - set(SHARES):
        return False
    numbers = shares.values()
    return all(isinstance(share, Real) and share >= 0 for share in numbers) and sum(numbers) <= 1 + 1e-9


class ActiveSet(NamedTuple):
    """The active labels of one sample, and the scratch of a worker that collects them."""

    labels: np.ndarray  # int32 (capacity + 1,), the true labels first
    mark: np.ndarray  # int32 (1,), raised for each sample
    stamps: np.ndarray  # int32 (n_labels,): the mark of the last sample in which a label was active
    drawn: np.ndarray  # int64 (capacity,), what the draws of co-occurring labels have come to
    places: np.ndarray  # int64 (capacity,), where the first labels of these draws lie
    stream: np.ndarray  # uint64 (1,), the sample's random numbers
    shared: np.ndarray  # uint64 (1,), those that it has in common with its neighbours


def make_active_set(n_labels, capacity):
    """Allocate an empty active set for up to capacity labels."""
    return ActiveSet(
        # a label is written down before its stamp is compared
        labels=np.zeros(capacity + 1, dtype=np.int32),
        mark=np.zeros(1, dtype=np.int32),
        stamps=np.zeros(n_labels, dtype=np.int32),
        drawn=np.zeros(capacity, dtype=np.int64),
        places=np.zeros(capacity, dtype=np.int64),
        stream=np.zeros(1, dtype=np.uint64),
        shared=np.zeros(1, dtype=np.uint64),
    )


class Candidates(NamedTuple):
    """What one worker reads from the tables for a sample."""

    bucket: np.ndarray  # int32 (bucket_size,)
    table_order: np.ndarray  # int32 (n_tables,)
    labels: np.ndarray  # int32, room for the labels of n_tables buckets
    collisions: np.ndarray  # int32 (n_labels,): the tables that hold a candidate; all zero between samples
    histogram: np.ndarray  # int32 (n_tables + 1,): the candidates met in so many tables


def make_candidates(n_labels, n_tables, bucket_size):
    """Allocate the Candidates of one worker; the tables are read in their order until it is changed."""
    return Candidates(
        bucket=np.zeros(bucket_size, dtype=np.int32),
        table_order=np.arange(n_tables, dtype=np.int32),
        labels=np.zeros(min(n_labels, n_tables * bucket_size), dtype=np.int32),
        collisions=np.zeros(n_labels, dtype=np.int32),
        histogram=np.zeros(n_tables + 1, dtype=np.int32),
    )


@inner
def add_label(y, n, active):
    """Append label y to the n labels of active unless it is among them; return the new number."""
    # without a branch: one that waits for a stamp from memory, guessed wrong, loses the reads begun after it
    mark, is_new = active.mark[0], active.stamps[y] != active.mark[0]
    active.labels[n], active.stamps[y] = y, mark
    return n + np.int64(is_new)


@inner
def add_true(y, i, active):
    """Start a new active set with the true labels of sample i; y Pattern; return their number."""
    active.mark[0] += 1
    n = np.int64(0)
    for p in range(y.indptr[i], y.indptr[i + 1]):
        n = add_label(np.int64(y.indices[p]), n, active)
    return n


@inner
def add_all(n, active):
    """Append every label that is not active yet; return the new number."""
    for y in range(active.stamps.shape[0]):
        n = add_label(y, n, active)
    return n


@inner
def shuffle(order, stream):
    """Fill order, int32, with a random permutation (Fisher-Yates)."""
    for t in range(order.shape[0]):
        order[t] = t
    for t in range(order.shape[0] - 1, 0, -1):
        s = random_below(stream, t + 1)
        order[t], order[s] = order[s], order[t]


@by_type
def add_hashed(selection, codes, tables, limit, n, active, candidates):
    """Append labels that the tables hold under codes, int32 (n_tables,), until there are limit."""


@add_hashed.register(Vanilla)
def add_as_met(selection, codes, tables, limit, n, active, candidates):
    """Append labels bucket by bucket, of tables in random order: most samples need one or two of them."""
    order = candidates.table_order
    for t in range(order.shape[0]):
        order[t] = t
    for k in range(order.shape[0]):
        s = k + random_below(active.stream, order.shape[0] - k)
        order[k], order[s] = order[s], order[k]
        t = order[k]
        size = read_bucket(tables, t, codes[t], selection.bucket_size, active.stream, candidates.bucket)
        for b in range(size):
            if n >= limit:
                return n
            n = add_label(np.int64(candidates.bucket[b]), n, active)
    return n


@add_hashed.register(TopK)
def add_top(selection, codes, tables, limit, n, active, candidates):
    """Append the labels met in most tables."""
    shuffle(candidates.table_order, active.stream)
    n_candidates = count_collisions(codes, tables, selection.bucket_size, active, candidates)
    n = add_most_met(n_candidates, limit, n, active, candidates)
    forget_collisions(n_candidates, candidates)
    return n


@add_hashed.register(Threshold)
def add_above(selection, codes, tables, limit, n, active, candidates):
    """Append the labels met in enough tables."""
    shuffle(candidates.table_order, active.stream)
    n_candidates = count_collisions(codes, tables, selection.bucket_size, active, candidates)
    n = add_met_at_least(n_candidates, selection.min_collisions, limit, n, active, candidates)
    forget_collisions(n_candidates, candidates)
    return n


@inner
def count_collisions(codes, tables, bucket_size, active, candidates):
    """List the inactive labels of all buckets in the order met, count the tables of each; return how many."""
    n_candidates = 0
    for t in candidates.table_order:
        size = read_bucket(tables, t, codes[t], bucket_size, active.stream, candidates.bucket)
        for b in range(size):
            y = candidates.bucket[b]
            if active.stamps[y] != active.mark[0]:
                if candidates.collisions[y] == 0:
                    candidates.labels[n_candidates] = y
                    n_candidates += 1
                candidates.collisions[y] += 1
    return n_candidates


@inner
def forget_collisions(n_candidates, candidates):
    """Set the counts of the listed candidates to zero again."""
    for b in range(n_candidates):
        candidates.collisions[candidates.labels[b]] = 0


@inner
def add_met_at_least(n_candidates, min_collisions, limit, n, active, candidates):
    """Append candidates met in min_collisions tables or more, in the order met, until there are limit."""
    for b in range(n_candidates):
        if n >= limit:
            break
        if candidates.collisions[candidates.labels[b]] >= min_collisions:
            n = add_label(np.int64(candidates.labels[b]), n, active)
    return n


@inner
def add_most_met(n_candidates, limit, n, active, candidates):
    """Append the candidates met in most tables until there are limit; ties in the order met."""
    histogram = candidates.histogram
    histogram[:] = 0
    for b in range(n_candidates):
        histogram[candidates.collisions[candidates.labels[b]]] += 1
    least, n_above = histogram.shape[0] - 1, 0
    while least > 1 and n + n_above + histogram[least] < limit:
        n_above += histogram[least]
        least -= 1
    n = add_met_at_least(n_candidates, least + 1, limit, n, active, candidates)
    return add_met_at_least(n_candidates, least, limit, n, active, candidates)


@inner
def add_cooccurring(x, y, rows_with, i, limit, n, active):
    """Append labels of samples that share a feature with sample i: a draw is a feature, a sample, a label.

    The labels after that one are taken as well, RUN in all, those after the last being the first. x Rows, y
    Pattern, rows_with Pattern (n_features, n_samples): the samples that have a feature. There are limit - n
    labels at most. The draws take each step together, so that memory delivers what they read side by side.
    """
    drawn, places, left = active.drawn, active.places, limit - n
    first, n_features = x.indptr[i], x.indptr[i + 1] - x.indptr[i]
    if n_features == 0:
        return n
    n_draws = count_draws(left, y)
    for d in range(n_draws):
        drawn[d] = x.indices[first + random_below(active.stream, n_features)]
    for d in range(n_draws):
        start, stop = rows_with.indptr[drawn[d]], rows_with.indptr[drawn[d] + 1]
        drawn[d] = start + random_below(active.stream, stop - start)
    for d in range(n_draws):
        drawn[d] = rows_with.indices[drawn[d]]
    for d in range(n_draws):
        start, stop = y.indptr[drawn[d]], y.indptr[drawn[d] + 1]
        places[d] = start + random_below(active.stream, stop - start)
        prefetch(y.indices, places[d])
    for d in range(n_draws):
        start, stop = y.indptr[drawn[d]], y.indptr[drawn[d] + 1]
        if stop > start:
            q, n_taken = places[d], min(RUN, stop - start, left)
            left -= n_taken
            for _ in range(n_taken):
                n = add_label(np.int64(y.indices[q]), n, active)
                q = q + 1 if q + 1 < stop else start
    return n


@inner
def count_draws(n_labels, y):
    """Return how many samples bring about n_labels labels in runs, by the mean number of labels in y."""
    mean = y.indices.shape[0] // max(y.indptr.shape[0] - 1, 1)
    length = max(1, min(RUN, mean))
    return (n_labels + length - 1) // length


@inner
def add_frequent(y, limit, n, active):
    """Append labels drawn in proportion to their frequency, which is to draw from the stored entries of y."""
    n_stored = y.indices.shape[0]
    if n_stored == 0:
        return n
    for _ in range(limit - n):
        n = add_label(np.int64(y.indices[random_below(active.shared, n_stored)]), n, active)
    return n


@inner
def add_uniform(limit, n, active):
    """Append labels drawn uniformly."""
    for _ in range(limit - n):
        n = add_label(random_below(active.shared, active.stamps.shape[0]), n, active)
    return n


@inner
def add_other_negatives(samples, i, rows_with, sampler, n, active):
    """Append the labels of every source but the tables to the n active ones of sample i; return their number.

    rows_with is the Pattern that add_cooccurring takes, or None for no labels from there. Neighbours, whose
    active.shared is the same, draw the same frequent and uniform labels: their rows are then in a cache.
    """
    if sampler.n_active >= active.stamps.shape[0]:
        return add_all(n, active)
    if rows_with is not None:
        limit = min(sampler.n_active, n + sampler.n_cooccurrence)
        n = add_cooccurring(samples.x, samples.y, rows_with, i, limit, n, active)
    n = add_frequent(samples.y, min(sampler.n_active, n + sampler.n_frequency), n, active)
    return add_uniform(min(sampler.n_active, n + sampler.n_uniform), n, active)
