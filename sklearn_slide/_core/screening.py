"""Rankings by a small copy of the output layer, which tells the labels that cannot be among the best k.

To rank a sample is to read all the weights once, and memory is what it waits for. The copy has the weights
along the directions in which they are longest, in one byte each. All labels are scored along the first of
these; with the score go bounds of what is left out. Labels that may still be among the best k are scored
along the others too, and the few that remain by the weights themselves. The best k are those of a full
ranking.
"""

from time import perf_counter
from typing import NamedTuple

import numpy as np

from sklearn_slide._core.best import insert_best, no_best
from sklearn_slide._core.compilation import inner, njit, prefetch
from sklearn_slide._core.direct import add_direct, add_direct_of
from sklearn_slide._core.layers import forward, hidden_vectors
from sklearn_slide._core.matrices import float_rows, row_dot
from sklearn_slide._core.parallel import BLAS_SPEED, one_blas_thread, rows_of_round, run_in_rounds, take
from sklearn_slide._core.screen import GROUP, ROUNDING, Shadow, measure_reach, project

# Less than any score but that of a label that is not ranked.
LOWEST = np.float32(-3e38)
# Samples that tell how fast the screen is, and a product that tells it of all weights.
N_TRIED = 32
_PRODUCT_ROWS, _PRODUCT_LABELS = 256, 4096
# The time of a ranking by products, as a multiple of that of the products.
_BESIDE_PRODUCT = 1.7
_AHEAD = 12  # labels ahead of the one that is scored whose values memory is asked for
# Labels beyond k that seem the best, and are scored along all axes to find k good ones.
_MORE = 16


@inner
def score_first(along, screen, logits):
    """Fill logits, float32 (64 n_groups,), with scores along the first axes, without direct weights.

    along, float32 (n_axes,), is A h.
    """
    first, scales, biases, n_first = screen.first, screen.rounded.scales, screen.biases, screen.first.shape[1]
    n_labels, n_fours = biases.shape[0], n_first - n_first % 4
    for g in range(first.shape[0]):
        start = g * GROUP
        sums = logits[start : start + GROUP]
        for s in range(GROUP):
            sums[s] = np.float32(0.0)
        for t in range(0, n_fours, 4):
            a0, a1, a2, a3 = along[t], along[t + 1], along[t + 2], along[t + 3]
            for s in range(GROUP):
                one = a0 * np.float32(first[g, t, s]) + a1 * np.float32(first[g, t + 1, s])
                two = a2 * np.float32(first[g, t + 2, s]) + a3 * np.float32(first[g, t + 3, s])
                sums[s] += one + two
        for t in range(n_fours, n_first):
            for s in range(GROUP):
                sums[s] += along[t] * np.float32(first[g, t, s])
        for s in range(min(GROUP, n_labels - start)):
            sums[s] = sums[s] * scales[start + s] + biases[start + s]
    logits[n_labels:] = -np.inf


@inner
def score_rest(y, start, along, rounded):
    """Compute what the axes from start on add to the score of label y, float32; along float32 (n_axes,)."""
    values, z = rounded.values, np.float32(0.0)
    for t in range(start, along.shape[0]):
        z += np.float32(values[y, t]) * along[t]
    return rounded.scales[y] * z


@inner
def lowered(score):
    """Return a little less than a score, float32: what rounds in sums with a bias stays above it."""
    return score - ROUNDING * (np.float32(1.0) + abs(score))


@inner
def score_label(batch, i, h, y):
    """Compute the score of label y for sample i by the weights; h float32 (n_units,)."""
    output = batch.network.output
    z = row_dot(output.weights, y, h) + output.biases[y, 0]
    return add_direct_of(batch.x, i, batch.network.direct, y, z)


