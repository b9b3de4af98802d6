"""The labels worth scoring for a sample: those that direct weights or its buckets name."""

from typing import Any, NamedTuple

import numpy as np

from sklearn_slide._core.active_set import (
    ActiveSet,
    add_label,
    add_most_met,
    count_collisions,
    forget_collisions,
    make_active_set,
)
from sklearn_slide._core.best import insert_best, kth_largest, no_best
from sklearn_slide._core.compilation import inner, njit
from sklearn_slide._core.direct import add_direct
from sklearn_slide._core.hashing import hash_vector
from sklearn_slide._core.parallel import rows_of_round, run_in_rounds, take
from sklearn_slide._core.screen import Screen
from sklearn_slide._core.screening import (
    LOWEST,
    Guess,
    cast_shadow,
    insert_scored,
    is_below,
    is_inserted,
    lowered,
    make_guess,
    score_label,
    score_rounded,
    slack_of,
)
from sklearn_slide._core.sgd import Lookups, make_lookups
from sklearn_slide._core.tables import Tables, allocate_tables, rebuild_tables

# The share of the labels that is scored for a sample at most; direct weights tell of up to half of it.
_SHARE = 0.05
# So few labels are ranked by all weights: there is no time to gain.
MIN_LABELS = 2000


class Retrieval(NamedTuple):
    """What is made of a network once, to retrieve labels."""

    hasher: Any  # of one of the FAMILIES
    tables: Tables
    screen: Screen
    n_scored: int  # labels scored for a sample at most, but never less than k


class Scratch(NamedTuple):
    """What a thread works with while it retrieves."""

    active: ActiveSet
    lookups: Lookups
    guess: Guess  # its logits are those of the candidates, by their places
    direct_scores: np.ndarray  # float32 (n_labels,), zero between samples
    ordered: np.ndarray  # float32 (n_labels,), scores that are put in another order


def make_retrieval(network, hasher, screen, n_jobs):
    """Hash the labels of a network into tables."""
    tables = allocate_tables(hasher, network.n_labels)
    rebuild_tables(network.output.weights, hasher, tables, n_jobs)
    return Retrieval(hasher, tables, screen, int(np.ceil(_SHARE * network.n_labels)))


def make_scratch(retrieval, network):
    """Allocate the Scratch of one thread; whole buckets are read."""
    n_labels, largest = network.n_labels, int(np.diff(retrieval.tables.offsets, axis=1).max())
    return Scratch(
        active=make_active_set(n_labels, n_labels),
        lookups=make_lookups(retrieval.hasher, n_labels, largest),
        guess=make_guess(network, retrieval.screen),
        direct_scores=np.zeros(n_labels, dtype=np.float32),
        ordered=np.empty(n_labels, dtype=np.float32),
    )


@inner
def add_best_direct(x, i, direct, biases, limit, scratch):
    """Start an active set with the limit best labels by direct weights and bias; return their number.

    x Rows, biases float32 (n_labels,). scratch.direct_scores, zero before, has afterwards the direct weights'
    part of each score.
    """
    active, direct_scores = scratch.active, scratch.direct_scores
    values, ordered = scratch.guess.logits, scratch.ordered
    active.mark[0] += 1
    first = np.int64(0)
    n = list_direct(x, i, direct, first, active)
    add_direct(x, i, direct, first, direct_scores)
    if n <= limit:
        return n
    for a in range(n):
        values[a] = direct_scores[active.labels[a]] + biases[active.labels[a]]
        ordered[a] = values[a]
    least = kth_largest(ordered, n, limit)
    n_ties = limit
    for a in range(n):
        n_ties -= np.int64(values[a] > least)
    n_kept = 0
    for a in range(n):
        y, tied = active.labels[a], values[a] == least
        if values[a] > least or (tied and n_ties > 0):
            active.labels[n_kept] = y
            n_kept += 1
            n_ties -= np.int64(tied)
        else:
            active.stamps[y] = 0
    return n_kept


@inner
def list_direct(x, i, direct, n, active):
    """Append the labels to which the features of sample i have direct weights; return the new number."""
    if direct is None:
        return n
    for p in range(x.indptr[i], x.indptr[i + 1]):
        for q in range(direct.indptr[x.indices[p]], direct.indptr[x.indices[p] + 1]):
            n = add_label(np.int64(direct.labels[q]), n, active)
    return n


