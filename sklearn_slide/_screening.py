"""A copy of the output layer in one byte a weight, which tells the labels that cannot be among the best k.

To rank one sample is to read all the weights once, and memory is what it waits for. The copy is a quarter
of them. With it goes a bound of the error for each label: labels whose score may reach the k-th best are
few, and only these are scored by the weights themselves. The best k are those of a full ranking.
"""

from typing import NamedTuple

import numpy as np

from sklearn_slide._direct import add_direct, first_at_least
from sklearn_slide._network import forward, hidden_width
from sklearn_slide._numba import njit
from sklearn_slide._parallel import run_over_range

CHUNK = 64  # scores that are looked at together first: most chunks hold nothing for the best k
# A wide margin for the rounding of sums of float32: a share of the sum, or of the lengths of two vectors.
_ROUNDING = np.float32(2.0**-16)


class Screen(NamedTuple):
    """Rounded weights of the output layer: w_y = scales[y] * values[y], with an error of length errors[y]."""

    values: np.ndarray  # int8 (n_labels, n_units)
    scales: np.ndarray  # float32 (n_labels,)
    errors: np.ndarray  # float32 (n_labels,)
    largest_error: np.float32
    labels: np.ndarray  # int32 (n_labels,), all of them


def make_screen(weights, n_jobs):
    """Round float32 Weights, each row with a scale of its own, or take those of int8; return the Screen."""
    values, scales, errors = weights.values, weights.scales, np.empty(len(weights.values), dtype=np.float32)
    is_rounded = len(scales) > 0
    if not is_rounded:
        values, scales = np.empty(values.shape, dtype=np.int8), np.empty(len(values), dtype=np.float32)
    screen = Screen(values, scales, errors, np.float32(0.0), np.arange(len(values), dtype=np.int32))

    def part(start, stop):
        if not is_rounded:
            round_rows(weights.values, start, stop, screen)
        bound_errors(weights, start, stop, screen)

    run_over_range(part, 0, len(values), n_jobs, work=values.shape[1])
    return screen._replace(largest_error=errors.max(initial=0))


@njit
def round_rows(weights, start, stop, screen):
    """Fill values and scales of the rows start to stop of screen; weights float32 (n_labels, n_units)."""
    n_units = weights.shape[1]
    for y in range(start, stop):
        largest = np.float32(0.0)
        for u in range(n_units):
            largest = max(largest, abs(weights[y, u]))
        scale = largest / np.float32(127.0)
        inverse = np.float32(1.0) / scale if scale > 0.0 else np.float32(0.0)
        for u in range(n_units):
            screen.values[y, u] = np.int8(np.rint(weights[y, u] * inverse))
        screen.scales[y] = scale


@njit
def bound_errors(weights, start, stop, screen):
    """Fill errors of the rows start to stop of screen, given the Weights that it stands for."""
    is_rounded = weights.scales.shape[0] > 0
    for y in range(start, stop):
        square, error = np.float32(0.0), np.float32(0.0)
        for u in range(screen.values.shape[1]):
            value = screen.scales[y] * np.float32(screen.values[y, u])
            square += value * value
            if not is_rounded:
                error += (np.float32(weights.values[y, u]) - value) ** 2
        screen.errors[y] = np.sqrt(error) + _ROUNDING * (np.sqrt(square) + np.sqrt(error))


@njit
def score_rounded(h, candidates, n, screen, biases, logits):
    """Compute z = s_y v_y . h + b_y of the labels candidates[:n]; h float32 (n_units,), logits float32.

    candidates int32, biases float32 (n_labels,).
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
def rank_screened(x, i, h, candidates, n, network, screen, logits, labels, scores):
    """Find the best k of the labels candidates[:n], n at least k, given their rounded scores.

    x Rows, h float32 (n_units,), candidates int32, logits float32 the rounded scores, labels int32 (k,),
    scores float32 (k,).
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
    # each of the best by rounded scores has at least the score `least`, and so has the k-th best label
    least = np.float32(np.inf)
    for s in range(labels.shape[0]):
        least = min(least, scores[s] - screen.errors[candidates[labels[s]]] * length)
    least -= _ROUNDING * (np.float32(1.0) + abs(least))
    labels[:] = 0
    scores[:] = -np.inf
    for start in range(0, n, CHUNK):
        stop = min(start + CHUNK, n)
        if holds_more(logits[start:stop], least - screen.largest_error * length):
            for a in range(start, stop):
                y = candidates[a]
                if logits[a] + screen.errors[y] * length >= least:
                    insert_best(y, score_label(x, i, h, y, network), labels, scores)


@njit
def rank_rows(x, network, activation, screen, biases, hidden, logits, labels, scores):
    """Rank every label for each sample; logits float32 (n_labels,), labels and scores (n_samples, k).

    biases float32 (n_labels,), hidden float32 scratch of forward, the rest as for rank_screened.
    """
    n_labels, n_units = screen.values.shape
    for i in range(labels.shape[0]):
        forward(x, i, network, activation, hidden)
        h = hidden[-1, :n_units]
        score_rounded(h, screen.labels, n_labels, screen, biases, logits)
        add_direct(x, i, network.direct, 0, logits)
        rank_screened(x, i, h, screen.labels, n_labels, network, screen, logits, labels[i], scores[i])


def screened_top_k(x, k, network, screen, activation):
    """Rank every label, sample by sample; return labels int32 and scores float32, (n_samples, k)."""
    n_samples, n_labels = len(x.indptr) - 1, len(screen.values)
    labels, scores = np.empty((n_samples, k), dtype=np.int32), np.empty((n_samples, k), dtype=np.float32)
    hidden = np.empty((len(network.hidden), hidden_width(network)), dtype=np.float32)
    biases, logits = network.output.biases.values.ravel(), np.empty(n_labels, dtype=np.float32)
    rank_rows(x, network, activation, screen, biases, hidden, logits, labels, scores)
    return labels, scores