@inner
def list_above(logits, reach, slacks, least, found):
    """List those labels whose score may be least or more; return their number.

    logits, float32 (64 n_groups,), are scores by the first axes, found int32 (64 n_groups,).
    """
    errors, lengths, rests, n = slacks[0], slacks[1], slacks[2], 0
    of_error, of_length, of_rest = reach[0], reach[1], reach[2]
    for g in range(logits.shape[0] // GROUP):
        start, any_above = g * GROUP, np.int32(0)
        # a loop of so many steps always, without a branch: vector units take it
        for s in range(GROUP):
            a = start + s
            z = logits[a] + of_error * errors[a] + of_length * lengths[a] + of_rest * rests[a]
            any_above |= np.int32(z >= least)
        if any_above:
            for a in range(start, start + GROUP):
                z = logits[a] + of_error * errors[a] + of_length * lengths[a] + of_rest * rests[a]
                if z >= least:
                    found[n] = a
                    n += 1
    return n


@inner
def insert_above(logits, labels, scores):
    """Insert labels by logits, float32 (64 n_groups,), into the best, labels int32 and scores float32."""
    for g in range(logits.shape[0] // GROUP):
        start, any_above, last = g * GROUP, np.int32(0), scores[-1]
        for s in range(GROUP):
            any_above |= np.int32(logits[start + s] > last)
        if any_above:
            for a in range(start, start + GROUP):
                if logits[a] > scores[-1]:
                    insert_best(a, logits[a], labels, scores)


@inner
def insert_promising(batch, i, h, logits, screen, shadow, best):
    """Insert k labels that seem the best, as far as there are so many; best int32 and float32 (k,).

    The k-th best is then no worse than the last of them, not even if the weights are trained meanwhile.
    """
    k, n_first = best[0].shape[0], screen.first.shape[1]
    by_first = np.zeros(k + _MORE, dtype=np.int32), np.full(k + _MORE, -np.inf, dtype=np.float32)
    by_all = np.zeros(k, dtype=np.int32), np.full(k, -np.inf, dtype=np.float32)
    insert_above(logits, *by_first)
    for s in range(k + _MORE):
        y, z = np.int64(by_first[0][s]), by_first[1][s]
        if z > -np.inf:
            insert_best(y, z + score_rest(y, n_first, shadow.along, screen.rounded), *by_all)
    insert_scored(batch, i, h, by_all, best)


@inner
def insert_scored(batch, i, h, promising, best):
    """Insert promising labels into the best by their scores; both int32 and float32 (k,), -inf for none."""
    for s in range(promising[0].shape[0]):
        if promising[1][s] > -np.inf:
            y = np.int64(promising[0][s])
            insert_best(y, score_label(batch, i, h, y), *best)


@inner
def is_inserted(y, best):
    """Tell whether label y is among the best, labels int32 and scores float32 (k,)."""
    (labels, scores), inserted = best, False
    for s in range(labels.shape[0]):
        inserted |= labels[s] == y and scores[s] > -np.inf
    return inserted


@inner
def slack_of(y, screen, shadow):
    """Bound how far the score of label y, uint64, may be from that by all axes, float32."""
    slacks, reach, y = screen.slacks_of.ravel(), shadow.reach, y * np.uint64(4)
    return reach[0] * slacks[y] + reach[1] * slacks[y + np.uint64(1)] + reach[3] * slacks[y + np.uint64(2)]


@inner
def keep_above(logits, screen, shadow, least, found, n):
    """Keep those of the labels found[:n], int32, whose score by all axes may be least; return their number.

    logits, float32 (64 n_groups,), are scores by the first axes, and of labels found by all axes afterwards.
    """
    values, slacks, n_kept = screen.rounded.values.ravel(), screen.slacks_of.ravel(), 0
    n_axes, n_first = screen.axes.shape[0], screen.first.shape[1]
    along = shadow.along
    for f in range(n):
        ahead = np.uint64(found[min(f + _AHEAD, n - 1)])
        prefetch(values, ahead * np.uint64(n_axes) + np.uint64(n_first))
        prefetch(slacks, ahead * np.uint64(4))
        y = np.uint64(found[f])
        z, row = np.float32(0.0), y * np.uint64(n_axes)
        for t in range(n_first, n_axes):
            z += np.float32(values[row + np.uint64(t)]) * along[t]
        z = logits[y] + slacks[y * np.uint64(4) + np.uint64(3)] * z
        logits[y] = z
        found[n_kept] = y
        n_kept += np.int64(z + slack_of(y, screen, shadow) >= least)
    return n_kept


@inner
def is_below(batch, i, h, y, z, screen, shadow, least):
    """Tell whether label y has less than the score least; z is its score by all axes; h float32 (n_units,).

    It is known without a search for direct weights, which takes longer than a row of the weights.
    """
    if batch.network.direct is None:
        return False
    z += row_dot(batch.network.output.weights, y, h) - score_rest(y, 0, shadow.along, screen.rounded)
    return z + np.float32(2.0) * shadow.reach[1] * screen.slacks_of[y, 1] < least


@inner
def rank_scored(batch, i, h, screen, guess, best):
    """Find the best k of sample i, whose scores by the first axes, without direct weights, are guess.logits.

    h float32 (n_units,); best the labels int32 and scores float32 (k,), empty.
    """
    (labels, scores), logits, shadow, found = best, guess.logits, guess.shadow, guess.found
    add_direct(batch.x, i, batch.network.direct, np.int64(0), logits)
    insert_promising(batch, i, h, logits, screen, shadow, best)
    least = max(LOWEST, lowered(scores[-1]))
    n_found = list_above(logits, shadow.reach, screen.slacks, least, found)
    n_kept = keep_above(logits, screen, shadow, least, found, n_found)
    for f in range(n_kept):
        y = np.int64(found[f])
        if is_below(batch, i, h, y, logits[y], screen, shadow, least) or is_inserted(y, best):
            continue
        insert_best(y, score_label(batch, i, h, y), labels, scores)
        least = max(least, lowered(scores[-1]))


class Guess(NamedTuple):
    """What one worker writes on while it screens the labels of a sample."""

    hidden: np.ndarray  # float32, the scratch of forward
    shadow: Shadow
    logits: np.ndarray  # float32 (64 n_groups,), scores by the copy
    found: np.ndarray  # int32 (64 n_groups,), labels that may be among the best


def make_guess(network, screen):
    """Allocate the Guess of one worker."""
    n_padded = screen.slacks.shape[1]
    return Guess(
        np.empty(network.hidden_shape, dtype=np.float32),
        Shadow(np.empty(len(screen.axes), dtype=np.float32), np.empty(4, dtype=np.float32)),
        np.empty(n_padded, dtype=np.float32),
        np.empty(n_padded, dtype=np.int32),
    )


@inner
def cast_shadow(batch, i, screen, guess):
    """Compute the hidden vector of sample i and guess.shadow of it; return the vector, float32 (n_units,)."""
    forward(batch, i, guess.hidden)
    h, shadow = guess.hidden[-1, : screen.axes.shape[1]], guess.shadow
    project(h, screen.axes, shadow.along)
    measure_reach(batch.x, i, h, shadow.along, screen.first.shape[1], shadow.reach)
    return h


@njit
def rank_rows(batch, start, stop, screen, guess, labels, scores):
    """Rank every label for the samples start to stop of a Batch.

    labels int32 and scores float32 (n_samples, k), empty.
    """
    for i in range(start, stop):
        h = cast_shadow(batch, i, screen, guess)
        score_first(guess.shadow.along, screen, guess.logits)
        rank_scored(batch, i, h, screen, guess, (labels[i], scores[i]))


def screened_top_k(batch, k, screen, unused, n_jobs, report):
    """Rank every label; return labels int32 and scores float32, (n_samples, k), the same as exact_top_k.

    unused is a list of Guess that threads take from and put back to; report(number of samples) is called from
    time to time.
    """
    labels, scores = best = no_best(batch.x.n_rows, k)

    def part(start, stop):
        guess = take(unused, lambda: make_guess(batch.network, screen))
        rank_rows(batch, start, stop, screen, guess, labels, scores)
        unused.append(guess)

    rows = rows_of_round(batch.network.n_labels * screen.first.shape[1] / BLAS_SPEED)
    run_in_rounds(part, batch.x.n_rows, rows, n_jobs, report)
    return best


def saves_time(batch, k, screen):
    """Tell whether the Screen ranks labels sooner than products of all weights, by the time of some samples.

    Both ways give the same ranking, so that the clock has no say in that.
    """
    n_tried, n_labels = min(batch.x.n_rows, N_TRIED), batch.network.n_labels
    guess, best = make_guess(batch.network, screen), no_best(n_tried, k)
    h = np.tile(hidden_vectors(batch, 0, n_tried, 1), (_PRODUCT_ROWS // n_tried + 1, 1))
    weights = float_rows(batch.network.output.weights, 0, min(_PRODUCT_LABELS, n_labels))
    rank_rows(batch, 0, 1, screen, guess, *no_best(1, k))  # compiles or loads it
    with one_blas_thread():
        h @ weights.T
        start = perf_counter()
        rank_rows(batch, 0, n_tried, screen, guess, *best)
        middle = perf_counter()
        h @ weights.T
        stop = perf_counter()
    by_products = (stop - middle) * n_labels / (len(h) * len(weights))
    return (middle - start) / n_tried < _BESIDE_PRODUCT * by_products


@inner
def score_rounded(along, candidates, n, screen, logits):
    """Compute z = s_y v_y . A h + b_y of the labels candidates[:n].

    along, float32 (n_axes,), is A h; candidates int32, logits float32.
    """
    values, scales, biases = screen.rounded.values, screen.rounded.scales, screen.biases
    n_axes, quarter, zero = values.shape[1], n // 4, np.float32(0.0)
    for a in range(quarter):
        # four rows far from each other: memory delivers them side by side
        a1, a2, a3 = a + quarter, a + 2 * quarter, a + 3 * quarter
        y0, y1, y2, y3 = candidates[a], candidates[a1], candidates[a2], candidates[a3]
        z0, z1, z2, z3 = zero, zero, zero, zero
        for u in range(n_axes):
            z0 += np.float32(values[y0, u]) * along[u]
            z1 += np.float32(values[y1, u]) * along[u]
            z2 += np.float32(values[y2, u]) * along[u]
            z3 += np.float32(values[y3, u]) * along[u]
        logits[a] = scales[y0] * z0 + biases[y0]
        logits[a1] = scales[y1] * z1 + biases[y1]
        logits[a2] = scales[y2] * z2 + biases[y2]
        logits[a3] = scales[y3] * z3 + biases[y3]
    for a in range(4 * quarter, n):
        y, z = candidates[a], zero
        for u in range(n_axes):
            z += np.float32(values[y, u]) * along[u]
        logits[a] = scales[y] * z + biases[y]
