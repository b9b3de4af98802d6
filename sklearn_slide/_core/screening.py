"""A small copy of the output layer, which tells the labels that cannot be among the best k.

To rank one sample is to read all the weights once, and memory is what it waits for. The copy has the
weights along the directions in which they are longest, in one byte each. With it go bounds of what it leaves
out of a score: labels whose score may reach the k-th best are few, and only these are scored by the weights
themselves. The best k are those of a full ranking.
"""

from typing import NamedTuple

import numpy as np

from sklearn_slide._core.best import CHUNK, holds_more, insert_best
from sklearn_slide._core.compilation import inner, njit
from sklearn_slide._core.direct import add_direct, add_direct_of
from sklearn_slide._core.layers import forward
from sklearn_slide._core.matrices import (
    Quantized,
    float_rows,
    matrix_shape,
    round_rows,
    row_dot,
    row_lengths,
    vector_length,
)
from sklearn_slide._core.parallel import blocks, one_blas_thread, run_over_range, take

# A wide margin for the rounding of sums of float32: a share of the sum, or of the lengths of two vectors.
ROUNDING = np.float32(2.0**-16)

# Directions that are kept. They are the principal axes of labels, spread evenly, with about so many weights.
_N_AXES, _N_AXIS_WEIGHTS = 128, 2**20
_LABELS_AT_ONCE = 8192


class Screen(NamedTuple):
    """Weights along some directions, rounded: A w_y = scales[y] * values[y], off by errors[y] at most.

    The rest of w_y, at right angles to the directions, has length rests[y]. With r the length of the rest
    of h, w_y . h is scales[y] * values[y] . A h, more or less errors[y] |h| + rests[y] r at most.
    """

    axes: np.ndarray  # A, float32 (n_axes, n_units), orthonormal rows
    rounded: Quantized  # (n_labels, n_axes)
    errors: np.ndarray  # float32 (n_labels,)
    rests: np.ndarray  # float32 (n_labels,)
    biases: np.ndarray  # float32 (n_labels,), a view of the network's
    labels: np.ndarray  # int32 (n_labels,), all of them


