"""A batch of vectors and the active labels of each: drawn, scored, differentiated and stepped.

For an output layer inside another framework, which computes what comes before it and the loss.
"""

from typing import NamedTuple

import numpy as np

from sklearn_slide._core.active_set import (
    ActiveSet,
    Sampler,
    add_other_negatives,
    add_true,
    make_active_set,
)
from sklearn_slide._core.compilation import inner, njit
from sklearn_slide._core.layers import Layer, LayerState, score_labels
from sklearn_slide._core.losses import add_sigmoid_residuals, add_softmax_residuals, clear
from sklearn_slide._core.optimizers import mean_square, step_rows
from sklearn_slide._core.random_numbers import start_shared_stream, start_stream
from sklearn_slide._core.rows import Pattern
from sklearn_slide._core.sgd import Index, Lookups, add_retrieved, make_lookups


class Drawing(NamedTuple):
    """Where the active labels of a batch come from."""

    true: Pattern  # indptr and indices int64, the true labels of each row
    y: Pattern  # frequent labels are drawn from its entries
    sampler: Sampler
    index: Index | None
    seed: int
    number: int  # of the rows before this batch, a part of the seed of each row


class DrawScratch(NamedTuple):
    """What one thread writes on while it draws."""

    active: ActiveSet
    lookups: Lookups | None


class ActiveRows(NamedTuple):
    """Vectors and their active labels."""

    h: np.ndarray  # float (n_rows, n_units)
    labels: np.ndarray  # int64 (n_rows, capacity), the true ones first, -1 after the last


class Scores(NamedTuple):
    """Scores of active labels."""

    logits: np.ndarray  # float (n_rows, capacity)
    labels: np.ndarray  # int64, as in ActiveRows
    n_true: np.ndarray  # int64 (n_rows,)


class Entries(NamedTuple):
    """Residuals by label: those of the p-th label stand from offsets[p] to offsets[p + 1]."""

    labels: np.ndarray  # int64 (n_touched,)
    offsets: np.ndarray  # int64 (n_touched + 1,)
    rows: np.ndarray  # int64 (n_entries,), the row of each residual
    residuals: np.ndarray  # float (n_entries,)
    n_broken: int  # rows whose vector or residuals are not finite


class Fused(NamedTuple):
    """An output layer, and what its solver remembers of it."""

    output: Layer
    state: LayerState


class Mixture(NamedTuple):
    """The shares of the losses, and the size up to which residuals become 0."""

    sigmoid: np.float32
    softmax: np.float32
    floor: np.float32


def make_draw_scratch(n_labels, capacity, index):
    """Allocate the DrawScratch of one thread."""
    active = make_active_set(n_labels, capacity)
    return DrawScratch(active, index and make_lookups(index.hasher, n_labels, index.selection.bucket_size))


@njit
def draw_active(drawing, h, start, stop, scratch, labels, n_true):
    """Fill the rows start to stop of labels, int64 (n, capacity), and of n_true, int64 (n,).

    h is float32 (n, n_units). Return the first row whose true labels are out of range, or -1.
    """
    active, true, sampler = scratch.active, drawing.true, drawing.sampler
    for i in range(start, stop):
        if not in_range(true, i, active.stamps.shape[0]):
            return i
        start_stream(active.stream, drawing.seed, 0, drawing.number + i)
        start_shared_stream(active.shared, drawing.seed, 0, drawing.number + i)
        n = add_true(true, i, active)
        n_true[i] = n
        n = add_retrieved(h[i], drawing.index, sampler, n, active, scratch.lookups)
        n = add_other_negatives(drawing, i, None, sampler, n, active)
        for a in range(n):
            labels[i, a] = active.labels[a]
        for a in range(n, labels.shape[1]):
            labels[i, a] = -1
    return -1


@njit
def longest(offsets):
    """Return the largest step from one of offsets, int64 (n + 1,), to the next, or -1 if one falls."""
    most = np.int64(0)
    for i in range(offsets.shape[0] - 1):
        step = offsets[i + 1] - offsets[i]
        if step < 0:
            return np.int64(-1)
        most = max(most, step)
    return most


@njit
def remember(labels, recent, start):
    """Write labels, int64 (n,), on recent, int32 (room,), from the place start on, and round its end."""
    for p in range(labels.shape[0]):
        recent[(start + p) % recent.shape[0]] = labels[p]


@inner
def in_range(true, i, n_labels):
    """Tell whether the bounds and the labels of row i of a Pattern are those of n_labels labels."""
    first, last = true.indptr[i], true.indptr[i + 1]
    inside = 0 <= first <= last <= true.indices.shape[0]
    if inside:
        for p in range(first, last):
            inside = inside and 0 <= true.indices[p] < n_labels
    return inside


@inner
def count_active(labels):
    """Count the labels before the first -1, int64 (capacity,)."""
    n = labels.shape[0]
    while n > 0 and labels[n - 1] < 0:
        n -= 1
    return n


@njit
def score_active(batch, start, stop, output, logits):
    """Fill the rows start to stop of logits, float (n, capacity), for ActiveRows; -inf after the last."""
    for i in range(start, stop):
        labels, scores = batch.labels[i], logits[i]
        n = count_active(labels)
        score_labels(batch.h[i], labels, n, output, scores)
        for a in range(n, scores.shape[0]):
            scores[a] = -np.inf


