"""A small copy of the output layer, which tells the labels that cannot be among the best k.

To rank one sample is to read all the weights once, and memory is what it waits for. The copy has the
weights along the directions in which they are longest, in one byte each. With it go bounds of what it leaves
out of a score: labels whose score may reach the k-th best are few, and only these are scored by the weights
themselves. The best k are those of a full ranking.
"""

from typing import NamedTuple

import numpy as np
from sklearn.utils.extmath import row_norms

from sklearn_slide._direct import add_direct, first_at_least
from sklearn_slide._network import float_rows, forward, hidden_width
from sklearn_slide._numba import njit
from sklearn_slide._parallel import blocks, run_over_range

CHUNK = 64  # scores that are looked at together first: most chunks hold nothing for the best k
# A wide margin for the rounding of sums of float32: a share of the sum, or of the lengths of two vectors.
_ROUNDING = np.float32(2.0**-16)


# Directions that are kept. They are the principal axes of labels, spread evenly, with about so many weights.
_N_AXES, _N_AXIS_WEIGHTS = 128, 2**20
_LABELS_AT_ONCE = 8192


class Screen(NamedTuple):
    """Weights along some directions, rounded: A w_y = scales[y] * values[y], off by errors[y] at most.

    The rest of w_y, at right angles to the directions, has length rests[y]. With r the length of the rest
    of h, w_y . h is scales[y] * values[y] . A h, more or less errors[y] |h| + rests[y] r at most.
    """

    axes: np.ndarray  # A, float32 (n_axes, n_units), orthonormal rows
    values: np.ndarray  # int8 (n_labels, n_axes)
    scales: np.ndarray  # float32 (n_labels,)
    errors: np.ndarray  # float32 (n_labels,)
    rests: np.ndarray  # float32 (n_labels,)
    labels: np.ndarray  # int32 (n_labels,), all of them