@inner
def clear_direct(x, i, direct, scores):
    """Set what the direct weights of sample i added to scores, float32 (n_labels,), to 0 again."""
    if direct is None:
        return
    for p in range(x.indptr[i], x.indptr[i + 1]):
        for q in range(direct.indptr[x.indices[p]], direct.indptr[x.indices[p] + 1]):
            scores[direct.labels[q]] = 0.0


@inner
def add_candidates(batch, i, k, retrieval, scratch):
    """Start an active set with the candidates of sample i, n_scored or at least k; return their number.

    Half of them at most come from the direct weights, the rest are those that share most buckets with the
    hidden vector. Too few are filled up from label 0 on.
    """
    active, lookups, limit = scratch.active, scratch.lookups, retrieval.n_scored
    h = scratch.guess.hidden[-1, : retrieval.hasher.n_features]
    biases, found = retrieval.screen.biases, lookups.candidates
    n = add_best_direct(batch.x, i, batch.network.direct, biases, (limit + 1) // 2, scratch)
    hash_vector(retrieval.hasher, h, lookups.hash_work, lookups.codes)
    n_found = count_collisions(lookups.codes, retrieval.tables, found.bucket.shape[0], active, found)
    n = add_most_met(n_found, limit, n, active, found)
    forget_collisions(n_found, found)
    y = np.int64(0)
    while n < k:
        n = add_label(y, n, active)
        y += 1
    return n


@inner
def rank_candidates(batch, i, h, candidates, n, logits, screen, shadow, best):
    """Find the best k of the labels candidates[:n], int32, n at least k.

    logits float32 are their scores by all axes of the Screen, h float32 (n_units,); best the labels int32 and
    scores float32 (k,), empty.
    """
    labels, scores = best
    k = labels.shape[0]
    promising = np.zeros(k, dtype=np.int32), np.full(k, -np.inf, dtype=np.float32)
    for a in range(n):
        insert_best(np.int64(candidates[a]), logits[a], *promising)
    insert_scored(batch, i, h, promising, best)
    least = max(LOWEST, lowered(scores[-1]))
    for a in range(n):
        y = np.int64(candidates[a])
        if logits[a] + slack_of(np.uint64(y), screen, shadow) < least or is_inserted(y, best):
            continue
        if not is_below(batch, i, h, y, logits[a], screen, shadow, least):
            insert_best(y, score_label(batch, i, h, y), labels, scores)
            least = max(least, lowered(scores[-1]))


@njit
def retrieve_rows(batch, start, stop, retrieval, scratch, labels, scores):
    """Rank, for the samples start to stop of the Batch, the candidates alone.

    labels int32 and scores float32 (n_samples, k), empty.
    """
    screen, guess, candidates = retrieval.screen, scratch.guess, scratch.active.labels
    logits, shadow = guess.logits, guess.shadow
    for i in range(start, stop):
        h = cast_shadow(batch, i, screen, guess)
        n = add_candidates(batch, i, labels.shape[1], retrieval, scratch)
        score_rounded(shadow.along, candidates, n, screen, logits)
        for a in range(n):
            logits[a] += scratch.direct_scores[candidates[a]]
        clear_direct(batch.x, i, batch.network.direct, scratch.direct_scores)
        rank_candidates(batch, i, h, candidates, n, logits, screen, shadow, (labels[i], scores[i]))


def retrieved_top_k(batch, k, retrieval, unused, n_jobs, report):
    """Rank the candidates of each sample; return labels int32 and scores float32, (n_samples, k).

    unused is a list of Scratch that threads take from and put back to: to allocate one takes as long as a
    ranking.
    """
    n_samples = batch.x.n_rows
    labels, scores = best = no_best(n_samples, k)

    def part(first, last):
        scratch = take(unused, lambda: make_scratch(retrieval, batch.network))
        retrieve_rows(batch, first, last, retrieval, scratch, labels, scores)
        unused.append(scratch)

    rows = rows_of_round(retrieval.n_scored * retrieval.screen.axes.shape[0])
    run_in_rounds(part, n_samples, rows, n_jobs, report)
    return best
