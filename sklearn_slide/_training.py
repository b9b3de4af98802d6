"""The flow of one training sample, and the chunk of samples that one thread works through."""

from typing import NamedTuple

import numpy as np
from joblib import Parallel

from sklearn_slide._direct import Matches, make_matches, match_direct, update_direct
from sklearn_slide._hashing import Hasher, hash_rows, hash_vector, work_size
from sklearn_slide._losses import compute_residuals
from sklearn_slide._network import (
    Network,
    backward_hidden,
    backward_output,
    float_rows,
    forward,
    hidden_width,
    score_labels,
)
from sklearn_slide._numba import njit, start_stream
from sklearn_slide._optimizers import Solver
from sklearn_slide._parallel import rows_of_round, run_over_range, run_parts, split_range
from sklearn_slide._sampling import (
    ActiveSet,
    Sampler,
    add_negatives,
    add_true,
    make_active_set,
    pass_weight,
)
from sklearn_slide._tables import Tables, build_tables


class Engine(NamedTuple):
    """What all threads share: the weights that they update, the tables that they read, and the settings."""

    network: Network
    hasher: Hasher
    tables: Tables
    sampler: Sampler
    solver: int  # one of SOLVERS' numbers
    activation: int
    loss: int


class Scratch(NamedTuple):
    """What one worker writes on while it computes a sample."""

    active: ActiveSet
    hidden: np.ndarray  # float32 (n_hidden or 1, width), the hidden vectors, a row a layer
    gradients: np.ndarray  # float32, as hidden: the loss's derivatives by them
    logits: np.ndarray  # float32 (capacity,)
    residuals: np.ndarray  # float32 (capacity,)
    matches: Matches  # of direct weights
    codes: np.ndarray  # int32 (n_tables,)
    hash_work: np.ndarray  # float32, what the hash family needs
    one: np.ndarray  # float32 (1,), holds 1
    units: np.ndarray  # int32 (width,), the numbers from 0 on


def make_scratch(x, network, hasher, sampler, max_true):
    """Allocate the scratch of one worker for the samples x, Rows, with up to max_true true labels."""
    n_labels = len(network.output.weights.values)
    shape = (len(network.hidden), hidden_width(network))
    capacity = min(n_labels, max(sampler.n_active, max_true))
    n_tables = hasher.n_tables if sampler.n_hashed else 0
    return Scratch(
        active=make_active_set(n_labels, capacity, n_tables, sampler.bucket_size),
        hidden=np.zeros(shape, dtype=np.float32),
        gradients=np.zeros(shape, dtype=np.float32),
        logits=np.zeros(capacity, dtype=np.float32),
        residuals=np.zeros(capacity, dtype=np.float32),
        matches=make_matches(x, network.direct, n_labels, capacity),
        codes=np.zeros(n_tables, dtype=np.int32),
        hash_work=np.zeros(work_size(hasher), dtype=np.float32),
        one=np.ones(1, dtype=np.float32),
        units=np.arange(shape[1], dtype=np.int32),
    )


@njit
def train_chunk(samples, order, start, stop, rates, seed, epoch, engine, scratch):
    """Learn in the passes order[start:stop], int64, one after the other, in place.

    rates float64 are the learning rates at the first of the order and after the last. Return the
    sums of their losses over the active labels and of the numbers of these. A loss that is not finite ends
    the chunk before that sample touches a weight.
    """
    x, y, network, active = samples.x, samples.y, engine.network, scratch.active
    hidden, gradients = scratch.hidden, scratch.gradients
    logits, residuals = scratch.logits, scratch.residuals
    h, gradient = hidden[-1], gradients[-1]
    has_direct = network.direct.labels.shape[0] > 0
    total_loss, total_active, n_matches = 0.0, 0, 0
    for s in range(start, stop):
        i = samples.passes[order[s]]
        rate = rates[0] + (rates[1] - rates[0]) * s / order.shape[0]
        solver = Solver(engine.solver, np.float32(rate))
        start_stream(active.stream, seed, epoch, order[s])
        forward(x, i, network, engine.activation, hidden)
        if engine.sampler.n_hashed > 0:
            n_units = network.output.weights.values.shape[1]
            hash_vector(h[:n_units], engine.hasher, scratch.hash_work, scratch.codes)

        n_true = add_true(y, i, active)
        n_active = add_negatives(samples, i, scratch.codes, engine.tables, engine.sampler, n_true, active)
        score_labels(h, active.labels, n_active, network.output, logits)
        if has_direct:
            n_matches = match_direct(x, i, network.direct, active.labels, n_active, scratch.matches, logits)
        loss = compute_residuals(
            logits, active.labels, n_active, n_true, engine.loss, samples.label_weights, residuals
        )
        weight = pass_weight(samples.weights[i])
        if weight != 1.0:
            loss *= weight
            residuals[:n_active] *= weight

        total_loss += loss
        total_active += n_active
        if not np.isfinite(loss):
            break
        backward_output(h, active.labels, n_active, residuals, network.output, solver, scratch.one, gradient)
        backward_hidden(
            x, i, network, engine.activation, solver, scratch.one, scratch.units, hidden, gradients
        )
        if has_direct:
            update_direct(network, active.labels, n_active, residuals, solver, scratch.matches, n_matches)
    return total_loss, total_active


