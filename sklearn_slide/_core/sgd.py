"""The flow of one training sample, and the chunk of samples that one thread works through."""

from typing import Any, NamedTuple

import numpy as np

from sklearn_slide._core.active_set import (
    ActiveSet,
    Candidates,
    Sampler,
    add_hashed,
    add_other_negatives,
    add_true,
    make_active_set,
    make_candidates,
)
from sklearn_slide._core.compilation import inner, njit
from sklearn_slide._core.direct import Matches, make_matches, match_direct, update_direct
from sklearn_slide._core.hashing import hash_vector, work_size
from sklearn_slide._core.layers import (
    Activity,
    Batch,
    NetworkState,
    backward_hidden,
    backward_output,
    forward,
    forward_work,
    make_activity,
    score_labels,
)
from sklearn_slide._core.losses import Nonzero, compute_residuals, list_nonzero, make_nonzero, round_small
from sklearn_slide._core.random_numbers import start_shared_stream, start_stream
from sklearn_slide._core.rows import Pattern
from sklearn_slide._core.tables import Tables

# An epoch passes over a sample at most so many times; a pass over one of more weight counts for more.
MAX_PASSES = 10
# So many passes, one after the other, draw the same labels of the sources that know nothing of the sample:
# the rows of these are then read from a cache.
GROUP = 16


class Index(NamedTuple):
    """The hash tables over the labels, and how they are read."""

    hasher: Any  # of one of the FAMILIES
    tables: Tables
    selection: Any  # of one of the SELECTIONS


class Engine(NamedTuple):
    """What all threads share: the weights that they update, the tables that they read, and the settings."""

    batch: Batch  # the training samples and the network
    state: NetworkState
    loss: Any  # of one of the LOSSES
    least_residual: np.float32  # smaller ones are rounded
    sampler: Sampler
    index: Index | None  # None if no label comes from hash tables
    rows_with: Pattern | None  # (n_features, n_samples), the samples that have a feature, to draw labels from


class Epoch(NamedTuple):
    """One pass over the samples in some order."""

    number: int  # of the epochs before it, which is a part of the seed of each pass
    seed: int
    order: np.ndarray  # int64 (n_passes,), numbers of passes
    rates: np.ndarray  # float64 (2,), the learning rates at the first of the order and after the last


class Lookups(NamedTuple):
    """What one worker writes on while it looks a sample up in the tables."""

    codes: np.ndarray  # int32 (n_tables,)
    hash_work: np.ndarray  # float32 (work_size(hasher),)
    candidates: Candidates


class Scratch(NamedTuple):
    """What one worker writes on while it computes a sample."""

    active: ActiveSet
    activity: Activity
    logits: np.ndarray  # float32 (capacity,)
    residuals: np.ndarray  # float32 (capacity,)
    nonzero: Nonzero  # the active labels whose residuals are not 0
    matches: Matches | None  # of direct weights
    lookups: Lookups | None


def make_lookups(hasher, n_labels, bucket_size):
    """Allocate the Lookups of one worker."""
    return Lookups(
        codes=np.zeros(hasher.n_tables, dtype=np.int32),
        hash_work=np.zeros(work_size(hasher), dtype=np.float32),
        candidates=make_candidates(n_labels, hasher.n_tables, bucket_size),
    )


def make_scratch(engine, most_true):
    """Allocate the Scratch of one worker for samples with up to most_true true labels."""
    (x, network), index = engine.batch, engine.index
    capacity = min(network.n_labels, max(engine.sampler.n_active, most_true))
    return Scratch(
        active=make_active_set(network.n_labels, capacity),
        activity=make_activity(network, frozen=engine.state.input is None),
        logits=np.zeros(capacity, dtype=np.float32),
        residuals=np.zeros(capacity, dtype=np.float32),
        nonzero=make_nonzero(capacity),
        matches=make_matches(x, network.direct, network.n_labels, capacity),
        lookups=index and make_lookups(index.hasher, network.n_labels, index.selection.bucket_size),
    )