def make_screen(weights, n_jobs):
    """Make the Screen of the output layer's Weights."""
    n_labels, n_units = weights.values.shape
    step = max(1, n_labels * n_units // _N_AXIS_WEIGHTS)
    some = np.concatenate([float_rows(weights, y, y + 1) for y in range(0, n_labels, step)])
    axes = np.linalg.svd(some, full_matrices=False)[2][:_N_AXES]
    screen = Screen(
        np.ascontiguousarray(axes, dtype=np.float32),
        np.empty((n_labels, len(axes)), dtype=np.int8),
        *(np.empty(n_labels, dtype=np.float32) for _ in range(3)),
        np.arange(n_labels, dtype=np.int32),
    )

    def part(start, stop):
        for first, last in blocks(start, stop, _LABELS_AT_ONCE):
            rows = float_rows(weights, first, last)
            along = rows @ screen.axes.T
            lengths, rest = row_norms(rows), row_norms(rows - along @ screen.axes)
            round_rows(along, screen.values[first:last], screen.scales[first:last])
            rounded = screen.scales[first:last, np.newaxis] * screen.values[first:last]
            screen.errors[first:last] = row_norms(along - rounded) + _ROUNDING * lengths
            screen.rests[first:last] = rest

    run_over_range(part, 0, n_labels, n_jobs, work=n_units * len(axes))
    return screen


@njit
def round_rows(rows, values, scales):
    """Round rows, float32 (n_rows, n_columns), to values, int8, with a scale for each, float32 (n_rows,)."""
    for r in range(rows.shape[0]):
        largest = np.float32(0.0)
        for u in range(rows.shape[1]):
            largest = max(largest, abs(rows[r, u]))
        scales[r] = largest / np.float32(127.0)
        inverse = np.float32(1.0) / scales[r] if scales[r] > 0.0 else np.float32(0.0)
        for u in range(rows.shape[1]):
            values[r, u] = np.int8(np.rint(rows[r, u] * inverse))


@njit
def project(h, axes, along):
    """Fill along, float32 (n_axes,), with A h; return the length of the rest of h, float32 (n_units,)."""
    for t in range(axes.shape[0]):
        z = np.float32(0.0)
        for u in range(h.shape[0]):
            z += axes[t, u] * h[u]
        along[t] = z
    square = np.float32(0.0)
    for u in range(h.shape[0]):
        rest = h[u]
        for t in range(axes.shape[0]):
            rest -= along[t] * axes[t, u]
        square += rest * rest
    return np.sqrt(square)


@njit
def score_rounded(h, candidates, n, screen, biases, logits):
    """Compute z = s_y v_y . A h + b_y of the labels candidates[:n]; h, float32 (n_axes,), is A h.

    candidates int32, biases float32 (n_labels,), logits float32.
    """
    values, scales, n_units = screen.values, screen.scales, screen.values.shape[1]
    quarter, zero = n // 4, np.float32(0.0)
    for a in range(quarter):
        # four rows far from each other: memory delivers them side by side
        a1, a2, a3 = a + quarter, a + 2 * quarter, a + 3 * quarter
        y0, y1, y2, y3 = candidates[a], candidates[a1], candidates[a2], candidates[a3]
        z0, z1, z2, z3 = zero, zero, zero, zero
        for u in range(n_units):
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
        for u in range(n_units):
            z += np.float32(values[y, u]) * h[u]
        logits[a] = scales[y] * z + biases[y]


@njit
def score_label(x, i, h, y, network):
    """Compute the score of label y for sample i by the weights; h float32 (n_units,)."""
    weights, direct = network.output.weights, network.direct
    z = np.float32(0.0)
    for u in range(h.shape[0]):
        z += np.float32(weights.values[y, u]) * h[u]
    if weights.scales.shape[0]:
        z *= weights.scales[y]
    z += network.output.biases.values[y, 0]
    for p in range(x.indptr[i], x.indptr[i + 1]):
        j, value = x.indices[p], x.data[p]
        if direct.scales.shape[0]:
            value *= direct.scales[j]
        stop = direct.indptr[j + 1]
        q = first_at_least(direct.labels, direct.indptr[j], stop, y)
        if q < stop and direct.labels[q] == y:
            z += value * np.float32(direct.weights[q])
    return z


@njit
def insert_best(y, score, labels, scores):
    """Insert label y into the k best if it is better than the last; labels int32 (k,), scores float32 (k,).

    They are sorted, best first, and of equal scores the lower label first.
    """
    last = scores.shape[0] - 1
    if not (score > scores[last] or (score == scores[last] and y < labels[last])):
        return
    position = last
    while position > 0 and (
        score > scores[position - 1] or (score == scores[position - 1] and y < labels[position - 1])
    ):
        scores[position] = scores[position - 1]
        labels[position] = labels[position - 1]
        position -= 1
    scores[position] = score
    labels[position] = y


@njit
def holds_more(values, least):
    """Tell whether one of the values, float32, is least or more; a count, for which vector units serve."""
    n = np.int32(0)
    for a in range(values.shape[0]):
        n = np.int32(n + np.int32(values[a] >= least))
    return n > 0


@njit
def rank_screened(x, i, h, rest, candidates, n, network, screen, logits, bounds, labels, scores):
    """Find the best k of the labels candidates[:n], n at least k, given their rounded scores.

    x Rows, h float32 (n_units,), rest the length of what the axes leave of it, candidates int32, logits
    float32 the rounded scores, bounds float32 (n,) scratch, labels int32 (k,), scores float32 (k,).
    """
    length = np.float32(0.0)
    for u in range(h.shape[0]):
        length += h[u] * h[u]
    length = np.sqrt(length)
    labels[:] = 0
    scores[:] = -np.inf
    for start in range(0, n, CHUNK):
        stop = min(start + CHUNK, n)
        if holds_more(logits[start:stop], scores[-1]):
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
        least = min(least, bounds[a], score_label(x, i, h, candidates[a], network))
    least -= _ROUNDING * (np.float32(1.0) + abs(least))
    labels[:] = 0
    scores[:] = -np.inf
    for start in range(0, n, CHUNK):
        stop = min(start + CHUNK, n)
        if holds_more(bounds[start:stop], least):
            for a in range(start, stop):
                if bounds[a] >= least:
                    insert_best(candidates[a], score_label(x, i, h, candidates[a], network), labels, scores)


@njit
def rank_rows(x, network, activation, screen, biases, hidden, along, logits, bounds, labels, scores):
    """Rank every label for each sample; labels and scores (n_samples, k).

    biases, logits and bounds float32 (n_labels,), hidden float32 scratch of forward, along float32 (n_axes,),
    what else as for rank_screened.
    """
    n_labels, n_units = screen.values.shape[0], screen.axes.shape[1]
    for i in range(labels.shape[0]):
        forward(x, i, network, activation, hidden)
        h = hidden[-1, :n_units]
        rest = project(h, screen.axes, along)
        score_rounded(along, screen.labels, n_labels, screen, biases, logits)
        add_direct(x, i, network.direct, 0, logits)
        rank_screened(
            x, i, h, rest, screen.labels, n_labels, network, screen, logits, bounds, labels[i], scores[i]
        )


def screened_top_k(x, k, network, screen, activation):
    """Rank every label, sample by sample; return labels int32 and scores float32, (n_samples, k)."""
    n_samples, n_labels = len(x.indptr) - 1, len(screen.values)
    labels, scores = np.empty((n_samples, k), dtype=np.int32), np.empty((n_samples, k), dtype=np.float32)
    hidden = np.empty((len(network.hidden), hidden_width(network)), dtype=np.float32)
    along, biases = np.empty(len(screen.axes), dtype=np.float32), network.output.biases.values.ravel()
    logits, bounds = (np.empty(n_labels, dtype=np.float32) for _ in range(2))
    rank_rows(x, network, activation, screen, biases, hidden, along, logits, bounds, labels, scores)
    return labels, scores