def rebuild_tables(network, hasher, tables, n_jobs):
    """Hash the weights of every label and sort the labels into the tables anew."""
    weights = network.output.weights
    n_labels, n_units = weights.values.shape
    codes = np.empty((n_labels, hasher.n_tables), dtype=np.int32)

    def hash_part(start, stop):
        work = np.empty(work_size(hasher), dtype=np.float32)
        hash_rows(float_rows(weights, start, stop), 0, stop - start, hasher, work, codes[start:stop])

    def build_part(first, last):
        build_tables(codes, first, last, tables)

    run_over_range(hash_part, 0, n_labels, n_jobs, work=n_units * hasher.n_tables)
    # eight for what a table reads from all over the codes
    run_over_range(build_part, 0, hasher.n_tables, n_jobs, work=8 * n_labels)


def pass_work(samples, network, capacity):
    """Count the weights that a mean pass over the Samples, with that many active labels, reads and steps."""
    x, direct = samples.x, network.direct
    n_samples = len(x.indptr) - 1
    n_output = capacity * network.output.weights.values.shape[1]
    n_input = len(x.indices) / n_samples * network.hidden[0].weights.values.shape[1]
    n_hidden = sum(layer.weights.values.size for layer in network.hidden[1:])
    n_lists = np.bincount(x.indices, minlength=len(direct.indptr) - 1) @ np.diff(direct.indptr) / n_samples
    # to look a direct weight up takes as long as four others
    return 2 * (n_output + n_input + n_hidden + 4 * n_lists)


def train_rounds(samples, order, engine, scratches, rates, schedule, n_seen, seed, epoch):
    """Pass over the samples in the given order, one thread for each scratch, rebuilding tables when due.

    order int64 (n_passes,), rates the learning rates at the first and after the last pass, schedule
    RehashSchedule, or None without tables, n_seen the passes made before. Threads meet after each
    round of a few tenths of a second; then (passes done, sum of their losses, sum of their active labels)
    of the round is yielded, and an interrupt can arrive.
    """
    n_jobs = len(scratches)
    size = rows_of_round(pass_work(samples, engine.network, len(scratches[0].logits))) * n_jobs

    def train_part(start, stop, scratch):
        return train_chunk(samples, order, start, stop, rates, seed, epoch, engine, scratch)

    with Parallel(n_jobs=n_jobs, prefer="threads", require="sharedmem") as parallel:
        start = 0
        while start < len(order):
            stop = min(start + size, len(order))
            if schedule is not None:
                if n_seen + start >= schedule.due:
                    rebuild_tables(engine.network, engine.hasher, engine.tables, n_jobs)
                    schedule.advance()
                stop = min(stop, start + int(np.ceil(schedule.due - n_seen - start)))
            parts = [
                (*part, scratch)
                for part, scratch in zip(split_range(start, stop, n_jobs), scratches, strict=False)
            ]
            losses, n_active = zip(*run_parts(train_part, parts, parallel), strict=True)
            yield stop - start, sum(losses), sum(n_active)
            start = stop