@njit
def train_chunk(samples, start, stop, epoch, engine, scratch):
    """Learn in the passes order[start:stop] of an Epoch: algorithm 1 of Chen et al. (2020), for each sample.

    A sample's hidden vector is hashed; the tables and other sources give its active labels; these are scored,
    and the weights that they and the sample's features have are stepped against the loss, in place. Return
    the sums of the losses over the active labels and of the numbers of these. A loss that is not finite ends
    the chunk before that sample touches a weight.
    """
    network, active = engine.batch.network, scratch.active
    h, x, labels = scratch.activity.hidden[-1], engine.batch.x, active.labels
    logits, residuals, nonzero, state = scratch.logits, scratch.residuals, scratch.nonzero, engine.state
    total_loss, total_active = 0.0, 0
    for s in range(start, stop):
        i = np.int64(samples.passes[epoch.order[s]])
        rate = np.float32(epoch.rates[0] + (epoch.rates[1] - epoch.rates[0]) * s / epoch.order.shape[0])
        start_stream(active.stream, epoch.seed, epoch.number, epoch.order[s])
        key = active.stream[0]
        start_shared_stream(active.shared, epoch.seed, epoch.number, s // GROUP)
        forward(engine.batch, i, scratch.activity.hidden)

        n_true = add_true(samples.y, i, active)
        n = add_retrieved(h, engine.index, engine.sampler, n_true, active, scratch.lookups)
        n_active = add_other_negatives(samples, i, engine.rows_with, engine.sampler, n, active)
        score_labels(h, labels, n_active, network.output, logits)
        n_matches = match_direct(x, i, network.direct, labels, n_active, scratch.matches, logits)
        loss = compute_residuals(engine.loss, logits, labels, n_active, n_true, residuals)
        round_small(residuals, labels, n_active, engine.least_residual, key)
        loss = weigh(loss, residuals, n_active, samples.weights[i])

        total_loss += loss
        total_active += n_active
        # a comparison, for sums may be reordered: isfinite subtracts a number from itself
        if not abs(loss) < np.inf:
            break
        n_nonzero = list_nonzero(residuals, labels, n_active, nonzero)
        backward_output(
            nonzero.labels, n_nonzero, nonzero.residuals, network.output, state.output, rate, scratch.activity
        )
        backward_hidden(engine.batch, i, state, rate, scratch.activity)
        of_labels, matches = state.output.weights, scratch.matches
        update_direct(network.direct, of_labels, nonzero, n_nonzero, n_active, rate, matches, n_matches)
    return total_loss, total_active


@inner
def add_retrieved(h, index, sampler, n, active, lookups):
    """Append labels from the buckets of the hidden vector h, float32, to the n active ones."""
    if index is None:
        return n
    hash_vector(index.hasher, h[: index.hasher.n_features], lookups.hash_work, lookups.codes)
    limit = min(sampler.n_active, n + sampler.n_hashed)
    return add_hashed(index.selection, lookups.codes, index.tables, limit, n, active, lookups.candidates)


@inner
def weigh(loss, residuals, n, weight):
    """Multiply the loss and residuals[:n] by what one pass over a sample of that weight counts for."""
    if weight != 1.0:
        weight /= min(np.ceil(weight), np.float32(MAX_PASSES))
        loss *= weight
        for a in range(n):
            residuals[a] *= weight
    return loss


def pass_work(samples, network, capacity):
    """Count the weights that a mean pass over the Samples, with that many active labels, reads and steps."""
    x, n_entries = samples.x, len(samples.x.indices) / samples.x.n_rows
    work = capacity * network.n_units + forward_work(network, n_entries)
    if network.direct is not None:
        counts = np.diff(network.direct.indptr)
        # to look a direct weight up takes as long as four others
        work += 4 * (np.bincount(x.indices, minlength=len(counts)) @ counts) / x.n_rows
    return 2 * work