@njit
def input_gradients(batch, start, stop, residuals, weights, gradients):
    """Fill the rows start to stop of gradients, float (n, n_units), with the sums of r_y w_y."""
    for i in range(start, stop):
        labels, gradient = batch.labels[i], gradients[i]
        gradient[:] = 0.0
        for a in range(count_active(labels)):
            y, r = labels[a], residuals[i, a]
            if r != 0.0:
                for u in range(gradient.shape[0]):
                    gradient[u] += r * weights[y, u]


@njit
def list_entries(batch, residuals, counts):
    """Sort the residuals other than 0 of ActiveRows by label, and return Entries.

    residuals is float (n, capacity), counts int64 (n_labels,) scratch, zero before and after.
    """
    h, labels = batch.h, batch.labels
    touched, n, n_entries, n_broken = np.empty(residuals.size, dtype=np.int64), 0, 0, 0
    for i in range(labels.shape[0]):
        square = mean_square(h[i], h.shape[1])
        for a in range(count_active(labels[i])):
            r = residuals[i, a]
            if r != 0.0:
                y = labels[i, a]
                if counts[y] == 0:
                    touched[n] = y
                    n += 1
                counts[y] += 1
                n_entries += 1
                square += abs(r)
        # a comparison, for sums may be reordered: isfinite subtracts a number from itself
        n_broken += not square < np.inf
    offsets, rows = np.empty(n + 1, dtype=np.int64), np.empty(n_entries, dtype=np.int64)
    values = np.empty(n_entries, dtype=residuals.dtype)
    offsets[0] = 0
    for p in range(n):
        offsets[p + 1] = offsets[p] + counts[touched[p]]
        counts[touched[p]] = offsets[p]
    for i in range(labels.shape[0]):
        for a in range(count_active(labels[i])):
            if residuals[i, a] != 0.0:
                y = labels[i, a]
                rows[counts[y]], values[counts[y]] = i, residuals[i, a]
                counts[y] += 1
    for p in range(n):
        counts[touched[p]] = 0
    return Entries(touched[:n], offsets, rows, values, n_broken)


@inner
def label_gradient(h, entries, p, gradient):
    """Set gradient, float (n_units,), to the sum of r h over the p-th label, and return the sum of r."""
    first, last = entries.offsets[p], entries.offsets[p + 1]
    i, total = entries.rows[first], entries.residuals[first]
    for u in range(gradient.shape[0]):
        gradient[u] = total * h[i, u]
    for q in range(first + 1, last):
        i, r = entries.rows[q], entries.residuals[q]
        total += r
        for u in range(gradient.shape[0]):
            gradient[u] += r * h[i, u]
    return total


@njit
def weight_gradients(h, entries, first, last, places, weights, biases):
    """Compute the gradients of the labels first to last of the Entries.

    The p-th of them goes to row places[p], int64, of weights, float (n, n_units), and biases, float (n,).
    """
    for p in range(first, last):
        biases[places[p]] = label_gradient(h, entries, p, weights[places[p]])


@njit
def step_labels(h, entries, first, last, fused, rate):
    """Step the labels first to last of the Entries by Adagrad, each by its gradient over the batch."""
    (weights, biases), (of_weights, of_biases) = fused.output, fused.state
    gradient, total = np.empty(h.shape[1], dtype=np.float32), np.empty(1, dtype=np.float32)
    row, one = np.empty(1, dtype=np.int32), np.ones(1, dtype=np.float32)
    for p in range(first, last):
        row[0], total[0] = entries.labels[p], label_gradient(h, entries, p, gradient)
        step_rows(of_weights, weights, row, one, 1, gradient, mean_square(gradient, h.shape[1]), rate)
        step_rows(of_biases, biases, row, one, 1, total, total[0] * total[0], rate)


@njit
def step_batch(batch, residuals, counts, fused, rate, gradients):
    """Fill gradients, float32 (n, n_units) or (0, n_units), as input_gradients does, and step all labels.

    residuals and counts as in list_entries. Return the number of broken rows; if there are any, none steps.
    """
    input_gradients(batch, 0, gradients.shape[0], residuals, fused.output.weights, gradients)
    entries = list_entries(batch, residuals, counts)
    if entries.n_broken == 0:
        step_labels(batch.h, entries, 0, entries.labels.shape[0], fused, rate)
    return entries.n_broken


@njit
def loss_rows(scores, start, stop, mixture, residuals, losses):
    """Fill the rows start to stop of residuals, float (n, capacity), and of losses, float (n,).

    A loss is the mixture of the two; residuals are its derivatives by the logits of the Scores.
    """
    for i in range(start, stop):
        labels, logits, n_true, out = scores.labels[i], scores.logits[i], scores.n_true[i], residuals[i]
        n, loss = count_active(labels), 0.0
        clear(out, out.shape[0])
        if mixture.softmax > 0:
            share = mixture.softmax
            loss += share * add_softmax_residuals(logits, labels, n, n_true, share, None, out)
        if mixture.sigmoid > 0:
            share = mixture.sigmoid
            loss += share * add_sigmoid_residuals(logits, labels, n, n_true, share, None, out)
        for a in range(n):
            if abs(out[a]) <= mixture.floor:
                out[a] = 0.0
        losses[i] = loss
