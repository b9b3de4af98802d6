"""The labels worth scoring for a sample: those that direct weights or its buckets name."""

from typing import NamedTuple

import numpy as np

from sklearn_slide._direct import add_direct
from sklearn_slide._hashing import Hasher, hash_vector, work_size
from sklearn_slide._network import forward, hidden_width
from sklearn_slide._numba import njit
from sklearn_slide._parallel import rows_of_round, run_in_rounds
from sklearn_slide._sampling import ActiveSet, add_label, add_most_met, count_collisions, make_active_set
from sklearn_slide._screening import Screen, project, rank_screened, score_rounded
from sklearn_slide._tables import Tables, allocate_tables
from sklearn_slide._training import rebuild_tables

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


class Scratch(NamedTuple):
    """What a thread works with while it retrieves; zero between samples where it says so."""

    active: ActiveSet
    codes: np.ndarray  # int32 (n_tables,)
    hash_work: np.ndarray  # float32 (work_size(hasher),)
    hidden: np.ndarray  # float32 (n_hidden or 1, width)
    along: np.ndarray  # float32 (n_axes,)
    logits: np.ndarray  # float32 (n_labels,)
    bounds: np.ndarray  # float32 (n_labels,)
    direct_scores: np.ndarray  # float32 (n_labels,), zero between samples


class Index(NamedTuple):
    """What is made of a network once, for retrieval."""

    hasher: Hasher
    tables: Tables
    screen: Screen
    unused: list  # of Scratch: a thread takes one or makes one, and puts it here when it is done


def make_index(network, hasher, screen, n_jobs):
    """Hash the labels of a network into tables."""
    tables = allocate_tables(hasher, len(screen.labels))
    rebuild_tables(network, hasher, tables, n_jobs)
    return Index(hasher, tables, screen, [])


def take_scratch(index, network):
    """Return a Scratch that no thread uses: to allocate one takes as long as a ranking."""
    try:
        return index.unused.pop()
    except IndexError:
        pass
    n_labels, n_tables = len(index.screen.labels), index.hasher.n_tables
    active = make_active_set(n_labels, n_labels, n_tables, int(np.diff(index.tables.offsets, axis=1).max()))
    active.table_order[:] = np.arange(n_tables)
    return Scratch(
        active=active,
        codes=np.empty(n_tables, dtype=np.int32),
        hash_work=np.empty(work_size(index.hasher), dtype=np.float32),
        hidden=np.empty((len(network.hidden), hidden_width(network)), dtype=np.float32),
        along=np.empty(len(index.screen.axes), dtype=np.float32),
        logits=np.empty(n_labels, dtype=np.float32),
        bounds=np.empty(n_labels, dtype=np.float32),
        direct_scores=np.zeros(n_labels, dtype=np.float32),
    )


@njit
def retrieve_rows(
    x, start, stop, network, activation, screen, hasher, tables, biases, limit, scratch, labels, scores
):
    """Rank, for the rows start to stop, the candidates alone: limit of n_labels, or k if that is more.

    x Rows, biases float32 (n_labels,), labels int32 and scores float32 (n_rows, k). Half of the candidates at
    most come from the direct weights, the rest are those that share most buckets with the hidden vector. Too
    few are filled up from label 0 on.
    """
    k, n_units = labels.shape[1], screen.axes.shape[1]
    active, codes, logits, direct_scores = (
        scratch.active,
        scratch.codes,
        scratch.logits,
        scratch.direct_scores,
    )
    for i in range(start, stop):
        forward(x, i, network, activation, scratch.hidden)
        h = scratch.hidden[-1, :n_units]
        n = add_best_direct(x, i, network, biases, (limit + 1) // 2, active, direct_scores, logits)
        hash_vector(h, hasher, scratch.hash_work, codes)
        n_candidates = count_collisions(codes, tables, active.bucket.shape[0], active)
        n = add_most_met(n_candidates, limit, n, active)
        for b in range(n_candidates):
            active.collisions[active.candidates[b]] = 0
        y = 0
        while n < k:
            n = add_label(y, n, active)
            y += 1
        rest = project(h, screen.axes, scratch.along)
        score_rounded(scratch.along, active.labels, n, screen, biases, logits)
        for a in range(n):
            logits[a] += direct_scores[active.labels[a]]
        clear_direct(x, i, network.direct, direct_scores)
        rank_screened(
            x, i, h, rest, active.labels, n, network, screen, logits, scratch.bounds, labels[i], scores[i]
        )


def retrieved_top_k(x, k, network, index, activation, n_jobs, report):
    """Rank the candidates of each sample; return labels int32 and scores float32, (n_samples, k)."""
    n_samples, (n_labels, n_axes) = len(x.indptr) - 1, index.screen.values.shape
    labels, scores = np.empty((n_samples, k), dtype=np.int32), np.empty((n_samples, k), dtype=np.float32)
    biases = network.output.biases.values.ravel()
    limit = int(np.ceil(_SHARE * n_labels))

    def part(first, last):
        scratch = take_scratch(index, network)
        retrieve_rows(
            x,
            first,
            last,
            network,
            activation,
            index.screen,
            index.hasher,
            index.tables,
            biases,
            limit,
            scratch,
            labels,
            scores,
        )
        index.unused.append(scratch)

    run_in_rounds(part, n_samples, rows_of_round(limit * n_axes), n_jobs, report)
    return labels, scores