def make_screen(output, n_jobs):
    """Make the Screen of the output Layer."""
    weights = output.weights
    n_labels, n_units = matrix_shape(weights)
    step = max(1, n_labels * n_units // _N_AXIS_WEIGHTS)
    some = np.concatenate([float_rows(weights, y, y + 1) for y in range(0, n_labels, step)])
    with one_blas_thread():
        axes = principal_axes(some)[:_N_AXES]
    rounded = Quantized(np.empty((n_labels, len(axes)), dtype=np.int8), np.empty(n_labels, dtype=np.float32))
    screen = Screen(
        np.ascontiguousarray(axes, dtype=np.float32),
        rounded,
        *(np.empty(n_labels, dtype=np.float32) for _ in range(2)),
        output.biases.ravel(),
        np.arange(n_labels, dtype=np.int32),
    )

    def part(start, stop):
        for first, last in blocks(start, stop, _LABELS_AT_ONCE):
            rows = float_rows(weights, first, last)
            along = rows @ screen.axes.T
            rest = row_lengths(rows - along @ screen.axes)
            round_rows(along, rounded.values[first:last], rounded.scales[first:last])
            errors = row_lengths(along - float_rows(rounded, first, last))
            screen.errors[first:last] = errors + ROUNDING * row_lengths(rows)
            screen.rests[first:last] = rest

    with one_blas_thread():
        run_over_range(part, 0, n_labels, n_jobs, work=n_units * len(axes))
    return screen


def principal_axes(rows):
    """Return the right singular vectors of rows, float32, the longest axis first, in rows of their own."""
    if len(rows) < rows.shape[1]:
        return np.linalg.svd(rows, full_matrices=False)[2]
    # of many rows the eigenvectors of the product, in a tenth of the time
    rows = rows.astype(np.float64)
    return np.linalg.eigh(rows.T @ rows)[1][:, ::-1].T


@inner
def project(h, axes, along, rest):
    """Fill along, float32 (n_axes,), with A h, and rest with what that leaves of h; return the length of it.

    h and rest float32 (n_units,).
    """
    for t in range(axes.shape[0]):
        z = np.float32(0.0)
        for u in range(h.shape[0]):
            z += axes[t, u] * h[u]
        along[t] = z
    for u in range(h.shape[0]):
        rest[u] = h[u]
    for t in range(axes.shape[0]):
        z = along[t]
        for u in range(h.shape[0]):
            rest[u] -= z * axes[t, u]
    return vector_length(rest)


@inner
def score_rounded(h, candidates, n, screen, logits):
    """Compute z = s_y v_y . A h + b_y of the labels candidates[:n]; h, float32 (n_axes,), is A h.

    candidates int32, logits float32.
    """
    values, scales, biases = screen.rounded.values, screen.rounded.scales, screen.biases
    n_axes, quarter, zero = values.shape[1], n // 4, np.float32(0.0)
    for a in range(quarter):
        # four rows far from each other: memory delivers them side by side
        a1, a2, a3 = a + quarter, a + 2 * quarter, a + 3 * quarter
        y0, y1, y2, y3 = candidates[a], candidates[a1], candidates[a2], candidates[a3]
        z0, z1, z2, z3 = zero, zero, zero, zero
        for u in range(n_axes):
            z0 += np.float32(values[y0, u]) * h[u]
            z1 += np.float32(values[y1, u]) * h[u]
            z2 += np.float32(values[y2, u]) * h[u]
            z3 += np.float32(values[y3, u]) * h[u]
        logits[a] = scales[y0] * z0 + biases[y0]
        logits[a1] = scales[y1] * z1 + biases[y1]
        logits[a2] = scales[y2] * z2 + biases[y2]
        logits[a3] = scales[y3] * z3 + biases[y3]
    for a in range(4 * quarter, n):
        y, z = candidates[a], zero
        for u in range(n_axes):
            z += np.float32(values[y, u]) * h[u]
        logits[a] = scales[y] * z + biases[y]


@inner
def score_label(batch, i, h, y):
    """Compute the score of label y for sample i by the weights; h float32 (n_units,)."""
    output = batch.network.output
    z = row_dot(output.weights, y, h) + output.biases[y, 0]
    return add_direct_of(batch.x, i, batch.network.direct, y, z)


class Guess(NamedTuple):
    """What one worker writes on while it screens the labels of a sample."""

    hidden: np.ndarray  # float32, the scratch of forward
    along: np.ndarray  # float32 (n_axes,), A h
    rest: np.ndarray  # float32 (n_units,), what that leaves of h
    logits: np.ndarray  # float32 (n_labels,), the rounded scores
    bounds: np.ndarray  # float32 (n_labels,), what the scores are at most


def make_guess(network, screen):
    """Allocate the Guess of one worker."""
    return Guess(
        np.empty(network.hidden_shape, dtype=np.float32),
        *(np.empty(n, dtype=np.float32) for n in screen.axes.shape),
        np.empty(network.n_labels, dtype=np.float32),
        np.empty(network.n_labels, dtype=np.float32),
    )


@inner
def start_guess(candidates, n, screen, guess):
    """Score candidates[:n], int32, by the last row of guess.hidden, roughly and without direct weights.

    Return the length of what the axes leave of that hidden vector.
    """
    rest = project(guess.hidden[-1, : screen.axes.shape[1]], screen.axes, guess.along, guess.rest)
    score_rounded(guess.along, candidates, n, screen, guess.logits)
    return rest


@inner
def rank_screened(batch, i, rest, candidates, n, screen, guess, best):
    """Find the best k of the labels candidates[:n], n at least k, given their rounded scores guess.logits.

    candidates int32, rest the length of what the axes leave of h, best the labels int32 (k,) and scores
    float32 (k,).
    """
    labels, scores = best
    logits, bounds, h = guess.logits, guess.bounds, guess.hidden[-1, : screen.axes.shape[1]]
    length = vector_length(h)
    labels[:] = 0
    scores[:] = -np.inf
    for start in range(0, n, CHUNK):
        stop = min(start + CHUNK, n)
        if holds_more(logits, start, stop, scores[-1]):
            for a in range(start, stop):
                if logits[a] > scores[-1]:
                    insert_best(a, logits[a], labels, scores)
    for a in range(n):
        y = candidates[a]
        bounds[a] = logits[a] + screen.errors[y] * length + screen.rests[y] * rest
    # k labels have at least the score `least`, and so has the k-th best. None of these k falls below its
    # bound, not even if the weights are trained meanwhile.
    least = np.float32(np.inf)
    for s in range(labels.shape[0]):
        a = labels[s]
        least = min(least, bounds[a], score_label(batch, i, h, np.int64(candidates[a])))
    least -= ROUNDING * (np.float32(1.0) + abs(least))
    labels[:] = 0
    scores[:] = -np.inf
    for start in range(0, n, CHUNK):
        stop = min(start + CHUNK, n)
        if holds_more(bounds, start, stop, least):
            for a in range(start, stop):
                y = np.int64(candidates[a])
                if bounds[a] >= least:
                    insert_best(y, score_label(batch, i, h, y), labels, scores)


@njit
def rank_rows(batch, screen, guess, labels, scores):
    """Rank every label for each sample of the Batch; labels int32 and scores float32 (n_samples, k)."""
    n_labels = screen.labels.shape[0]
    for i in range(labels.shape[0]):
        forward(batch, i, guess.hidden)
        rest = start_guess(screen.labels, n_labels, screen, guess)
        add_direct(batch.x, i, batch.network.direct, np.int64(0), guess.logits)
        rank_screened(batch, i, rest, screen.labels, n_labels, screen, guess, (labels[i], scores[i]))


def screened_top_k(batch, k, screen, unused):
    """Rank every label, sample by sample; return labels int32 and scores float32, (n_samples, k).

    unused is a list of Guess that threads take from and put back to.
    """
    n_samples = batch.x.n_rows
    labels, scores = np.empty((n_samples, k), dtype=np.int32), np.empty((n_samples, k), dtype=np.float32)
    guess = take(unused, lambda: make_guess(batch.network, screen))
    rank_rows(batch, screen, guess, labels, scores)
    unused.append(guess)
    return labels, scores
